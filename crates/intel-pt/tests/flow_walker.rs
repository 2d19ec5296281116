//! A walk that is stopped, asked where it is, moved, and taken on.

use intel_pt::flow::{Blocks, Found, Nothing, Options, Ranges, Stop, Walker};
use testkit::pt::{Compression, PacketWriter};

const LOW: Compression = Compression::Low16;
/// Bytes of the packets that [`begin`] writes.
const BEGIN: usize = 27;

/// 1000: jmp rax … 2000: nop; ret … 3000: jmp 1000
const CODE: &[(u64, &[u8])] =
    &[(0x1000, &[0xff, 0xe0]), (0x2000, &[0x90, 0xc3]), (0x3000, &[0xe9, 0xfb, 0xdf, 0xff, 0xff])];

/// PSB+ at 0x1000, and what `write` adds.
fn trace(write: impl FnOnce(&mut PacketWriter) -> &mut PacketWriter) -> Vec<u8> {
    let mut trace = PacketWriter::new();
    trace.psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
    write(&mut trace);
    trace.finish()
}

/// A walk that stands at 0x1000, before the first packet after PSB+.
fn at_start(bytes: &[u8]) -> Walker<'_> {
    let mut walker = Walker::with_options(bytes, Options::default().limit(BEGIN));
    assert_eq!((walker.ip(), walker.run(&mut Blocks::new(CODE), &mut Nothing)), (None, Stop::Limit));
    assert_eq!((walker.offset(), walker.ip(), walker.bits_left()), (BEGIN, Some(0x1000), 0));
    walker.set_limit(usize::MAX);
    walker
}

/// Runs to the end, and what was executed.
fn rest(mut walker: Walker<'_>) -> Vec<(u64, u64)> {
    let mut ranges = Ranges::default();
    assert_eq!(walker.run(&mut Blocks::new(CODE), &mut ranges), Stop::End);
    ranges.list().to_vec()
}

#[test]
fn a_walk_goes_on_where_it_is_told() {
    let bytes = trace(|t| t.tip(0x3000, LOW).tnt(&[true]).tip(0x1000, LOW));
    // A jump to where the TIP is taken from 2001, and its TNT has no call to refer to.
    let mut walker = at_start(&bytes);
    walker.jump(0x2000);
    assert_eq!((walker.ip(), walker.stack().len()), (Some(0x2000), 0));
    let mut ranges = Ranges::default();
    walker.set_limit(BEGIN + 1);
    assert_eq!(walker.run(&mut Blocks::new(CODE), &mut ranges), Stop::Limit);
    assert_eq!((ranges.list(), walker.offset()), ([(0x2000, 0x2002)].as_slice(), BEGIN + 3));
    assert!(walker.steps() <= Walker::FIRST_STEPS);

    // A call: the compressed return leads back to where it says.
    let bytes = trace(|t| t.tnt(&[true]).tip(0x3000, LOW).tip(0x1000, LOW));
    let mut walker = at_start(&bytes);
    walker.call(0x2000, 0x1000);
    assert_eq!((walker.ip(), walker.stack().len(), walker.stack().peek()), (Some(0x2000), 1, Some(0x1000)));
    assert!(!walker.stack().is_empty());
    let steps = walker.steps();
    let mut end = walker.clone();
    assert_eq!(end.run(&mut Blocks::new(CODE), &mut Nothing), Stop::End);
    assert_eq!(end.steps() - steps, 1, "3000 is the only block that needs no packet");
    assert!(end.stack().is_empty());
    assert_eq!(rest(walker), [(0x2000, 0x2002), (0x1000, 0x1002), (0x3000, 0x3005), (0x1000, 0x1002)]);
}

#[test]
fn a_walk_without_a_place_cannot_be_moved() {
    let bytes = trace(|t| t.tip(0x1000, LOW));
    let mut walker = Walker::new(&bytes);
    walker.jump(0x2000);
    walker.call(0x2000, 0x1000);
    assert_eq!((walker.ip(), walker.stack().len()), (None, 0));
    assert_eq!(rest(walker), [(0x1000, 0x1002)]);
}

/// What `take_tip` gives, and what is seen before it: the next TIP, the next event, and the bits left afterwards.
type Seen = (Result<(usize, u64), Found>, Option<u64>, Option<u64>, u8);

#[test]
fn the_next_tip_is_taken_or_what_is_there_is_named() {
    type Write = dyn Fn(&mut PacketWriter) -> &mut PacketWriter;
    let cases: [(&Write, Seen); 12] = [
        (&|t| t.tip(0x2000, LOW), (Ok((BEGIN, 0x2000)), Some(0x2000), None, 0)),
        (&|t| t.cbr(1).tip(0x2000, LOW), (Ok((BEGIN, 0x2000)), Some(0x2000), None, 0)),
        (&|t| t.pwre(0, 15, false).tip(0x2000, LOW), (Ok((BEGIN + 4, 0x2000)), None, None, 0)),
        (&|t| t.tnt(&[true, false]).tip(0x2000, LOW), (Ok((BEGIN + 1, 0x2000)), None, None, 2)),
        (&|t| t.tnt(&[true]).tnt(&[true]).tip(0x2000, LOW), (Err(Found::Tnt), None, None, 1)),
        (&|t| t.fup(0x1000, LOW).tip(0x2000, LOW), (Err(Found::Fup), None, Some(0x1000), 0)),
        (&|t| t.ptw8(7, true).fup(0x1000, LOW), (Err(Found::Fup), None, Some(0x1000), 0)),
        (&|t| t.psb().fup(0x1000, Compression::Signed48).psbend(), (Err(Found::Psb), None, Some(0x1000), 0)),
        (&|t| t.pge(0x1000, LOW), (Err(Found::TipPge), None, None, 0)),
        (&|t| t.pgd(0x1000, LOW), (Err(Found::Other), None, None, 0)),
        (&|t| t.ovf().fup(0x1000, LOW), (Err(Found::Ovf), None, None, 0)),
        (&|t| t, (Err(Found::End), None, None, 0)),
    ];
    for (number, (write, expected)) in cases.into_iter().enumerate() {
        let bytes = trace(write);
        let mut walker = at_start(&bytes);
        let (tip, event) = (walker.clone().tip_is_next(), walker.clone().event_due());
        let taken = walker.take_tip();
        assert_eq!((taken, tip, event, walker.bits_left()), expected, "case {number}");
    }
    // With bits left, neither a TIP nor an event is next.
    let bytes = trace(|t| t.tnt(&[true]).tip(0x2000, LOW).tip(0x3000, LOW).fup(0x1000, LOW));
    let mut walker = at_start(&bytes);
    assert_eq!((walker.take_tip(), walker.bits_left(), walker.tip_is_next()), (Ok((BEGIN + 1, 0x2000)), 1, None));
    assert_eq!((walker.take_tip(), walker.event_due()), (Ok((BEGIN + 4, 0x3000)), None));
}
