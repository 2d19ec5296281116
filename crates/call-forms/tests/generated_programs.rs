//! The verdict on generated traces of each kind is never wrong, and undecided only where witnesses are too few.
//!
//! `MKDUMP_VERDICTS` says how many traces of each kind; 1,000 unless it is set.

use call_forms::{Answer, Input, Verdict, detect};
use intel_pt::flow::{Code, Space};
use programs::importers;
use testkit::pt::{Hardware, Machine, Optimization, Program, Rng, Run, Shape};

mod programs;

/// With this many witnesses a module must be decided: import sites executed, not counting those that packets leave open
/// or that both forms explain. With fewer it may be undecided, because a witness is lost where the walk is out of step.
const DECIDING_WITNESSES: usize = 16;

/// The code as a tool has it: retpolined when the processor ran it so, import sites as linked either way.
struct Image<'a> {
    program: &'a Program,
    linked: bool,
}

impl Code for Image<'_> {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        if !self.linked {
            return self.program.read(address, out);
        }
        let mut done = 0;
        while done < out.len() {
            let at = address.wrapping_add(done as u64);
            let Some(module) = self.program.modules.iter().find(|m| (m.base..m.end()).contains(&at)) else { break };
            let from = &module.linked[(at - module.base) as usize..];
            let n = from.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&from[..n]);
            done += n;
        }
        done
    }
}

fn verdict(program: &Program, run: &Run, retpoline: bool) -> Verdict {
    let image = Image { program, linked: !retpoline };
    let functions: Vec<u64> = program.modules.iter().flat_map(|module| module.functions.clone()).collect();
    let stubs: Vec<_> = program.modules.iter().filter_map(|module| module.stubs.as_ref()).collect();
    let starts = |address: u64| {
        let in_image = program.modules.iter().any(|module| (module.base..module.end()).contains(&address));
        in_image.then(|| functions.contains(&address))
    };
    let mut input = Input::new(&image, importers(program, true), vec![&run.packets]);
    input.function_start = &starts;
    input.stub_pages = stubs.iter().map(|stubs| stubs.base..stubs.base + 0x1000).collect();
    detect(&input)
}

#[derive(Debug, Default)]
struct Tally {
    modules: usize,
    decided: usize,
    few: usize,
    ambiguous: u32,
    contradictory: u32,
    open: u32,
    wrong_votes: u32,
    votes: u32,
}

fn check(kind: Optimization, retpoline: bool) {
    let traces = std::env::var("MKDUMP_VERDICTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let mut tally = Tally::default();
    for seed in 0..traces {
        let mut rng = Rng::new(seed ^ 0x7e57);
        let shape = Shape {
            modules: rng.between(2, 5),
            functions: rng.between(3, 12),
            statements: rng.between(2, 8),
            import_percent: *rng.pick(&[10, 20, 40]),
            optimization: kind,
            retpoline,
            far_module: rng.chance(20),
            overrides: None,
        };
        let machine = Machine {
            hardware: Hardware {
                long_tnt: *rng.pick(&[0, 30, 100]),
                deferred: *rng.pick(&[0, 0, 20, 60]),
                compress_returns: true,
                psb_every: *rng.pick(&[200, 1000, 4096]),
                timing: *rng.pick(&[0, 5, 40]),
            },
            interrupts: *rng.pick(&[0, 30, 200]),
            overflows: *rng.pick(&[0, 0, 10]),
            pauses: 0,
            threads: rng.between(1, 4),
            orderly_end: rng.chance(70),
        };
        let program = Program::generate(&shape, seed);
        let run = machine.run(&program, 6000, seed);
        let verdict = verdict(&program, &run, retpoline);
        for (module, found) in program.modules.iter().zip(&verdict.per_module) {
            let witnesses = (run.executed.iter())
                .filter(|ip| module.sites.iter().any(|site| site.va == **ip && site.in_range))
                .count();
            let truth = if module.optimized { Answer::On } else { Answer::Off };
            tally.modules += 1;
            let votes = &found.votes;
            tally.votes += votes.on + votes.off;
            tally.wrong_votes += if module.optimized { votes.off } else { votes.on };
            tally.ambiguous += votes.ambiguous;
            tally.contradictory += votes.contradictory;
            tally.open += votes.open;
            match found.import_optimization {
                Answer::Irrelevant => assert!(module.sites.is_empty()),
                Answer::Undecided => {
                    // Where packets end before a form is refuted, or both explain all of them, a site does not vote.
                    let witnesses = witnesses.saturating_sub((votes.open + votes.ambiguous) as usize);
                    assert!(
                        witnesses < DECIDING_WITNESSES,
                        "{kind:?} {seed} {}: undecided with {witnesses} witnesses: {votes:x?}",
                        module.name
                    );
                    tally.few += 1;
                }
                answer => {
                    assert_eq!(answer, truth, "{kind:?} {seed} {}: {votes:x?}", module.name);
                    tally.decided += 1;
                }
            }
        }
        let overall = verdict.import_optimization;
        match kind {
            Optimization::On => assert_ne!(overall, Answer::Off, "{seed}"),
            Optimization::Off => assert_ne!(overall, Answer::On, "{seed}"),
            Optimization::Mixed => {}
        }
        let wrong = if retpoline { Answer::Off } else { Answer::On };
        assert_ne!(verdict.retpoline, wrong, "{seed}");
    }
    println!("{kind:?}, retpoline {retpoline}: {tally:?}");
    assert!(tally.decided * 4 > tally.decided + tally.few, "many modules are decided: {tally:?}");
}

#[test]
fn optimized() {
    check(Optimization::On, false);
}

#[test]
fn as_linked() {
    check(Optimization::Off, false);
}

#[test]
fn mixed() {
    check(Optimization::Mixed, false);
}

#[test]
fn optimized_with_retpoline() {
    check(Optimization::On, true);
}

#[test]
fn as_linked_with_retpoline() {
    check(Optimization::Off, true);
}

#[test]
fn mixed_with_retpoline() {
    check(Optimization::Mixed, true);
}
