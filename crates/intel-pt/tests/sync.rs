//! Synchronisation points, from both directions, after damage, and in rings.

use intel_pt::{BlockContext, LastIp, Packet, Packets, decode, ring, scan, sync_backward, sync_forward};
use proptest::prelude::*;
use testkit::pt::{Compression, PacketWriter, Timing, mixed_trace, timed_trace};

/// By definition: 16 bytes of PSB that are not followed by another `02 82`.
fn psbs(bytes: &[u8]) -> Vec<usize> {
    let psb = [0x02, 0x82].repeat(8);
    (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(&psb) && !bytes[at + 16..].starts_with(&[0x02, 0x82]))
        .collect()
}

fn check(bytes: &[u8]) {
    let all = psbs(bytes);
    for at in 0..=bytes.len() + 1 {
        assert_eq!(sync_forward(bytes, at), all.iter().copied().find(|&psb| psb >= at), "forward from {at}");
        assert_eq!(sync_backward(bytes, at), all.iter().copied().rfind(|&psb| psb < at), "backward from {at}");
    }
    assert_eq!(sync_forward(bytes, usize::MAX), None);
    assert_eq!(sync_backward(bytes, usize::MAX), all.last().copied());
}

#[test]
fn a_longer_run_is_a_psb_at_its_end() {
    let mut trace = PacketWriter::new();
    trace.raw(&[0x82, 0x02, 0x82]).psb().raw(&[0x82]).psb().raw(&[0x02, 0x02]).psb().psb().raw(&[0x02, 0x82, 0x02]);
    let bytes = trace.finish();
    check(&bytes);
    assert_eq!(sync_forward(&bytes, 0), Some(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn both_directions_find_the_same_points(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(prop_oneof![Just(0x02u8), Just(0x82), any::<u8>()], 0..12),
                (1usize..12).prop_map(|pairs| [0x02, 0x82].repeat(pairs)),
                (0usize..90).prop_map(|zeros| vec![0; zeros]),
            ],
            0..8,
        )
    ) {
        check(&pieces.concat());
    }

    #[test]
    fn a_ring_in_order_has_one_gap_at_most_and_it_is_at_the_start(seed in any::<u64>(), offset in 0usize..=20_000, size in 5_000usize..20_000) {
        // What a writer leaves in a ring of `size` bytes when it stops after `offset` more.
        let (trace, _) = mixed_trace(seed, size + offset);
        let written = size + offset;
        let mut wrapped = vec![0; size];
        for (at, byte) in trace[..written].iter().enumerate() {
            wrapped[at % size] = *byte;
        }
        let write_offset = written % size;
        let (older, newer) = ring::parts(&wrapped, write_offset).unwrap();
        prop_assert_eq!([older, newer].concat(), &trace[written - size..written]);
        prop_assert!(ring::rotate(&mut wrapped, write_offset));
        prop_assert_eq!(&wrapped, &trace[written - size..written]);
        let gaps: Vec<_> = Packets::new(&wrapped).filter_map(Result::err).map(|gap| (gap.offset(), gap.resume())).collect();
        // The last packet may be cut.
        prop_assert!(gaps.iter().all(|&(offset, resume)| offset == 0 || resume == size), "{:?}", gaps);
    }
}

#[test]
fn a_write_offset_outside_of_the_ring_changes_nothing() {
    let mut bytes = [1, 2, 3];
    assert_eq!(ring::parts(&bytes, 4), None);
    assert!(!ring::rotate(&mut bytes, 4));
    assert_eq!((bytes, ring::parts(&bytes, 3)), ([1, 2, 3], Some(([].as_slice(), [1, 2, 3].as_slice()))));
}

/// The addresses that a stream gives by libipt's rule: decoding begins at the first PSB, and after an error it goes on at
/// the first PSB that begins at most 15 bytes before the error.
fn by_libipts_rule(bytes: &[u8]) -> Vec<u64> {
    let psbs = psbs(bytes);
    let from = |at: usize| psbs.iter().copied().find(|psb| *psb >= at);
    let (mut found, mut last, mut block) = (Vec::new(), LastIp::unknown(), BlockContext::Outside);
    let mut next = from(0);
    while let Some(at) = next.filter(|at| *at < bytes.len()) {
        match decode(&bytes[at..], block) {
            Ok((packet, len)) => {
                if packet == Packet::Psb {
                    last = LastIp::after_psb();
                }
                block = block.after(&packet);
                found.extend(packet.ip().and_then(|ip| last.update(ip)));
                next = Some(at + len);
            }
            Err(_) => {
                block = BlockContext::Outside;
                next = from(at.saturating_sub(15));
            }
        }
    }
    found
}

