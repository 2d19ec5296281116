//! Rules that only one kind of trace needs: errata, widths of code, events, the order in which they are applied.

use intel_pt::flow::{Blocks, ErrorKind, Event, Nothing, Ranges, Stop, Table, Visitor, Walker};
use testkit::pt::{Compression, PacketWriter};

const LOW: Compression = Compression::Low16;

/// PSB+ at `ip` in 64-bit code.
fn begin(ip: u64) -> PacketWriter {
    let mut trace = PacketWriter::new();
    trace.psb().mode(0, 1).fup(ip, Compression::Signed48).psbend();
    trace
}

#[derive(Default)]
struct Log {
    ranges: Ranges,
    events: Vec<String>,
}

impl Visitor for Log {
    fn blocks(&mut self, table: &Table, ids: &[intel_pt::flow::BlockId]) {
        self.ranges.blocks(table, ids);
    }

    fn part(&mut self, table: &Table, id: intel_pt::flow::BlockId, instructions: u32) {
        self.ranges.part(table, id, instructions);
    }

    fn event(&mut self, _: usize, event: &Event) {
        if !matches!(event, Event::Psb { .. }) {
            self.events.push(event.to_string());
        }
    }
}

fn walk(code: &[(u64, &[u8])], mut trace: PacketWriter) -> (Log, Stop) {
    let bytes = std::mem::take(&mut trace).finish();
    let mut log = Log::default();
    let stop = Walker::new(&bytes).run(&mut Blocks::new(code), &mut log);
    (log, stop)
}

fn kind(stop: Stop) -> ErrorKind {
    match stop {
        Stop::Error(error) => error.kind(),
        other => panic!("{other:?}"),
    }
}

/// 1000: nop; jmp rax
const NOP_JUMP: &[(u64, &[u8])] = &[(0x1000, &[0x90, 0xff, 0xe0])];

#[test]
fn a_status_that_says_on_just_before_tip_pge_is_forgiven() {
    // Errata BDM70 (PSB+) and APL12 (OVF): both say wrongly that tracing is on.
    let by_psb = || begin(0x1000);
    let by_overflow = || {
        let mut trace = begin(0x1000);
        trace.ovf().fup(0x1000, LOW);
        trace
    };
    for begin in [&by_psb as &dyn Fn() -> PacketWriter, &by_overflow] {
        let mut trace = begin();
        trace.pge(0x1000, LOW).tip(0x1001, LOW);
        let (log, stop) = walk(NOP_JUMP, trace);
        assert_eq!((log.ranges.list(), stop), ([(0x1000, 0x1003)].as_slice(), Stop::End));
        assert_eq!(log.events.last().map(String::as_str), Some("tracing begins at 0x1000"));
    }
}

#[test]
fn tip_pge_while_tracing_is_on_is_an_error() {
    let after: [&dyn Fn(&mut PacketWriter) -> &mut PacketWriter; 5] = [
        // After a branch, after code without a branch, after an interrupt, after TIP.PGE.
        &|t| t.tip(0x1000, LOW),
        &|t| t.ptw8(1, true).fup(0x1001, LOW),
        &|t| t.fup(0x1000, LOW).tip(0x1000, LOW),
        &|t| t.pge(0x1000, LOW),
        &|t| t.fup(0x1000, LOW).pgd(0, Compression::Suppressed).pge(0x1000, LOW),
    ];
    for (n, write) in after.into_iter().enumerate() {
        let mut trace = begin(0x1000);
        write(&mut trace).pge(0x1000, LOW);
        assert_eq!(kind(walk(NOP_JUMP, trace).1), ErrorKind::AlreadyEnabled, "case {n}");
    }
}

#[test]
fn tracing_that_ends_twice_after_an_overflow_ended_once() {
    // Erratum APL11.
    let mut trace = begin(0x1000);
    trace.ovf().pgd(0, Compression::Suppressed).fup(0x1000, LOW).pgd(0, Compression::Suppressed);
    trace.pge(0x1000, LOW).tip(0x1000, LOW);
    let (log, stop) = walk(NOP_JUMP, trace);
    assert_eq!((log.ranges.list(), stop), ([(0x1000, 0x1003)].as_slice(), Stop::End));
    assert_eq!(log.events, ["packets lost", "tracing begins at 0x1000"]);
}

