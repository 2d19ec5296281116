//! What a caller of the flow can ask for: address spaces, code that changes, stopping, single instructions, and how far
//! the result can be relied on.

use std::cell::RefCell;
use std::ops::ControlFlow;

use intel_pt::Pip;
use intel_pt::flow::{
    Blocks, Branch, Code, Event, Instructions, Nothing, Options, Ranges, Space, Step, Stop, Table, Visitor, Walker,
};
use testkit::pt::{Compression, Hardware, Machine, PacketWriter, Program, Shape};

const FIRST: u64 = 0x1000;
const SECOND: u64 = 0x2000;

/// PSB+ at `ip` with tracing on, under `cr3`.
fn begin(cr3: u64, ip: u64) -> PacketWriter {
    let mut trace = PacketWriter::new();
    trace.psb().pip(cr3, false).mode(0, 1).fup(ip, Compression::Signed48).psbend();
    trace
}

fn executed<C: Code>(code: C, trace: &[u8]) -> (Vec<(u64, u64)>, Stop) {
    let mut ranges = Ranges::default();
    let stop = Walker::new(trace).run(&mut Blocks::new(code), &mut ranges);
    (ranges.into_list(), stop)
}

/// Other code at the same address in each of two address spaces.
struct TwoSpaces;

impl Code for TwoSpaces {
    fn read(&self, space: Space, address: u64, out: &mut [u8]) -> usize {
        // 1000: mov cr3, rax; then, in space 1: jmp rax, in space 2: nop; jmp rax. In both, 2000: jmp rax
        let bytes: &[u8] = match (space, address) {
            (Space(1), 0x1000..0x1005) => &[0x0f, 0x22, 0xd8, 0xff, 0xe0],
            (Space(2), 0x1000..0x1006) => &[0x0f, 0x22, 0xd8, 0x90, 0xff, 0xe0],
            (Space(1 | 2), 0x2000..0x2002) => &[0xff, 0xe0],
            _ => return 0,
        };
        let rest = &bytes[(address & 0xfff) as usize..];
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        n
    }

    fn space(&self, paging: Option<Pip>) -> Space {
        // The bits below 12 are the PCID, which does not select another space here.
        Space(paging.map_or(0, |pip| (pip.cr3 >> 12) as u32))
    }
}

#[test]
fn a_cr3_load_changes_the_code_after_it() {
    let mut trace = begin(FIRST, 0x1000);
    trace.pip(SECOND | 0x20, false).tip(0x2000, Compression::Low16).tip(0x1003, Compression::Low16);
    trace.tip(0x1000, Compression::Low16).pip(FIRST, false).tip(0x2000, Compression::Low16);
    let (ranges, stop) = executed(TwoSpaces, &trace.finish());
    assert_eq!(stop, Stop::End);
    // The load itself is in the old space, and what follows it in the new one, where the code is longer.
    let in_second = (0x1003, 0x1006);
    assert_eq!(ranges, [(0x1000, in_second.1), (0x2000, 0x2002), in_second, (0x1000, 0x1005)]);
}

#[test]
fn a_reference_to_code_is_that_code() {
    let pip = Some(Pip { cr3: SECOND, non_root: false });
    let by_reference = |paging| <&TwoSpaces as Code>::space(&&TwoSpaces, paging);
    assert_eq!(by_reference(pip), TwoSpaces.space(pip));
    assert_ne!(by_reference(pip), by_reference(None));
}

#[test]
fn adjoining_ranges_are_read_as_one() {
    let code: &[(u64, &[u8])] = &[(0x1000, &[1, 2, 3]), (0x1003, &[4, 5, 6, 7, 8]), (0x1001, &[9; 9])];
    let mut out = [0; 6];
    assert_eq!((code.read(Space(0), 0x1001, &mut out), out), (6, [2, 3, 4, 5, 6, 7]));
    assert_eq!((code.read(Space(7), 0x1007, &mut out), out), (3, [8, 9, 9, 5, 6, 7]));
    assert_eq!(code.read(Space(0), 0x100a, &mut out), 0);
}

#[test]
fn an_interrupt_into_another_space_reads_its_handler_there() {
    let mut trace = begin(FIRST, 0x2000);
    trace.fup(0x2000, Compression::Low16).pip(SECOND, false).tip(0x1003, Compression::Low16);
    trace.tip(0x2000, Compression::Low16);
    let (ranges, stop) = executed(TwoSpaces, &trace.finish());
    assert_eq!((ranges.as_slice(), stop), ([(0x1003, 0x1006)].as_slice(), Stop::End));
}

