//! A walk's work is in proportion to its packets. What is counted are steps and instructions, never time.

use std::ops::ControlFlow;

use intel_pt::flow::{
    BlockId, Blocks, Code, ErrorKind, Instructions, Nothing, Space, Step, Stop, Table, Visitor, Walker,
};
use testkit::pt::{Compression, PacketWriter};

const START: u64 = 0xffff_f800_1000_0000;
/// Jumps or blocks of nops in a slide.
const LONG: usize = 20_000;
const TIPS: usize = 600;

fn begin() -> PacketWriter {
    let mut trace = PacketWriter::new();
    trace.psb().mode(0, 1).fup(START, Compression::Signed48).psbend();
    trace
}

/// `unit` again and again, and then `jmp rax`.
fn slide(unit: &[u8]) -> Vec<u8> {
    let mut code = unit.repeat(LONG);
    code.extend([0xff, 0xe0]);
    code
}

#[derive(Default)]
struct Counter {
    blocks: u64,
    /// Where the last block began.
    last: u64,
}

impl Visitor for Counter {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        self.blocks += ids.len() as u64;
        self.last = ids.last().map_or(self.last, |id| table.block(*id).start);
    }

    fn part(&mut self, _: &Table, _: BlockId, _: u32) {
        self.blocks += 1;
    }
}

/// Every packet would lead over the whole slide. The walk gives up, says where, and follows what comes after the slides.
fn check(name: &str, code: &[u8], trace: &[u8]) {
    let last = [0x90, 0xff, 0xe0];
    let end = START + 0x100_0000;
    let memory: &[(u64, &[u8])] = &[(START, code), (end, &last)];
    let mut trace = trace.to_vec();
    let good = trace.len();
    let mut tail = PacketWriter::new();
    tail.tip(end, Compression::Full).tip(end, Compression::Full);
    trace.extend(tail.finish());
    let mut walker = Walker::new(&trace);
    let (mut blocks, mut counter, mut given_up) = (Blocks::new(memory), Counter::default(), Vec::new());
    loop {
        match walker.run(&mut blocks, &mut counter) {
            Stop::Error(error) => {
                if let ErrorKind::TooFewPackets { .. } = error.kind() {
                    assert!(error.offset() <= good, "{name}: {error}");
                    let at = error.ip().unwrap_or_else(|| panic!("{name}: {error}")).wrapping_sub(START);
                    assert!(at < code.len() as u64, "{name}: {error}");
                    given_up.push(error);
                }
            }
            stop => {
                assert_eq!(stop, Stop::End, "{name}");
                break;
            }
        }
    }
    let most = Walker::FIRST_STEPS + Walker::STEPS_PER_BYTE * trace.len() as u64;
    assert!(walker.steps() <= most, "{name}: {} steps", walker.steps());
    // A way to an address is looked for first and passed then: each step passes at most one block, packets the others.
    assert!(counter.blocks <= most + trace.len() as u64 * 6, "{name}: {} blocks", counter.blocks);
    assert!(!given_up.is_empty(), "{name}: nothing was given up");
    assert!(walker.quality().lost > 0, "{name}");
    assert_eq!(counter.last, end, "{name}: what comes after is followed");
}

#[test]
fn packets_that_lead_over_the_same_code_again_and_again() {
    let jumps = slide(&[0xeb, 0x00]);
    let nops = slide(&[0x90; 64]);
    for (name, code) in [("jumps", &jumps), ("nops", &nops)] {
        let mut trace = begin();
        (0..TIPS).for_each(|_| _ = trace.tip(START, Compression::Low16));
        check(name, code, &trace.finish());

        // An interrupt right before the last instruction, which comes back to the start.
        let end = START + code.len() as u64 - 2;
        let mut trace = begin();
        (0..TIPS).for_each(|_| _ = trace.fup(end, Compression::Low32).tip(START, Compression::Low32));
        check(&format!("{name}, interrupts"), code, &trace.finish());

        // Looked for, but not there: the branch at the end is no MOV CR3.
        let mut trace = begin();
        (0..TIPS).for_each(|_| _ = trace.pip(0x1000, false));
        check(&format!("{name}, PIP"), code, &trace.finish());

        // So many instructions on.
        let mut trace = begin();
        (0..TIPS).for_each(|_| _ = trace.trig(1, false, Some(u16::MAX), false));
        if name == "jumps" {
            check(&format!("{name}, triggers"), code, &trace.finish());
        }
    }
}