#[test]
fn branches_of_an_aborted_transaction_may_be_missing() {
    // Erratum BDM64. 1000: jz 1002; nop; jmp rax: without its TNT bit, the abort at 1002 is not reached.
    let code: &[(u64, &[u8])] = &[(0x1000, &[0x74, 0x00, 0x90, 0xff, 0xe0])];
    let mut trace = begin(0x1000);
    trace.mode(1, 2).fup(0x1002, LOW).tip(0x1002, LOW).tip(0x1000, LOW);
    let (log, stop) = walk(code, trace);
    assert_eq!((log.ranges.list(), stop), ([(0x1002, 0x1005)].as_slice(), Stop::End));
    assert_eq!(log.events, ["transaction aborted", "interrupt at 0x1002 to 0x1002"]);
    // An ordinary interrupt must be reached.
    let mut trace = begin(0x1000);
    trace.fup(0x1002, LOW).tip(0x1002, LOW);
    assert_eq!(kind(walk(code, trace).1), ErrorKind::NotReached { event: 0x1002 });
}

#[test]
fn a_far_transfer_changes_the_width_of_the_same_code() {
    // 48 ff c0: in 64-bit code inc rax, in 32-bit code dec eax; inc eax. Then jmp rax or eax; 1010: iret.
    let mut bytes = vec![0x48, 0xff, 0xc0, 0xff, 0xe0];
    bytes.resize(0x10, 0xcc);
    bytes.push(0xcf);
    let code: &[(u64, &[u8])] = &[(0x1000, &bytes)];
    let mut trace = begin(0x1010);
    // Thrice to the same address from the same instruction: 64 bits, 32 bits, 64 bits.
    for mode in [1, 2, 1] {
        trace.mode(0, mode).tip(0x1000, LOW).mode(0, 1).tip(0x1010, LOW);
    }
    let bytes = trace.finish();
    let mut counted = Counted::default();
    assert_eq!(Walker::new(&bytes).run(&mut Blocks::new(code), &mut counted), Stop::End);
    assert_eq!(counted.0, [1, 2, 1, 3, 1, 2]);
}

#[test]
fn an_interrupt_changes_the_width_of_code() {
    let code: &[(u64, &[u8])] = &[(0x1000, &[0x48, 0xff, 0xc0, 0xff, 0xe0])];
    let mut trace = begin(0x1000);
    trace.fup(0x1000, LOW).mode(0, 2).tip(0x1000, LOW).tip(0x1000, LOW);
    let bytes = trace.finish();
    let mut counted = Counted::default();
    assert_eq!(Walker::new(&bytes).run(&mut Blocks::new(code), &mut counted), Stop::End);
    assert_eq!(counted.0, [3]);
}

/// Instructions of each block executed.
#[derive(Default)]
struct Counted(Vec<u32>);

impl Visitor for Counted {
    fn blocks(&mut self, table: &Table, ids: &[intel_pt::flow::BlockId]) {
        self.0.extend(ids.iter().map(|id| table.block(*id).instructions));
    }

