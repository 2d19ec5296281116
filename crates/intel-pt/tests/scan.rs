//! The scanner finds what the iterator finds.

use intel_pt::{Error, HitKind, LastIp, Packet, Packets, Totals, scan_with_gaps};
use proptest::prelude::*;
use testkit::pt::{Compression, PacketWriter, Timing, timed_trace};

const TIMINGS: [Timing; 3] = [Timing::None, Timing::Mtc, Timing::MtcAndCyc];

/// Offset, kind and address.
type Hit = (usize, HitKind, u64);
type Found = (Vec<Hit>, Vec<Error>, Totals);

fn by_scan(bytes: &[u8]) -> Found {
    let (mut hits, mut gaps) = (Vec::new(), Vec::new());
    let totals = scan_with_gaps(bytes, |hit| hits.push((hit.offset, hit.kind, hit.ip)), |gap| gaps.push(gap));
    (hits, gaps, totals)
}

fn by_iterator(bytes: &[u8]) -> Found {
    let (mut hits, mut gaps, mut totals) = (Vec::new(), Vec::new(), Totals::default());
    let mut last = LastIp::unknown();
    for item in Packets::new(bytes) {
        let (offset, kind, ip) = match item {
            Ok((offset, Packet::Tip(ip))) => (offset, HitKind::Tip, ip),
            Ok((offset, Packet::TipPge(ip))) => (offset, HitKind::TipPge, ip),
            Ok((offset, Packet::TipPgd(ip))) => (offset, HitKind::TipPgd, ip),
            Ok((offset, Packet::Fup(ip))) => (offset, HitKind::Fup, ip),
            Ok((_, packet)) => {
                totals.psb += u64::from(packet == Packet::Psb);
                totals.overflows += u64::from(packet == Packet::Ovf);
                if packet == Packet::Psb {
                    last = LastIp::after_psb();
                }
                continue;
            }
            Err(gap) => {
                gaps.push(gap);
                totals.gaps += 1;
                totals.gap_bytes += gap.skipped() as u64;
                continue;
            }
        };
        if let Some(ip) = last.update(ip) {
            totals.hits += 1;
            hits.push((offset, kind, ip));
        }
    }
    (hits, gaps, totals)
}

#[track_caller]
fn check(bytes: &[u8]) {
    assert_eq!(by_scan(bytes), by_iterator(bytes));
}

#[test]
fn a_generated_trace_gives_the_addresses_that_were_written() {
    for timing in TIMINGS {
        let (trace, written) = timed_trace(timing, 1, 300_000);
        let (hits, gaps, _) = by_scan(&trace);
        assert_eq!(hits.iter().map(|hit| hit.2).collect::<Vec<_>>(), written);
        assert_eq!(gaps, []);
        check(&trace);
    }
}

#[test]
fn psbs_far_apart_and_long_runs_without_an_address() {
    let mut trace = PacketWriter::new();
    trace.psb();
    for round in 0..4 {
        trace.tip(0xffff_f800_0000_0000 + round, Compression::Full).raw(&[[0x04, 0x00][round as usize % 2]; 700_000]);
        (0..30_000).for_each(|ip| {
            trace.tip(ip, Compression::Low16).cyc(ip << 9);
        });
    }
    trace.psb().tip(1, Compression::Low16).psb();
    let bytes = trace.finish();
    assert_eq!(by_scan(&bytes).0.len(), 4 * 30_001 + 1);
    check(&bytes);
}

#[test]
fn blocks_and_rare_packets_are_gone_through() {
    let mut trace = PacketWriter::new();
    for round in 0..40 {
        trace.psb_plus(1, 0xffff_f800_0000_1000).bbp(4, round % 2 == 0);
        for id in 0..8 {
            if round % 2 == 0 {
                trace.bip4(id, 0x0d0d_0d0d)
            } else {
                trace.bip8(id, 0x6d6d_6d6d_6d6d_6d6d)
            };
            trace.cyc(0x3fff).pad().fup(0xffff_f800_0000_2000 + u64::from(id), Compression::Shortest);
        }
        trace.bep(true).fup(0x1000, Compression::Full).ovf().ptw8(!0, true).fup(0x1000, Compression::Low16);
        trace.mnt(0x6d).trig(1, true, Some(2), true).evd(0, 0x6d6d).cfe(1, 14, true).tsc(0x6d).mtc(0x6d).tma(0x6d6d, 1);
        trace.pgd(0, Compression::Suppressed).pge(0x1234_5678, Compression::Low48).long_tnt(&[true; 47]);
    }
    let bytes = trace.finish();
    let (hits, gaps, totals) = by_scan(&bytes);
    assert_eq!((hits.len(), gaps.len(), totals.psb, totals.overflows), (40 * 12, 0, 40, 40));
    check(&bytes);
}

#[test]
fn more_hits_than_can_wait_between_two_psbs() {
    let mut trace = PacketWriter::new();
    for _ in 0..5 {
        trace.psb();
        (0..3000).for_each(|ip| {
            trace.tip(ip, Compression::Shortest);
        });
    }
    check(&trace.finish());
}

#[test]
fn a_false_psb_in_the_way_does_not_mislead() {
    // A long run of 02 82 that begins inside a payload, and a PSB that begins inside what the walk takes for a packet.
    let mut trace = PacketWriter::new();
    trace.psb().tip(0x1000, Compression::Full).ptw8(0x8202_8202_8202_8202, false).psb().tip(0x2000, Compression::Low16);
    trace
        .raw(&[0x02, 0xa3, 0, 0, 0])
        .psb()
        .tip(0x3000, Compression::Full)
        .raw(&[0xc9])
        .psb()
        .tip(4, Compression::Low32);
    trace.psb().psb().raw(&[0x02, 0x82, 0x02]).psb().tnt(&[true]);
    check(&trace.finish());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600), psbs in proptest::collection::vec(0usize..600, 0..6)) {
        let mut bytes = bytes;
        for at in psbs {
            if at + 16 <= bytes.len() {
                bytes[at..at + 16].copy_from_slice(&[2, 0x82].repeat(8));
            }
        }
        prop_assert_eq!(by_scan(&bytes), by_iterator(&bytes));
    }

    #[test]
    fn a_damaged_trace(seed in any::<u64>(), timing in proptest::sample::select(&TIMINGS), flips in proptest::collection::vec((0usize..40_000, any::<u8>()), 0..40), start in 0usize..5000) {
        let (mut bytes, _) = timed_trace(timing, seed, 40_000);
        for (at, value) in flips {
            bytes[at] = value;
        }
        prop_assert_eq!(by_scan(&bytes[start..]), by_iterator(&bytes[start..]));
    }
}
