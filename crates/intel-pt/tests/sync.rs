//! Synchronisation points, from both directions, and rings.

use intel_pt::{Packets, ring, sync_backward, sync_forward};
use proptest::prelude::*;
use testkit::pt::{PacketWriter, mixed_trace};

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