    fn part(&mut self, _: &Table, _: intel_pt::flow::BlockId, instructions: u32) {
        self.0.push(instructions);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    // 1000: jz 1000; jmp rax … 1010: ret … 1020: jmp 1020 … 1030: call 1030 … 1040: nop and the end
    let mut bytes = vec![0xcc; 0x41];
    bytes[..4].copy_from_slice(&[0x74, 0xfe, 0xff, 0xe0]);
    bytes[0x10] = 0xc3;
    bytes[0x20..0x22].copy_from_slice(&[0xeb, 0xfe]);
    bytes[0x30..0x35].copy_from_slice(&[0xe8, 0xfb, 0xff, 0xff, 0xff]);
    bytes[0x40] = 0x90;
    let code: &[(u64, &[u8])] = &[(0x1000, &bytes), (0x2000, &[0x06; 16])];
    type Write = dyn Fn(&mut PacketWriter) -> &mut PacketWriter;
    let cases: [(u64, &Write, &str); 13] = [
        (0x1000, &|t| t.tip(0x1000, LOW), "offset 0x1b, address 0x1000: a conditional branch needs a TNT, found TIP"),
        (0x1002, &|t| t.tnt(&[true]).psb(), "offset 0x1c, address 0x1002: an indirect branch needs a TIP, found PSB"),
        (
            0x1002,
            &|t| t.tnt(&[true]),
            "offset 0x1c, address 0x1002: an indirect branch needs a TIP, found the end of the trace",
        ),
        (0x1010, &|t| t.tnt(&[false]), "offset 0x1c, address 0x1010: a compressed return needs a TNT bit 1, found 0"),
        (
            0x1010,
            &|t| t.tnt(&[true]),
            "offset 0x1c, address 0x1010: a compressed return, but no call before it is known",
        ),
        (0x1020, &|t| t.tnt(&[true]), "offset 0x1c, address 0x1020: the code runs in a loop that no packet leaves"),
        (0x1030, &|t| t.tnt(&[true]), "offset 0x1c, address 0x1030: the code runs in a loop that no packet leaves"),
        (0x1040, &|t| t.tip(0, LOW), "offset 0x1b, address 0x1041: no memory is known at this address"),
        (0x2000, &|t| t.tip(0, LOW), "offset 0x1b, address 0x2000: the bytes here are not an instruction"),
        (
            0x1000,
            &|t| t.tip(0, Compression::Suppressed),
            "offset 0x1c, address 0x1000: a packet that must give an address gives none",
        ),
        (
            0x1000,
            &|t| t.fup(0x1002, LOW).tip(0, LOW),
            "offset 0x1b, address 0x1000: an event at 0x1002 is not reached from here",
        ),
        (
            0x1000,
            &|t| t.fup(0x1000, LOW).tip(0, Compression::Suppressed),
            "offset 0x1f, address 0x1000: a packet that must give an address gives none",
        ),
        (
            0x1000,
            &|t| t.fup(0x1000, LOW).pgd(0, Compression::Suppressed).tnt(&[true]),
            "offset 0x1f: a branch packet while tracing is off",
        ),
    ];
    for (ip, write, expected) in cases {
        let mut trace = begin(ip);
        write(&mut trace);
        let (_, stop) = walk(code, trace);
        assert_eq!(stop.to_string(), expected);
    }
}

#[test]
fn a_loop_of_several_blocks_is_endless_too() {
    // 1000: jmp 1010 · 1010: jmp 1020 · 1020: jmp 1000
    let mut bytes = vec![0xcc; 0x22];
    bytes[..2].copy_from_slice(&[0xeb, 0x0e]);
    bytes[0x10..0x12].copy_from_slice(&[0xeb, 0x0e]);
    bytes[0x20..0x22].copy_from_slice(&[0xeb, 0xde]);
    let code: &[(u64, &[u8])] = &[(0x1000, &bytes)];
    let mut trace = begin(0x1000);
    trace.tip(0x1000, LOW);
    assert_eq!(kind(walk(code, trace).1), ErrorKind::EndlessLoop);
}

#[test]
fn items_of_a_block_are_not_taken_for_branches() {
    // 1000: jz 1002; jmp rax. The first byte of each item looks like a short TNT outside a block.
    let code: &[(u64, &[u8])] = &[(0x1000, &[0x74, 0x00, 0xff, 0xe0])];
    let mut trace = begin(0x1000);
    trace.bbp(4, true).bip4(9, 0x0606_0606).bip4(10, 6).tnt(&[true]).tip(0x1000, LOW);
    trace.bbp(4, false).bip8(9, 6).bep(false).tnt(&[false]).tip(0x1002, LOW);
    let (log, stop) = walk(code, trace);
    assert_eq!((log.ranges.list(), stop), ([(0x1000, 0x1004), (0x1000, 0x1004)].as_slice(), Stop::End));
}

#[test]
fn straight_code_is_bounded_by_the_budget() {
    // 1000: 300 nops; jmp rax
    let mut bytes = vec![0x90; 300];
    bytes.extend([0xff, 0xe0]);
    let code: &[(u64, &[u8])] = &[(0x1000, &bytes)];
    let mut trace = begin(0x1000);
    trace.tip(0x1000, LOW);
    let bytes = trace.finish();
    for (budget, good) in [(255, false), (256, true)] {
        let options = intel_pt::flow::Options::default().budget(budget);
        let stop = Walker::with_options(&bytes, options).run(&mut Blocks::new(code), &mut Nothing);
        // The last of 5 blocks ends with the branch that takes the TIP; the 4 before it have 64 instructions each.
        assert_eq!(stop == Stop::End, good, "{stop:?}");
    }
}

/// A TRIG packet with a count happened so many instructions after the last packet that took one.
#[test]
fn triggers_lie_after_a_number_of_instructions() {
    // 1000: nop; nop; jmp 1010 … 1010: nop; jmp rax
    let mut bytes = vec![0xcc; 0x13];
    bytes[..4].copy_from_slice(&[0x90, 0x90, 0xeb, 0x0c]);
    bytes[0x10..].copy_from_slice(&[0x90, 0xff, 0xe0]);
    let code: &[(u64, &[u8])] = &[(0x1000, &bytes)];
    // Start, count, and the instructions of each piece up to the jump: three in the first block, two in the second.
    for (start, count, pieces) in [
        (0x1000, 0, vec![3, 2]),
        (0x1000, 1, vec![1, 2, 2]),
        (0x1000, 2, vec![2, 1, 2]),
        (0x1000, 3, vec![3, 2]),
        (0x1000, 4, vec![3, 1, 1]),
        (0x1001, 1, vec![1, 1, 2]),
        (0x1010, 1, vec![1, 1]),
    ] {
        let mut trace = begin(start);
        trace.trig(0xa1, false, Some(count), false).tip(0x1000, LOW);
        let bytes = trace.finish();
        let mut counted = Counted::default();
        assert_eq!(Walker::new(&bytes).run(&mut Blocks::new(code), &mut counted), Stop::End);
        assert_eq!(counted.0, pieces, "{count} after {start:#x}");
    }
}

#[test]
fn a_limit_ends_the_walk_at_its_offset() {
    // Four jumps of three bytes each, after 27 bytes of PSB+.
    let mut trace = begin(0x1000);
    for _ in 0..4 {
        trace.tip(0x1000, LOW);
    }
    let bytes = trace.finish();
    for (limit, jumps) in [(27, 0), (28, 1), (30, 1), (31, 2), (39, 4), (40, 4)] {
        let options = intel_pt::flow::Options::default().limit(limit);
        let mut log = Log::default();
        let stop = Walker::with_options(&bytes, options).run(&mut Blocks::new(NOP_JUMP), &mut log);
        let expected = if limit == 40 { Stop::End } else { Stop::Limit };
        assert_eq!((log.ranges.list().len(), stop), (jumps, expected), "{limit}");
    }
}

#[test]
fn events_have_a_text() {
    let mut trace = begin(0x1000);
    trace.pip(0x1000, true).vmcs(0x2000).mode(1, 1).fup(0x1000, LOW).ptw8(7, true).fup(0x1001, LOW).pwre(0, 15, false);
    trace.stop().fup(0x1001, LOW).pgd(0x5000, LOW).pge(0x1001, LOW).mode(1, 0).fup(0x1001, LOW).tip(0x1000, LOW);
    trace.ovf().fup(0x1000, LOW);
    let (log, stop) = walk(NOP_JUMP, trace);
    assert_eq!(stop, Stop::End);
    let expected = [
        "CR3 0x1000, guest",
        "VMCS 0x2000",
        "transaction begins",
        "ptw 1: 7, ip at 0x1001",
        "pwre c1.0",
        "tracing ends at 0x1001, execution goes on at 0x5000",
        "a region that stops tracing is entered",
        "tracing resumes at 0x1001",
        "transaction ends",
        "packets lost, execution goes on at 0x1000",
    ];
    assert_eq!(log.events, expected);
}

#[test]
fn far_transfers_have_kinds() {
    use intel_pt::CodeWidth;
    use intel_pt::flow::{Exit, Far, Space};
    let cases: [(&[u8], Far); 9] = [
        (&[0x0f, 0x05], Far::SystemCall),
        (&[0x0f, 0x34], Far::SystemCall),
        (&[0x48, 0x0f, 0x07], Far::SystemReturn),
        (&[0xcd, 0x2a], Far::Interrupt),
        (&[0x48, 0xcf], Far::InterruptReturn),
        (&[0x48, 0xff, 0x1d, 0, 0, 0, 0], Far::Call),
        (&[0x48, 0xcb], Far::Return),
        (&[0x48, 0xff, 0x2d, 0, 0, 0, 0], Far::Jump),
        (&[0x0f, 0x01, 0xc3], Far::Other),
    ];
    for (bytes, kind) in cases {
        let code: &[(u64, &[u8])] = &[(0x1000, bytes)];
        let mut blocks = Blocks::new(code);
        let id = blocks.at(Space::default(), 0x1000, CodeWidth::Bits64);
        assert_eq!(blocks.table().block(id).exit, Exit::Far(kind), "{bytes:x?}");
    }
}
