//! Flow over generated programs gives back exactly the instructions that were executed, in every mode.
//!
//! `INTEL_PT_PROGRAMS` says how many programs; 10,000 unless it is set.

use intel_pt::flow::{BlockId, Blocks, Code, Event, Space, Stop, Table, Visitor, Walker};
use testkit::pt::{Program, Run, varied_run};

struct Image<'a>(&'a Program);

impl Code for Image<'_> {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        self.0.read(address, out)
    }
}

#[derive(Default)]
struct Log {
    executed: Vec<u64>,
    interrupts: usize,
    overflows: usize,
    disabled: usize,
}

impl Visitor for Log {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            self.executed.extend(table.addresses(*id));
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        self.executed.extend(table.addresses(id).take(instructions as usize));
    }

    fn event(&mut self, _: usize, event: &Event) {
        match event {
            Event::Interrupt { .. } => self.interrupts += 1,
            Event::Overflow { .. } => self.overflows += 1,
            Event::Disabled { .. } => self.disabled += 1,
            _ => {}
        }
    }
}

fn programs() -> u64 {
    std::env::var("INTEL_PT_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

/// The program, machine and run that a seed names: every mode comes up.
fn generated(seed: u64) -> (Program, Run) {
    varied_run(seed, |rng| rng.between(1, 5))
}

#[test]
fn flow_gives_back_exactly_what_was_executed() {
    let (mut deferred, mut compressed, mut executed, mut overflows, mut paging) = (0, 0, 0, 0, 0);
    for seed in 0..programs() {
        let (program, run) = generated(seed);
        let mut blocks = Blocks::new(Image(&program));
        let mut log = Log::default();
        let stop = Walker::new(&run.packets).run(&mut blocks, &mut log);
        if let Some(n) =
            (0..run.executed.len().max(log.executed.len())).find(|n| run.executed.get(*n) != log.executed.get(*n))
        {
            let near = n.saturating_sub(3);
            panic!(
                "program {seed}: instruction {n} of {} differs: executed {:x?}, flow {:x?}, {stop:x?}",
                run.executed.len(),
                &run.executed[near..(n + 2).min(run.executed.len())],
                &log.executed[near..(n + 2).min(log.executed.len())],
            );
        }
        assert_eq!(stop, Stop::End, "program {seed}");
        assert_eq!(
            (log.interrupts, log.overflows, log.disabled),
            (run.interrupts, run.overflows, run.disabled),
            "program {seed}: interrupts, overflows, times disabled"
        );
        deferred += run.deferred;
        compressed += run.compressed;
        executed += run.executed.len();
        overflows += run.overflows;
        paging += run.paging;
    }
    // The generator must not lose what makes the test hard.
    println!(
        "{executed} instructions, {deferred} deferred TIPs, {compressed} compressed returns, {overflows} overflows"
    );
    assert!(deferred > 0 && compressed > 0 && overflows > 0 && paging > 0);
}
