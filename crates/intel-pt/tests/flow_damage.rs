//! Damaged packets and missing modules: the walk says so, ends, and goes on where it can.

use intel_pt::flow::{BlockId, Blocks, Code, ErrorKind, Event, Options, Resume, Space, Stop, Table, Visitor, Walker};
use testkit::pt::{Hardware, Machine, Program, Rng, Run, Shape};

struct Image<'a> {
    program: &'a Program,
    /// Modules that are not there.
    without: Vec<usize>,
}

impl Code for Image<'_> {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        let gone = |address: u64| {
            (self.without.iter())
                .any(|m| (self.program.modules[*m].base..self.program.modules[*m].end()).contains(&address))
        };
        if gone(address) {
            return 0;
        }
        let read = self.program.read(address, out);
        (0..read).find(|n| gone(address + *n as u64)).unwrap_or(read)
    }
}

#[derive(Default)]
struct Log {
    executed: Vec<u64>,
    /// Offset of each PSB, and how many instructions were executed before it.
    psbs: Vec<(usize, usize)>,
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

    fn event(&mut self, offset: usize, event: &Event) {
        if let Event::Psb { .. } = event {
            self.psbs.push((offset, self.executed.len()));
        }
    }
}

fn walk(image: &Image<'_>, packets: &[u8], resume: Resume) -> (Log, Vec<intel_pt::flow::Error>) {
    let options = Options::default().resume(resume);
    let (mut log, mut errors) = (Log::default(), Vec::new());
    let mut blocks = Blocks::new(image);
    let mut walker = Walker::with_options(packets, options);
    loop {
        match walker.run(&mut blocks, &mut log) {
            Stop::Error(error) => errors.push(error),
            Stop::End => return (log, errors),
            other => panic!("{other:?} without a limit or a break"),
        }
        assert!(errors.len() <= packets.len(), "more errors than bytes");
    }
}

fn generated(seed: u64, deferred: u32) -> (Program, Run) {
    let shape = Shape { modules: 4, ..Shape::default() };
    let hardware = Hardware { deferred, psb_every: 300, ..Hardware::default() };
    let machine = Machine { hardware, ..Machine::default() };
    let program = Program::generate(&shape, seed);
    let run = machine.run(&program, 3000, seed);
    (program, run)
}

#[test]
fn after_damage_the_walk_is_right_again_from_the_next_psb_on() {
    let mut checked = 0;
    for seed in 0..300 {
        let (program, run) = generated(seed, 20);
        let image = Image { program: &program, without: Vec::new() };
        let (clean, errors) = walk(&image, &run.packets, Resume::Address);
        assert_eq!((&clean.executed, errors.len()), (&run.executed, 0));
        let mut rng = Rng::new(seed);
        for _ in 0..10 {
            let mut packets = run.packets.clone();
            let from = rng.below(packets.len());
            let to = (from + rng.between(1, 20)).min(packets.len());
            for byte in &mut packets[from..to] {
                *byte ^= if rng.chance(50) { rng.bits() as u8 } else { 1 << rng.below(8) };
            }
            let (damaged, _) = walk(&image, &packets, Resume::Psb);
            // A damaged packet may swallow the PSB after it; from the second one on all is as before.
            let Some((psb, before)) = clean.psbs.iter().filter(|(offset, _)| *offset >= to).nth(1) else { continue };
            let Some((_, found)) = damaged.psbs.iter().find(|(offset, _)| offset == psb) else {
                panic!("program {seed}: the PSB at {psb:#x} was not found after damage at {from:#x}..{to:#x}");
            };
            assert_eq!(damaged.executed[*found..], clean.executed[*before..], "program {seed}: {from:#x}..{to:#x}");
            checked += 1;
        }
    }
    assert!(checked > 500, "{checked}");
}

#[test]
fn one_run_names_the_missing_modules() {
    let (mut entered, mut named) = (0, 0);
    for seed in 0..300 {
        let (program, run) = generated(seed, 0);
        let without: Vec<usize> = (1..program.modules.len()).filter(|m| (seed as usize >> (m - 1)) & 1 == 1).collect();
        let module = |ip: u64| program.modules.iter().position(|m| (m.base..m.end()).contains(&ip));
        let image = Image { program: &program, without: without.clone() };
        let (log, errors) = walk(&image, &run.packets, Resume::Address);
        let mut missing = Vec::new();
        for error in &errors {
            match error.kind() {
                ErrorKind::NoMemory => missing.extend(module(error.ip().expect("an address is missing"))),
                // After a gap the calls before it are unknown.
                ErrorKind::ReturnStackEmpty if error.after_gap() => {}
                _ => panic!("program {seed}: {error}"),
            }
        }
        assert!(missing.iter().all(|m| without.contains(m)), "program {seed}: names only what is missing");
        // What was walked was executed, in this order.
        let mut truth = run.executed.iter();
        for ip in &log.executed {
            assert!(truth.any(|executed| executed == ip), "program {seed}: {ip:#x} was not executed then");
        }
        for m in &without {
            let was_entered = run.executed.iter().any(|ip| module(*ip) == Some(*m));
            entered += usize::from(was_entered);
            named += usize::from(missing.contains(m));
        }
        // The first one that is entered cannot be overlooked.
        let first = run.executed.iter().filter_map(|ip| module(*ip)).find(|m| without.contains(m));
        assert!(first.is_none_or(|m| missing.contains(&m)), "program {seed}: the first missing module has its name");
    }
    println!("{named} of {entered} missing modules named");
    assert!(named * 100 >= entered * 95, "{named} of {entered}");
}
