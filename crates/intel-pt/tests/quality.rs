//! Numbers of quality: what is derived from them, and sums.

use intel_pt::flow::{Blocks, Evidence, Nothing, Quality, Stop, Walker};
use testkit::pt::{Compression, PacketWriter};

const LOW: Compression = Compression::Low16;

/// The quality of a walk over `code`, errors included.
fn quality(code: &[(u64, &[u8])], trace: PacketWriter) -> Quality {
    let bytes = trace.finish();
    let (mut blocks, mut walker) = (Blocks::new(code), Walker::new(&bytes));
    while walker.run(&mut blocks, &mut Nothing) != Stop::End {}
    walker.quality()
}

fn begin() -> PacketWriter {
    let mut trace = PacketWriter::new();
    trace.psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
    trace
}

/// 1000: call 1010; jmp rax … 1010: ret … 1020: jz 1020
fn code() -> Vec<u8> {
    let mut bytes = vec![0xcc; 0x22];
    bytes[..7].copy_from_slice(&[0xe8, 0x0b, 0, 0, 0, 0xff, 0xe0]);
    bytes[0x10] = 0xc3;
    bytes[0x20..].copy_from_slice(&[0x74, 0xfe]);
    bytes
}

#[test]
fn what_fits_is_followed_and_confirmed() {
    let bytes = code();
    let mut trace = begin();
    trace.tnt(&[true]).tip(0x1000, LOW);
    let found = quality(&[(0x1000, &bytes)], trace);
    assert_eq!((found.bytes, found.before_sync, found.skipped, found.lost, found.missing), (31, 0, 0, 0, 0));
    assert_eq!((found.followed(), found.share_followed(), found.lost_per_mib()), (31, Some(1.0), Some(0.0)));
    let Evidence { returns, branches, addresses, .. } = found.confirmed;
    assert_eq!((returns, branches, addresses, found.confirmed.bits()), (1, 1, 0, 2));
}

#[test]
fn what_does_not_fit_is_lost() {
    let bytes = code();
    let mut trace = PacketWriter::new();
    trace.pad().pad().pad().psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
    // A compressed return that went the other way; a jump to where nothing is known; a jump where a TNT is wanted.
    trace.tnt(&[false]).tip(0x1000, LOW).tnt(&[true]).tip(0x5000, LOW).tip(0x1020, LOW).tip(0x1000, LOW);
    let found = quality(&[(0x1000, &bytes)], trace);
    assert_eq!((found.bytes, found.before_sync, found.lost, found.missing), (44, 3, 3, 1));
    assert_eq!((found.out_of_step(), found.followed()), (2, found.bytes - 3 - found.skipped));
    let per_mib = |times: f64| Some(times * 1048576.0 / 41.0);
    assert_eq!((found.lost_per_mib(), found.out_of_step_per_mib()), (per_mib(3.0), per_mib(2.0)));
    assert_eq!(found.share_followed(), Some(found.followed() as f64 / 41.0));
}

#[test]
fn numbers_add_up() {
    let bytes = code();
    let mut trace = begin();
    trace.tnt(&[true]).tip(0x5000, LOW).tip(0x1000, LOW);
    let one = quality(&[(0x1000, &bytes)], trace);
    let mut sum = one;
    sum += one;
    assert_eq!((sum.bytes, sum.lost, sum.missing), (2 * one.bytes, 2, 2));
    assert_eq!((sum.confirmed.returns, sum.confirmed.branches), (2, 2 * one.confirmed.branches));
    assert_eq!((sum, one + one), ([one, one].into_iter().sum(), sum));
    let nothing = Quality::default();
    assert_eq!((nothing.share_followed(), nothing.lost_per_mib(), nothing.out_of_step_per_mib()), (None, None, None));
}
