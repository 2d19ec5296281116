//! Where calls of overridden functions lead, on generated traces of each kind: what is decided is right, and what packets
//! cannot show stays open.
//!
//! `MKDUMP_VERDICTS` says how many traces of each kind; 1,000 unless it is set.

use call_forms::{Answer, Decided, FirstJump, Input, Junction, Leads, Routes, Verdict, Way, detect};
use intel_pt::flow::{Code, Space};
use programs::importers;
use testkit::pt::{GUARDED_CALLS, Hardware, Machine, Optimization, Overrides, Program, Rng, Run, Shape};

mod programs;

/// Decisions, by number.
const GUARD: usize = 0;
const MEMSET: usize = 1;
const CHECK: usize = 2;

/// With so many witnesses a decision must be made: calls executed, not counting those that packets leave open or that several
/// ways explain.
const DECIDING_WITNESSES: usize = 16;

/// The code as files have it: calls of overridden functions as linked, import sites as they ran.
struct Image<'a>(&'a Program);

impl Code for Image<'_> {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        let n = self.0.read(address, out);
        for module in &self.0.modules {
            let functions = module.overridden.as_ref().unwrap();
            for call in &functions.calls {
                for at in (call.va..call.va + 5).filter(|at| (address..address + n as u64).contains(at)) {
                    out[(at - address) as usize] = module.linked[(at - module.base) as usize];
                }
            }
            let Some(page) = &functions.shared else { continue };
            for start in GUARDED_CALLS.map(|offset| page.base + offset) {
                let linked = [0x48, 0xff, 0xe0, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc];
                for (at, byte) in (start..).zip(linked).filter(|(at, _)| (address..address + n as u64).contains(at)) {
                    out[(at - address) as usize] = byte;
                }
            }
        }
        n
    }
}

fn verdict(program: &Program, run: &Run) -> Verdict {
    let image = Image(program);
    let mut known: Vec<u64> = program.modules.iter().flat_map(|module| module.functions.clone()).collect();
    let (mut routes, mut junctions) = (Vec::new(), Vec::new());
    let page = |index: usize| program.modules[index].overridden.as_ref().unwrap().shared.as_ref();
    let kernel = page(0).unwrap().base + GUARDED_CALLS[0];
    for (index, module) in program.modules.iter().enumerate() {
        let functions = module.overridden.as_ref().unwrap();
        known.extend([functions.thunk, functions.dispatch]);
        known.extend(functions.memset);
        let dispatch = vec![functions.dispatch, kernel, kernel - GUARDED_CALLS[0] + GUARDED_CALLS[1]];
        let system = page(index).map_or(kernel, |page| page.base + GUARDED_CALLS[0]);
        let any = |to| Way { leads: Leads::To(to), first: FirstJump::Any };
        let guard = vec![
            Way { leads: Leads::To(system), first: FirstJump::Elsewhere },
            Way { leads: Leads::To(functions.thunk), first: FirstJump::ToDispatch },
        ];
        let memset = [1, 2, 0].map(|number: usize| any(functions.memset[number])).to_vec();
        let first = routes.len();
        routes.push(Routes { decision: GUARD, ways: guard, dispatch });
        routes.push(Routes { decision: MEMSET, ways: memset, dispatch: Vec::new() });
        let calls = functions.calls.iter();
        junctions.extend(calls.map(|call| Junction {
            va: call.va,
            call: call.call,
            routes: if call.is_guarded { first } else { first + 1 },
        }));
        for start in GUARDED_CALLS.into_iter().filter_map(|offset| Some(page(index)?.base + offset)) {
            known.push(start);
            let plain = Way { leads: Leads::Tip, first: FirstJump::Any };
            junctions.push(Junction { va: start, call: false, routes: routes.len() });
            routes.push(Routes { decision: CHECK, ways: vec![plain, any(start + 10)], dispatch: Vec::new() });
        }
    }
    let starts = |address: u64| {
        let in_image = program.modules.iter().any(|module| (module.base..module.end()).contains(&address));
        in_image.then(|| known.contains(&address))
    };
    let mut input = Input::new(&image, importers(program, false), vec![&run.packets]);
    (input.function_start, input.routes, input.junctions) = (&starts, routes, junctions);
    detect(&input)
}

/// What a machine chose.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    guarded: bool,
    memset: Option<usize>,
    checked: bool,
}

#[derive(Debug, Default)]
struct Tally {
    decided: [usize; 3],
    open: [usize; 3],
    votes: [u32; 3],
    wrong_votes: [u32; 3],
    ambiguous: [u32; 3],
    contradictory: [u32; 3],
    imports_decided: usize,
}

