//! Generated programs that ran, and what is true of them.

use intel_pt::flow::{Code, Space};
use testkit::pt::{Hardware, Machine, Optimization, Program, Rng, Run, Shape};

#[allow(dead_code, reason = "some tests use a part")]
pub mod truth;

/// The memory of a program.
pub struct Image<'a>(pub &'a Program);

impl Code for Image<'_> {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        self.0.read(address, out)
    }
}

/// `INTEL_PT_PROGRAMS`, 1,000 unless it is set.
pub fn programs() -> u64 {
    std::env::var("INTEL_PT_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

/// The program and run that a seed names: every mode comes up. With one thread, each return is to the last call.
pub fn generated(seed: u64, threads: usize) -> (Program, Run) {
    let mut rng = Rng::new(seed);
    let shape = Shape {
        modules: rng.between(1, 5),
        functions: rng.between(2, 12),
        statements: rng.between(2, 8),
        import_percent: *rng.pick(&[0, 10, 30]),
        optimization: *rng.pick(&[Optimization::On, Optimization::Off, Optimization::Mixed]),
        retpoline: rng.chance(50),
        far_module: rng.chance(30),
    };
    let machine = Machine {
        hardware: Hardware {
            long_tnt: *rng.pick(&[0, 30, 100]),
            deferred: *rng.pick(&[0, 0, 20, 90]),
            compress_returns: true,
            psb_every: *rng.pick(&[100, 700, 4096]),
            timing: *rng.pick(&[0, 5, 40]),
        },
        interrupts: *rng.pick(&[0, 30, 300]),
        overflows: *rng.pick(&[0, 0, 20]),
        pauses: *rng.pick(&[0, 0, 20]),
        threads,
        orderly_end: rng.chance(70),
    };
    let instructions = *rng.pick(&[200, 1000, 3000]);
    let program = Program::generate(&shape, seed);
    let run = machine.run(&program, instructions, seed);
    (program, run)
}

/// Starts and ends of code, ascending, with the functions in it.
pub struct Functions(Vec<(u64, u64, Vec<u64>)>);

impl Functions {
    /// The functions of a program; a page of retpoline stubs counts as one.
    pub fn of(program: &Program) -> Self {
        let images = program.modules.iter().map(|module| {
            let mut starts = module.functions.clone();
            starts.sort_unstable();
            (module.base, module.end(), starts)
        });
        let stubs = program.modules.iter().filter_map(|module| module.stubs.as_ref());
        let stubs = stubs.map(|stubs| (stubs.base, stubs.base + stubs.bytes.len() as u64, vec![stubs.base]));
        Self(images.chain(stubs).collect())
    }

    /// The function that holds an address.
    pub fn at(&self, address: u64) -> Option<u64> {
        let (_, _, starts) = self.0.iter().find(|(start, end, _)| (*start..*end).contains(&address))?;
        starts.iter().rev().find(|start| **start <= address).copied()
    }
}
