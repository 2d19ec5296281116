//! Functions of generated programs, with calls and instructions, are those of the machine that ran them.
//!
//! `INTEL_PT_PROGRAMS` says how many programs.

use ipt_analysis::functions::functions;
use programs::truth::Truth;
use programs::{Functions, Image, generated, programs};
use std::collections::BTreeMap;
use testkit::pt::What;

mod programs;

#[test]
fn functions_are_those_of_the_machine() {
    let mut recursive = 0;
    for seed in 0..programs() {
        let (program, run) = generated(seed, 1);
        let starts = Functions::of(&program);
        let truth = Truth::of(&run, &starts).sums();
        let found = functions(&Image(&program), &|address| starts.at(address), &[], &[&run.packets]).remove(0);
        let found: BTreeMap<u64, (u64, u64, u64)> = (found.functions.iter())
            .map(|(function, sums)| (*function, (sums.calls, sums.instructions, sums.total)))
            .collect();
        assert_eq!(found, truth, "program {seed}");
        recursive += found.values().filter(|(_, own, total)| total > own).count();
    }
    assert!(recursive > 0);
}

#[test]
fn with_several_threads_calls_and_instructions_are_those_of_the_machine() {
    for seed in 0..programs() / 4 {
        let (program, run) = generated(seed, 4);
        let starts = Functions::of(&program);
        let mut truth: BTreeMap<u64, u64> = BTreeMap::new();
        run.executed.iter().for_each(|ip| *truth.entry(starts.at(*ip).unwrap()).or_insert(0) += 1);
        let mut called: BTreeMap<u64, u64> = BTreeMap::new();
        for transfer in &run.transfers {
            if let What::Call { to, .. } | What::Interrupt { to, .. } = transfer.what {
                *called.entry(starts.at(to).unwrap()).or_insert(0) += 1;
            }
        }
        let found = functions(&Image(&program), &|address| starts.at(address), &[], &[&run.packets]).remove(0);
        for (function, sums) in &found.functions {
            assert_eq!(sums.instructions, truth.remove(function).unwrap_or(0), "program {seed}: {function:#x}");
            // Jumps from other functions count besides.
            assert!(sums.calls >= called.remove(function).unwrap_or(0), "program {seed}: {function:#x}");
            assert!(sums.total >= sums.instructions, "program {seed}: {function:#x}");
        }
        assert!(truth.is_empty() && called.is_empty(), "program {seed}");
    }
}