/// The program and run of a seed, and whether its import calls are direct.
fn program_of(chosen: Chosen, sizes: &[u32], seed: u64, is_quiet: bool) -> (Program, Run, Optimization) {
    let mut rng = Rng::new(seed ^ 0x0f_7e57);
    let flag = rng.chance(50);
    let shape = Shape {
        modules: rng.between(2, 4),
        functions: rng.between(3, 10),
        statements: rng.between(2, 8),
        import_percent: *rng.pick(&[0, 10, 20]),
        optimization: *rng.pick(&[Optimization::On, Optimization::Off]),
        retpoline: false,
        far_module: rng.chance(30),
        overrides: Some(Overrides {
            guarded: chosen.guarded,
            memset: chosen.memset,
            checked: chosen.checked,
            flag,
            sizes: sizes.to_vec(),
            percent: *rng.pick(&[3, 10, 20]),
        }),
    };
    let machine = Machine {
        hardware: Hardware {
            long_tnt: *rng.pick(&[0, 30, 100]),
            deferred: *rng.pick(&[0, 0, 20, 60]),
            compress_returns: true,
            psb_every: if is_quiet { usize::MAX } else { *rng.pick(&[200, 1000, 4096]) },
            timing: *rng.pick(&[0, 5, 40]),
        },
        interrupts: if is_quiet { 0 } else { *rng.pick(&[0, 30, 200]) },
        overflows: if is_quiet { 0 } else { *rng.pick(&[0, 0, 10]) },
        pauses: 0,
        threads: rng.between(1, 4),
        orderly_end: !is_quiet && rng.chance(70),
    };
    let program = Program::generate(&shape, seed);
    let run = machine.run(&program, 4000, seed);
    (program, run, shape.optimization)
}

/// Runs so many traces. Quiet ones have neither interrupts nor other packets that tell an address inside a function.
fn check(chosen: Chosen, sizes: &[u32], traces: u64, is_quiet: bool) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..traces {
        let (program, run, optimization) = program_of(chosen, sizes, seed, is_quiet);
        let verdict = verdict(&program, &run);
        let truth = [usize::from(!chosen.guarded), chosen.memset.unwrap_or(2), usize::from(chosen.checked)];
        let is_call = |ip: u64, guarded: bool| {
            let calls = program.modules.iter().filter_map(|module| module.overridden.as_ref());
            calls.flat_map(|functions| &functions.calls).any(|call| call.va == ip && call.is_guarded == guarded)
        };
        for (decision, votes) in verdict.decisions.iter().enumerate() {
            let what = format!("{chosen:?} {seed} decision {decision} {votes:?}");
            tally.votes[decision] += votes.total();
            tally.wrong_votes[decision] += votes.total() - votes.ways[truth[decision]];
            tally.ambiguous[decision] += votes.ambiguous;
            tally.contradictory[decision] += votes.contradictory;
            match votes.decided() {
                Decided::Way(way) => {
                    assert_eq!(way, truth[decision], "{what}");
                    tally.decided[decision] += 1;
                }
                Decided::Contradiction => panic!("one machine decides once: {what}"),
                Decided::Open => {
                    tally.open[decision] += 1;
                    if decision == CHECK {
                        continue;
                    }
                    let witnesses = run.executed.iter().filter(|&&ip| is_call(ip, decision == GUARD)).count();
                    let left = witnesses.saturating_sub((votes.open + votes.ambiguous) as usize);
                    // A walk that went astray does not see them all.
                    let is_whole = verdict.streams.iter().all(|stream| stream.skipped == 0);
                    assert!(!is_whole || left < DECIDING_WITNESSES, "{witnesses} witnesses: {what}");
                }
            }
        }
        // Import calls are decided as ever.
        let wrong = if optimization == Optimization::On { Answer::Off } else { Answer::On };
        assert_ne!(verdict.import_optimization, wrong, "{chosen:?} {seed}");
        tally.imports_decided += usize::from(matches!(verdict.import_optimization, Answer::On | Answer::Off));
    }
    println!("{chosen:?} {sizes:?}: {tally:?}");
    tally
}

fn traces() -> u64 {
    std::env::var("MKDUMP_VERDICTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

const LONG: &[u32] = &[16, 48, 64, 128, 300, 799, 800, 4096];

#[track_caller]
fn check_decided(chosen: Chosen, at_least: [usize; 3]) {
    let tally = check(chosen, LONG, traces(), false);
    for (decision, at_least) in at_least.into_iter().enumerate() {
        let of = tally.decided[decision] + tally.open[decision];
        assert!(tally.decided[decision] * 100 >= of * at_least, "decision {decision}: {tally:?}");
        assert!(tally.wrong_votes[decision] * 200 <= tally.votes[decision], "decision {decision}: {tally:?}");
    }
}

#[test]
fn as_linked() {
    check_decided(Chosen { guarded: false, memset: None, checked: false }, [30, 0, 0]);
}

#[test]
fn the_first_alternative_and_the_kernels_function() {
    check_decided(Chosen { guarded: true, memset: Some(0), checked: false }, [30, 30, 30]);
}

#[test]
fn the_second_alternative() {
    check_decided(Chosen { guarded: true, memset: Some(1), checked: false }, [30, 0, 30]);
}

#[test]
fn with_kernel_cfg() {
    check_decided(Chosen { guarded: true, memset: Some(0), checked: true }, [30, 30, 30]);
}

#[test]
fn as_linked_with_kernel_cfg() {
    check_decided(Chosen { guarded: false, memset: None, checked: true }, [30, 0, 30]);
}

/// Copies of less than 64 bytes take the same packets in every version, unless an interrupt names an address in one.
#[test]
fn short_copies_show_nothing() {
    for memset in [None, Some(0), Some(1)] {
        let tally = check(Chosen { guarded: true, memset, checked: false }, &[0, 1, 16, 48, 63], traces() / 4, true);
        assert_eq!((tally.decided[MEMSET], tally.votes[MEMSET]), (0, 0), "{tally:?}");
        assert!(tally.ambiguous[MEMSET] > 0, "{tally:?}");
    }
}
