//! Programs and runs in which everything that a seed can choose comes up.

use super::emit::Hardware;
use super::execute::{Machine, Run};
use super::program::{Optimization, Program, Shape};
use super::rng::Rng;

/// The program and the run that a seed names: every mode of code and every setting of the hardware comes up. `threads` says
/// how many threads run, and may ask chance.
pub fn varied_run(seed: u64, threads: impl FnOnce(&mut Rng) -> usize) -> (Program, Run) {
    let mut rng = Rng::new(seed);
    let shape = Shape {
        modules: rng.between(1, 5),
        functions: rng.between(2, 12),
        statements: rng.between(2, 8),
        import_percent: *rng.pick(&[0, 10, 30]),
        optimization: *rng.pick(&[Optimization::On, Optimization::Off, Optimization::Mixed]),
        retpoline: rng.chance(50),
        far_module: rng.chance(30),
        overrides: None,
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
        threads: threads(&mut rng),
        orderly_end: rng.chance(70),
    };
    let instructions = *rng.pick(&[200, 1000, 3000]);
    let program = Program::generate(&shape, seed);
    let run = machine.run(&program, instructions, seed);
    (program, run)
}