/// Stops after every call.
#[derive(Default)]
struct Impatient(Vec<u64>);

impl Visitor for Impatient {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        self.0.extend(ids.iter().map(|id| table.block(*id).start));
    }

    fn part(&mut self, table: &Table, id: BlockId, _: u32) {
        self.0.push(table.block(id).start);
    }

    fn control(&mut self) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

#[test]
fn a_way_that_the_visitor_stops_on_is_looked_for_once() {
    let code = slide(&[0xeb, 0x00]);
    let memory: &[(u64, &[u8])] = &[(START, &code)];
    let end = START + code.len() as u64 - 2;
    let mut trace = begin();
    trace.fup(end, Compression::Low32).tip(end, Compression::Low32).tip(end, Compression::Low32);
    let trace = trace.finish();
    let mut walker = Walker::new(&trace);
    let mut blocks = Blocks::new(memory);
    let mut found = 0;
    for step in Instructions::new(&mut walker, &mut blocks) {
        match step {
            Step::Instruction(_) => found += 1,
            Step::Stopped(stop) => panic!("{stop}"),
            _ => {}
        }
    }
    assert_eq!(found, LONG + 1);
    assert!(walker.steps() <= LONG as u64 + 2, "{} steps", walker.steps());
}

#[test]
fn a_way_leads_elsewhere_when_the_code_changes_on_it() {
    // 0: jmp 2; 2: jmp 4; 4: nop; jmp rax. Then the second jump becomes two nops, or a branch that takes a packet.
    let before = [0xeb, 0x00, 0xeb, 0x00, 0x90, 0xff, 0xe0];
    for (change, expected) in [([0x90, 0x90], Ok(2)), ([0xff, 0xe0], Err("an event at"))] {
        let code = std::cell::RefCell::new(before);
        struct Changing<'a>(&'a std::cell::RefCell<[u8; 7]>);
        impl Code for Changing<'_> {
            fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
                let bytes = self.0.borrow();
                let rest = bytes.get(address.wrapping_sub(START) as usize..).unwrap_or_default();
                let n = rest.len().min(out.len());
                out[..n].copy_from_slice(&rest[..n]);
                n
            }
        }
        let mut trace = begin();
        trace.fup(START + 5, Compression::Low32).tip(START + 5, Compression::Low32);
        let trace = trace.finish();
        let (mut walker, mut visitor) = (Walker::new(&trace), Impatient::default());
        let mut blocks = Blocks::new(Changing(&code));
        while visitor.0.is_empty() {
            assert_eq!(walker.run(&mut blocks, &mut visitor), Stop::Visitor);
        }
        code.borrow_mut()[2..4].copy_from_slice(&change);
        blocks.invalidate(..);
        let stop = loop {
            match walker.run(&mut blocks, &mut visitor) {
                Stop::Visitor => {}
                stop => break stop,
            }
        };
        match expected {
            Ok(block) => assert_eq!((visitor.0[1], stop), (START + block, Stop::End)),
            Err(text) => assert!(stop.to_string().contains(text), "{stop}"),
        }
    }
}

#[test]
fn a_clone_gets_the_steps_that_it_is_given() {
    let code = slide(&[0xeb, 0x00]);
    let memory: &[(u64, &[u8])] = &[(START, &code)];
    let mut trace = begin();
    trace.tip(START, Compression::Low16);
    let trace = trace.finish();
    let walker = Walker::new(&trace);
    for (steps, kind) in
        [(LONG as u64, None), (LONG as u64 - 1, Some(ErrorKind::TooFewPackets { steps: LONG as u64 - 1 }))]
    {
        let mut fork = walker.clone();
        fork.limit_steps(steps);
        let stop = fork.run(&mut Blocks::new(memory), &mut Nothing);
        // The second time the slide is entered nothing asks to leave it.
        let found = if let Stop::Error(error) = stop { Some(error.kind()) } else { None };
        assert_eq!(found, kind, "{stop:?}");
    }
    assert_eq!(walker.steps(), 0);
}