#[test]
fn a_far_transfer_with_a_new_cr3_is_read_in_the_old_space() {
    // Space 1: 1000: iretq. Space 2: 2000: jmp rax, and nothing at 1000.
    struct Far;
    impl Code for Far {
        fn read(&self, space: Space, address: u64, out: &mut [u8]) -> usize {
            let bytes: [u8; 2] = match (space, address) {
                (Space(1), 0x1000) => [0x48, 0xcf],
                (Space(2), 0x2000) => [0xff, 0xe0],
                _ => return 0,
            };
            out[..2].copy_from_slice(&bytes);
            2
        }

        fn space(&self, paging: Option<Pip>) -> Space {
            TwoSpaces.space(paging)
        }
    }
    let mut trace = begin(FIRST, 0x1000);
    trace.pip(SECOND, false).tip(0x2000, Compression::Low16).tip(0x2000, Compression::Low16);
    let bytes = trace.finish();
    let mut walker = Walker::new(&bytes);
    let mut ranges = Ranges::default();
    assert_eq!(walker.run(&mut Blocks::new(Far), &mut ranges), Stop::End);
    assert_eq!(ranges.list(), [(0x1000, 0x1002), (0x2000, 0x2002)]);
    assert_eq!(walker.paging(), Some(Pip { cr3: SECOND, non_root: false }));
}

#[test]
fn the_space_before_the_first_pip_is_the_callers() {
    let mut trace = PacketWriter::new();
    trace.psb().fup(0x1003, Compression::Signed48).psbend().tip(0x2000, Compression::Low16);
    let bytes = trace.finish();
    for (cr3, end) in [(FIRST, 0x1005), (SECOND, 0x1006)] {
        let mut ranges = Ranges::default();
        let options = Options::default().paging(Pip { cr3, non_root: false });
        let stop = Walker::with_options(&bytes, options).run(&mut Blocks::new(TwoSpaces), &mut ranges);
        assert_eq!((ranges.list(), stop), ([(0x1003, end)].as_slice(), Stop::End));
    }
}

/// Code that is patched while it is walked over.
struct Patched(RefCell<Vec<u8>>);

impl Code for &Patched {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        let bytes = self.0.borrow();
        let Some(rest) = bytes.get(address.wrapping_sub(0x1000) as usize..) else { return 0 };
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        n
    }
}

#[test]
fn invalidated_code_is_read_again() {
    // 1000: nop; jmp 1010 … 1010: nop; nop; jmp rax
    let mut bytes = vec![0x90, 0xeb, 0x0d];
    bytes.resize(0x10, 0xcc);
    bytes.extend([0x90, 0x90, 0xff, 0xe0]);
    let code = Patched(RefCell::new(bytes));
    let mut trace = begin(FIRST, 0x1000);
    trace.tip(0x1000, Compression::Low16);
    let trace = trace.finish();
    let mut blocks = Blocks::new(&code);
    let mut walk = || {
        let mut ranges = Ranges::default();
        assert_eq!(Walker::new(&trace).run(&mut blocks, &mut ranges), Stop::End);
        ranges.into_list()
    };
    let mut expected = vec![(0x1000, 0x1003), (0x1010, 0x1014)];
    assert_eq!(walk(), expected);
    // 1011: jmp rax
    code.0.borrow_mut()[0x11..0x13].copy_from_slice(&[0xff, 0xe0]);
    assert_eq!(walk(), expected, "known code is not read again");
    for (range, end) in [(0x1000..0x1010, 0x1014), (0x1014..0x1020, 0x1014), (0x1013..0x1014, 0x1013)] {
        blocks.invalidate(range.clone());
        let mut ranges = Ranges::default();
        assert_eq!(Walker::new(&trace).run(&mut blocks, &mut ranges), Stop::End);
        expected[1].1 = end;
        assert_eq!(ranges.into_list(), expected, "{range:x?}");
    }
}

#[test]
fn memory_that_was_missing_is_found_after_invalidation() {
    let code = Patched(RefCell::new(vec![0x90]));
    let mut trace = begin(FIRST, 0x1000);
    trace.tip(0x1000, Compression::Low16);
    let trace = trace.finish();
    let mut blocks = Blocks::new(&code);
    assert!(matches!(Walker::new(&trace).run(&mut blocks, &mut Nothing), Stop::Error(_)));
    code.0.borrow_mut().extend([0xff, 0xe0]);
    blocks.invalidate(0x1001..=0x1002);
    assert_eq!(Walker::new(&trace).run(&mut blocks, &mut Nothing), Stop::End);
}

