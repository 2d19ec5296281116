//! Generated programs that ran, and what is true of them.

use intel_pt::flow::{Code, Space};
use testkit::pt::{Program, Run, varied_run};

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
    varied_run(seed, |_| threads)
}

/// Starts and ends of code, ascending, with the functions in it.
pub struct Functions(Vec<(u64, u64, Vec<u64>)>);

#[allow(dead_code, reason = "some tests use a part")]
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