fn by_packets(bytes: &[u8]) -> Vec<u64> {
    let mut last = LastIp::unknown();
    let addresses = Packets::new(bytes).flatten().filter_map(|(_, packet)| {
        if packet == Packet::Psb {
            last = LastIp::after_psb();
        }
        packet.ip().and_then(|ip| last.update(ip))
    });
    addresses.collect()
}

fn by_scan(bytes: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    scan(bytes, |hit| found.push(hit.ip));
    found
}

/// Bytes that begin a packet longer than one byte, put before a PSB, swallow the start of it.
#[test]
fn a_psb_that_a_stray_byte_reaches_into_is_found() {
    let strays: [&[u8]; 8] = [
        &[0x59],                   // MTC
        &[0x19],                   // TSC
        &[0x2d],                   // TIP, 2 bytes of address
        &[0xcd],                   // TIP, 8 bytes of address
        &[0x99],                   // MODE
        &[0x02],                   // the first byte of a PSB or of another packet
        &[0x02, 0x43],             // PIP
        &[0x02, 0xc3, 0x88, 0x01], // MNT
    ];
    for stray in strays {
        let mut trace = PacketWriter::new();
        trace.psb().psbend().tip(0xffff_f803_0000_1000, Compression::Signed48).raw(stray).psb().psbend();
        (0..50).for_each(|n| {
            trace.tip(0xffff_f803_0000_2000 + n, Compression::Shortest);
        });
        let bytes = trace.finish();
        let found = by_packets(&bytes);
        let after: Vec<u64> = (0..50).map(|n| 0xffff_f803_0000_2000 + n).collect();
        assert!(found.ends_with(&after), "after {stray:02x?}: {} addresses", found.len());
        assert_eq!(found, by_libipts_rule(&bytes), "after {stray:02x?}");
        assert_eq!(by_scan(&bytes), found, "after {stray:02x?}");
    }
}

#[test]
fn a_search_does_not_go_back_before_the_start() {
    // The bytes before offset 4 end in half of what looks like a PSB at 0.
    let mut bytes = [0x02, 0x82].repeat(8);
    bytes.extend([0xc9, 0x00]);
    let offsets: Vec<_> =
        Packets::at(&bytes, 4).map(|item| item.map(|(at, _)| at).map_err(|gap| gap.resume())).collect();
    assert_eq!(offsets, [Err(18)], "not the PSB at 0");
    let offsets: Vec<_> =
        Packets::at(&bytes, 0).map(|item| item.map(|(at, _)| at).map_err(|gap| gap.resume())).collect();
    assert_eq!(offsets, [Ok(0), Err(18)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_streams_give_the_addresses_of_libipts_rule(
        seed in any::<u64>(),
        timing in proptest::sample::select(&[Timing::None, Timing::Mtc, Timing::MtcAndCyc]),
        size in 200usize..6000,
        cut in 0usize..200,
        strays in proptest::collection::vec((0usize..6000, proptest::collection::vec(any::<u8>(), 1..4)), 0..12),
        before_psbs in any::<bool>(),
        rotate in 0usize..6000,
    ) {
        let (mut bytes, _) = timed_trace(timing, seed, size);
        for (at, stray) in strays {
            let at = at % bytes.len();
            // Right before a PSB is where stray bytes do most harm.
            let at = if before_psbs { sync_forward(&bytes, at).unwrap_or(at) } else { at };
            bytes.splice(at..at, stray);
        }
        let by = rotate % bytes.len();
        bytes.rotate_left(by);
        let bytes = &bytes[cut.min(bytes.len())..];
        let expected = by_libipts_rule(bytes);
        prop_assert_eq!(by_packets(bytes), &*expected);
        prop_assert_eq!(by_scan(bytes), expected);
    }
}

/// A short stream with damage, rotated at each of its offsets.
#[test]
fn rotated_at_every_offset() {
    let mut trace = PacketWriter::new();
    for round in 0..4 {
        trace.psb_plus(1, 0xffff_f800_0000_1000 + round).tip(0x2000, Compression::Low16).tnt(&[true]).cyc(0x3fff);
        trace
            .tip(0xffff_f800_1234_0000, Compression::Low32)
            .raw([[0x59].as_slice(), &[0x19], &[0x02, 0xa3], &[0x6d]][round as usize]);
    }
    let mut bytes = trace.finish();
    for offset in 0..bytes.len() {
        let expected = by_libipts_rule(&bytes);
        assert_eq!(by_packets(&bytes), expected, "rotated by {offset}");
        assert_eq!(by_scan(&bytes), expected, "rotated by {offset}");
        bytes.rotate_left(1);
    }
}