/// A visitor that stops after every call, and counts.
#[derive(Default)]
struct Impatient {
    executed: Vec<u64>,
    stop: bool,
}

impl Visitor for Impatient {
    fn blocks(&mut self, table: &Table, ids: &[intel_pt::flow::BlockId]) {
        self.executed.extend(ids.iter().flat_map(|id| table.addresses(*id)));
    }

    fn part(&mut self, table: &Table, id: intel_pt::flow::BlockId, instructions: u32) {
        self.executed.extend(table.addresses(id).take(instructions as usize));
    }

    fn control(&mut self) -> ControlFlow<()> {
        if self.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn generated(seed: u64) -> (Program, testkit::pt::Run) {
    let hardware = Hardware { psb_every: 300, timing: 20, ..Hardware::default() };
    let machine = Machine { hardware, interrupts: 100, overflows: 10, pauses: 10, threads: 3, ..Machine::default() };
    let program = Program::generate(&Shape::default(), seed);
    let run = machine.run(&program, 1500, seed);
    (program, run)
}

#[test]
fn a_walk_that_stops_everywhere_finds_the_same() {
    for seed in 0..100 {
        let (program, run) = generated(seed);
        let memory: Vec<(u64, &[u8])> = program.memory().collect();
        let mut blocks = Blocks::new(&memory[..]);
        let mut walker = Walker::new(&run.packets);
        let mut visitor = Impatient { stop: true, ..Impatient::default() };
        let (mut stops, mut most, mut before) = (0, 0, 0);
        loop {
            let stop = walker.run(&mut blocks, &mut visitor);
            most = most.max(visitor.executed.len() - before);
            before = visitor.executed.len();
            match stop {
                Stop::Visitor => stops += 1,
                other => {
                    assert_eq!(other, Stop::End, "program {seed}");
                    break;
                }
            }
        }
        assert_eq!(visitor.executed, run.executed, "program {seed}");
        assert!(stops * 4 > run.executed.len() / 64 && most < 200, "{stops} stops, up to {most} instructions each");
    }
}

#[test]
fn single_instructions_have_their_bytes() {
    for seed in 0..50 {
        let (program, run) = generated(seed);
        let memory: Vec<(u64, &[u8])> = program.memory().collect();
        let mut blocks = Blocks::new(&memory[..]);
        let mut walker = Walker::new(&run.packets);
        let (mut addresses, mut interrupts, mut next) = (Vec::new(), 0, None);
        for step in Instructions::new(&mut walker, &mut blocks) {
            match step {
                Step::Instruction(instruction) => {
                    let mut bytes = vec![0; instruction.bytes().len()];
                    assert_eq!(program.read(instruction.address, &mut bytes), bytes.len());
                    assert!(!bytes.is_empty());
                    assert_eq!(instruction.bytes(), bytes);
                    if let Some(next) = next.take() {
                        assert_eq!(instruction.address, next, "program {seed}: where the branch went");
                    }
                    addresses.push(instruction.address);
                }
                Step::Branch(Branch { to, .. }) => next = Some(to),
                Step::Event { event, .. } => {
                    interrupts += usize::from(matches!(event, Event::Interrupt { .. }));
                    next = None;
                }
                other => panic!("program {seed}: {other:?}"),
            }
        }
        assert_eq!((addresses, interrupts), (run.executed, run.interrupts), "program {seed}");
    }
}

#[test]
fn an_iterator_goes_on_after_errors_and_breaks() {
    let code: &[(u64, &[u8])] = &[(0x1000, &[0x90, 0xff, 0xe0])];
    let mut trace = begin(FIRST, 0x1000);
    trace.tip(0x9000, Compression::Low16).tip(0x1000, Compression::Low16).tip(0x1001, Compression::Low16);
    let trace = trace.finish();
    let text = |breaks: Option<u64>| {
        let mut blocks = Blocks::new(code);
        blocks.break_at(breaks);
        let mut walker = Walker::new(&trace);
        let steps = Instructions::new(&mut walker, &mut blocks).filter_map(|step| match step {
            Step::Instruction(instruction) => Some(format!("{:x}", instruction.address)),
            Step::Stopped(stop) => Some(stop.to_string()),
            _ => None,
        });
        steps.collect::<Vec<_>>().join("; ")
    };
    let missing = "offset 0x26, address 0x9000: no memory is known at this address";
    assert_eq!(text(None), format!("1000; 1001; {missing}; 1000; 1001"));
    assert_eq!(text(Some(0x1001)), format!("1000; stopped at 0x1001; {missing}; 1000; stopped at 0x1001"));
}

#[test]
fn quality_counts_what_was_skipped() {
    let code: &[(u64, &[u8])] = &[(0x1000, &[0x90, 0xff, 0xe0])];
    let mut trace = PacketWriter::new();
    trace.raw(&[0x6d, 1, 2]).psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
    trace.tip(0x1000, Compression::Low16);
    let good = trace.clone().finish();
    // Bits where a TIP is needed, then a TIP that the walk goes on at; and the same once more with a way out at the end.
    trace.tnt(&[true; 6]).tnt(&[true; 6]).tip(0x1000, Compression::Low16).tip(0x1000, Compression::Low16);
    trace.tnt(&[false]).pad().pad();
    let bad = trace.finish();
    let quality = |bytes: &[u8]| {
        let mut walker = Walker::new(bytes);
        let mut blocks = Blocks::new(code);
        while walker.run(&mut blocks, &mut Nothing) != Stop::End {}
        walker.quality()
    };
    let (all, some) = (quality(&good), quality(&bad));
    assert_eq!((all.bytes, all.before_sync, all.skipped, all.lost), (good.len() as u64, 3, 0, 0));
    assert_eq!((all.followed(), all.share_followed()), (good.len() as u64 - 3, Some(1.0)));
    // Of the first error, the second TNT (the first one was taken when it did not fit); of the second, the PADs.
    assert_eq!((some.bytes, some.before_sync, some.skipped, some.lost), (bad.len() as u64, 3, 1 + 2, 2));
    assert!(some.share_followed().is_some_and(|share| share < 1.0));
    let sum: intel_pt::flow::Quality = [all, some].into_iter().sum();
    assert_eq!((sum.bytes, sum.lost), ((good.len() + bad.len()) as u64, 2));
    assert_eq!(sum.lost_per_mib(), Some(2.0 * f64::from(1 << 20) / (sum.bytes - 6) as f64));
    assert_eq!(
        some.to_string(),
        format!("{} of {} bytes followed (3 before the first PSB, 3 skipped), lost 2 times", bad.len() - 6, bad.len())
    );
    assert_eq!(quality(&[]).share_followed(), None);
}

#[test]
fn evidence_is_what_would_have_failed_over_other_code() {
    // 1000: call 1010; jz 1000; jmp rax … 1010: ret
    let mut bytes = vec![0xe8, 0x0b, 0, 0, 0, 0x74, 0xf9, 0xff, 0xe0];
    bytes.resize(0x10, 0xcc);
    bytes.push(0xc3);
    let code: &[(u64, &[u8])] = &[(0x1000, &bytes)];
    let check = |write: &dyn Fn(&mut PacketWriter) -> &mut PacketWriter, expected: (u64, u64, u64)| {
        let mut trace = begin(FIRST, 0x1000);
        write(&mut trace);
        let trace = trace.finish();
        let mut walker = Walker::new(&trace);
        let mut blocks = Blocks::new(code);
        let stop = walker.run(&mut blocks, &mut Nothing);
        let evidence = walker.evidence();
        assert_eq!((evidence.returns, evidence.branches, evidence.addresses), expected, "{stop:?}");
        assert_eq!(evidence.bits(), expected.0 + expected.1 + 16 * expected.2);
        // Of the whole trace.
        walker.quality().confirmed.returns
    };
    let low = Compression::Low16;
    check(&|t| t, (0, 0, 0));
    // A compressed return counts, a conditional branch does not: its bit may be either.
    check(&|t| t.tnt(&[true, true, true, false]), (2, 0, 0));
    check(&|t| t.tnt(&[true, false]).tip(0x1000, low), (1, 1, 0));
    // The place of an interrupt, when code led there; not when a packet just said that execution is there.
    check(&|t| t.tnt(&[true]).fup(0x1005, low).tip(0x1000, low), (1, 0, 1));
    check(&|t| t.fup(0x1010, low).tip(0x1000, low), (0, 0, 1));
    check(&|t| t.fup(0x1000, low).tip(0x1000, low), (0, 0, 0));
    check(&|t| t.tnt(&[true]).psb().fup(0x1005, Compression::Signed48).psbend(), (1, 0, 1));
    // What comes after a doubt counts by itself.
    let all = check(&|t| t.tnt(&[true]).ovf().fup(0x1000, low).tnt(&[true, true]), (1, 0, 0));
    assert_eq!(all, 2);
    let all =
        check(&|t| t.tnt(&[true, false]).pgd(0, Compression::Suppressed).pge(0x1000, low).tnt(&[true]), (1, 0, 0));
    assert_eq!(all, 2);
}
