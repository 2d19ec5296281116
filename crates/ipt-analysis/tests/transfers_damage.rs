//! Damaged packets and missing modules: what is intact is as it was, and nothing is claimed across a gap.

use intel_pt::flow::{Blocks, Code, Space};
use ipt_analysis::transfers::{How, Mark, Sink, follow};
use programs::{Functions, Image, generated, programs};
use testkit::pt::{Program, Rng, What};

mod programs;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Enter(How, u64),
    Leave,
    Uncover(How, u64),
    Cut,
    Ran(u64, u64),
    Mark(Mark),
}

#[derive(Default)]
struct Log(Vec<Found>);

impl Sink for Log {
    fn enter(&mut self, how: How, function: u64) {
        self.0.push(Found::Enter(how, function));
    }

    fn leave(&mut self) {
        self.0.push(Found::Leave);
    }

    fn uncover(&mut self, how: How, caller: u64) {
        self.0.push(Found::Uncover(how, caller));
    }

    fn cut(&mut self) {
        self.0.push(Found::Cut);
    }

    fn ran(&mut self, start: u64, end: u64, _: u32) {
        self.0.push(Found::Ran(start, end));
    }

    fn mark(&mut self, mark: Mark) {
        self.0.push(Found::Mark(mark));
    }
}

fn log<C: Code>(code: C, functions: &Functions, packets: &[u8]) -> Vec<Found> {
    let mut log = Log::default();
    follow(&mut Blocks::new(code), &|address| functions.at(address), packets, &mut log);
    log.0
}

/// Frames are pushed before they are popped, and after a gap there are none.
fn check_form(seed: u64, log: &[Found]) {
    let mut frames = 0;
    for (n, found) in log.iter().enumerate() {
        match found {
            Found::Enter(how, _) => {
                let is_outermost = matches!(how, How::Before | How::Untraced);
                // A jump takes the outermost frame, which was left just before.
                let takes = *how == How::Jump && log[n - 1] == Found::Leave;
                assert!(is_outermost == (frames == 0) || takes, "program {seed}, {n}: {how:?} with {frames} frames");
                frames += 1;
            }
            Found::Leave => frames -= 1,
            Found::Uncover(..) => assert_eq!(frames, 1, "program {seed}, {n}"),
            Found::Cut => frames = 0,
            Found::Ran(..) => assert!(frames > 0, "program {seed}, {n}"),
            Found::Mark(mark) if mark.is_gap() && *mark != Mark::Off => {
                assert_eq!(log.get(n + 1), Some(&Found::Cut), "program {seed}, {n}: {mark:?}");
            }
            Found::Mark(_) => {}
        }
        assert!(frames >= 0, "program {seed}, {n}");
    }
}

#[test]
fn up_to_the_damage_all_is_as_it_was() {
    let mut damaged_ones = 0;
    for seed in 0..programs() / 4 {
        let (program, run) = generated(seed, 1);
        let functions = Functions::of(&program);
        let clean = log(Image(&program), &functions, &run.packets);
        check_form(seed, &clean);
        let mut rng = Rng::new(seed);
        for _ in 0..4 {
            let mut packets = run.packets.clone();
            let from = rng.below(packets.len());
            let to = (from + rng.between(1, 20)).min(packets.len());
            packets[from..to].iter_mut().for_each(|byte| *byte ^= rng.bits() as u8);
            let damaged = log(Image(&program), &functions, &packets);
            check_form(seed, &damaged);
            // What the packets before the damage show by themselves.
            let before = log(Image(&program), &functions, &packets[..from]);
            let same = |log: &[Found]| log.iter().zip(&before).take_while(|(one, other)| one == other).count();
            // The end of the packets ends the stretch, where damaged ones go on. A packet that the end cuts off is not
            // read, but its first bytes may be taken for another one.
            let is_end =
                |n: usize| before[n..].iter().all(|found| !matches!(found, Found::Ran(..) | Found::Uncover(..)));
            assert!(is_end(same(&clean)), "program {seed}: {from:#x}..{to:#x}");
            assert!(is_end(same(&damaged)), "program {seed}: {from:#x}..{to:#x}");
            damaged_ones += usize::from(damaged != clean);
        }
    }
    assert!(damaged_ones > 100, "{damaged_ones}");
}

struct Without<'a>(&'a Program, usize);

impl Code for Without<'_> {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        let module = &self.0.modules[self.1];
        let gone = module.base..module.end();
        let read = self.0.read(address, out);
        (0..read).find(|n| gone.contains(&(address + *n as u64))).unwrap_or(read)
    }
}

#[test]
fn without_a_module_no_call_is_made_up() {
    let mut missing = 0;
    for seed in 0..programs() / 4 {
        let (program, run) = generated(seed, 1);
        // The form of an import call decides whether the flow knows where it leads; deferred TIPs may mislead it.
        if program.modules.len() < 2 || run.deferred > 0 {
            continue;
        }
        let functions = Functions::of(&program);
        let found = log(Without(&program, program.modules.len() - 1), &functions, &run.packets);
        check_form(seed, &found);
        missing += found.iter().filter(|found| matches!(found, Found::Mark(Mark::Missing { .. }))).count();
        let mut truth = run.transfers.iter().filter_map(|transfer| match transfer.what {
            What::Call { to, .. } => Some((How::Call, functions.at(to).unwrap())),
            What::Interrupt { to, .. } => Some((How::Interrupt, functions.at(to).unwrap())),
            _ => None,
        });
        for (n, found) in found.iter().enumerate() {
            if let Found::Enter(how @ (How::Call | How::Interrupt), function) = found {
                let is_true = truth.any(|call| call == (*how, *function));
                assert!(is_true, "program {seed}, {n}: {function:#x} was not called then");
            }
        }
    }
    assert!(missing > 100, "{missing}");
}
