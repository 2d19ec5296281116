//! Bodies of the fuzz targets: ordinary functions of bytes that panic when a promise is broken.

use intel_pt::{
    Block, Hit, HitKind, LastIp, Packet, Packets, decode, encode, scan_with_gaps, sync_backward, sync_forward,
};

/// One packet at every offset: it fits its bytes, and what it says is written and read again as the same.
pub fn decode_packets(bytes: &[u8]) {
    for at in 0..bytes.len().min(512) {
        for block in [Block::Outside, Block::Items4, Block::Items8] {
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

/// Packets and gaps cover every byte once, in order; the scan finds the same addresses and gaps.
pub fn scan(bytes: &[u8]) {
    let (mut hits, mut gaps) = (Vec::new(), Vec::new());
    let (mut last, mut end) = (LastIp::unknown(), 0);
    let mut packets = Packets::new(bytes);
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
                hits.extend(packet.ip().and_then(|ip| last.update(ip)).map(|ip| Hit { offset, kind, ip }));
            }
            Err(gap) => {
                assert_eq!(gap.offset(), end);
                assert_eq!(gap.resume(), packets.offset());
                gaps.push(gap);
            }
        }
        assert!(packets.offset() > end);
        end = packets.offset();
    }
    assert_eq!(end, bytes.len());
    let (mut scanned, mut scanned_gaps) = (Vec::new(), Vec::new());
    scan_with_gaps(bytes, |hit| scanned.push(hit), |gap| scanned_gaps.push(gap));
    assert_eq!((scanned, scanned_gaps), (hits, gaps));
}
