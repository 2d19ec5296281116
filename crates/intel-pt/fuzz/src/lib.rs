//! Bodies of the fuzz targets: ordinary functions of bytes that panic when a promise is broken.

use intel_pt::flow::{BlockId, Blocks, Event, Options, Resume, Stop, Table, Visitor, Walker};
use intel_pt::{
    BlockContext, HitKind, LastIp, Packet, Packets, decode, encode, scan_with_gaps, sync_backward, sync_forward,
};

/// One packet at every offset: it fits its bytes, and what it says is written and read again as the same.
pub fn decode_packets(bytes: &[u8]) {
    for at in 0..bytes.len().min(512) {
        for block in [BlockContext::Outside, BlockContext::Items4, BlockContext::Items8] {
            let Ok((packet, len)) = decode(&bytes[at..], block) else { continue };
            assert!((1..=16).contains(&len) && at + len <= bytes.len());
            let again = encode(&packet).expect("what was read can be written");
            assert!(again.len() <= len);
            assert_eq!(decode(&again, block), Ok((packet, again.len())));
            let _ = packet.to_string();
        }
    }
    for at in 0..=bytes.len().min(64) {
        let (forward, backward) = (sync_forward(bytes, at), sync_backward(bytes, at));
        assert!(forward.is_none_or(|psb| psb >= at && sync_backward(bytes, psb + 1) == Some(psb)));
        assert!(backward.is_none_or(|psb| psb < at && sync_forward(bytes, psb) == Some(psb)));
    }
}

/// Packets and gaps cover every byte, in order, and only the PSB after a gap may begin before it; the scan finds the same
/// addresses and gaps.
pub fn scan(bytes: &[u8]) {
    let (mut hits, mut gaps) = (Vec::new(), Vec::new());
    let (mut last, mut end) = (LastIp::unknown(), 0);
    let mut packets = Packets::new(bytes);
    let mut after_gap = None;
    while let Some(item) = packets.next() {
        match item {
            Ok((offset, packet)) => {
                assert_eq!(offset, end);
                let kind = match packet {
                    Packet::TipPge(_) => HitKind::TipPge,
                    Packet::TipPgd(_) => HitKind::TipPgd,
                    Packet::Fup(_) => HitKind::Fup,
                    _ => HitKind::Tip,
                };
                if packet == Packet::Psb {
                    last = LastIp::after_psb();
                }
                hits.extend(packet.ip().and_then(|ip| last.update(ip)).map(|ip| (offset, kind, ip)));
            }
            Err(gap) => {
                assert_eq!(gap.offset(), end);
                assert_eq!(gap.resume(), packets.offset());
                assert!(after_gap < Some(end), "a gap after the one before");
                after_gap = Some(end);
                assert!(packets.offset() + 16 > end);
                gaps.push(gap);
            }
        }
        assert!(packets.offset() > end || after_gap == Some(end));
        end = packets.offset();
    }
    assert_eq!(end, bytes.len());
    let (mut scanned, mut scanned_gaps) = (Vec::new(), Vec::new());
    scan_with_gaps(bytes, |hit| scanned.push((hit.offset, hit.kind, hit.ip)), |gap| scanned_gaps.push(gap));
    assert_eq!((scanned, scanned_gaps), (hits, gaps));
}

/// A walk over any packets and any code ends, after a number of runs and instructions that its input bounds.
///
/// The first byte says how much of the rest is code at 0x1000 (in 1/256), the second where the walk goes on after errors
/// and which mode the code begins in.
pub fn flow(bytes: &[u8]) {
    let [share, how, rest @ ..] = bytes else { return };
    let (code, packets) = rest.split_at(rest.len() * usize::from(*share) / 256);
    let mut trace = [0x02, 0x82].repeat(8);
    trace.extend([0x99, how >> 4 & 3, 0x3d, 0x00, 0x10, 0x02, 0x23]);
    trace.extend(packets);
    let image: &[(u64, &[u8])] = &[(0x1000, code)];
    let resume = [Resume::Address, Resume::SafeAddress, Resume::Psb][usize::from(how % 3)];
    let options = Options::default().budget(1000).resume(resume);
    let mut walker = Walker::with_options(&trace, options);
    let mut blocks = Blocks::new(image);
    if how & 0x80 != 0 {
        blocks.break_at([0x1004, 0x1010]);
    }
    let mut count = Count::default();
    let mut breaks = 0_u32;
    for runs in 0.. {
        assert!(runs <= 100 * trace.len(), "{runs} runs over {} bytes", trace.len());
        match walker.run(&mut blocks, &mut count) {
            Stop::End => break,
            Stop::Limit | Stop::Visitor => unreachable!("nothing asked for it"),
            Stop::Error(error) => {
                assert!(error.offset() <= trace.len());
                let _ = (error.to_string(), error.kind().likely_cause(), error.kind().libipt_name());
            }
            Stop::Break { ip } => {
                // Each way that a caller may take from a breakpoint. One that takes no packet may lead back to it: not
                // to go in circles through breakpoints is the caller's part.
                breaks += 1;
                match (how >> 2 & 3, walker.take_tip()) {
                    (0, Ok((_, to))) => walker.call(to, ip + 7),
                    (1, _) if !breaks.is_multiple_of(16) => walker.jump(ip + 1),
                    _ => walker.lose(),
                }
            }
            other => panic!("{other:?} is new"),
        }
    }
    // Each byte holds at most 6 TNT bits, each of which may lead through a straight run up to the budget.
    let most = 8 * trace.len() as u64 * 1100 * 64;
    assert!(count.instructions <= most, "{} instructions", count.instructions);
}

#[derive(Default)]
struct Count {
    instructions: u64,
}

impl Visitor for Count {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        self.instructions += ids.iter().map(|id| u64::from(table.block(*id).instructions)).sum::<u64>();
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        assert!(instructions > 0 && instructions < table.block(id).instructions);
        self.instructions += u64::from(instructions);
    }

    fn event(&mut self, _: usize, event: &Event) {
        let _ = format!("{event:?}");
    }
}
