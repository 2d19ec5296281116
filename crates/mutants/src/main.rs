//! Mutation tests in minutes: all mutants of a crate are planted in one build, each behind a switch that an environment
//! variable turns on, and the crate's tests are run once for each. docs/decisions/mutants.md says why.
#![forbid(unsafe_code)]

mod build;
mod explained;
mod judge;
mod list;
mod plant;
mod render;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use xtask::outcome::Outcome;
use xtask::paths;

use list::Mutant;

/// The name of the variable that holds the number of the mutant to turn on.
const SWITCH: &str = "PLANTED_MUTANT";

/// The share of unexplained survivors, in per mille, that a crate may have.
const ALLOWED: usize = 80;

/// `mutants CRATE…`.
fn main() -> Result<ExitCode> {
    let mut outcome = Outcome::default();
    let mut table = vec![String::from(
        "| crate | mutants | planted | caught | timed out | missed | explained | unexplained |\n|---|---|---|---|---|---|---|---|",
    )];
    for name in std::env::args_os().skip(1) {
        let name = name.into_string().ok().context("a crate's name is ASCII")?;
        let row = measure(&name, &mut outcome)?;
        // The next crate takes a while.
        println!("{row}");
        table.push(row);
    }
    println!("\n{}", table.join("\n"));
    Ok(outcome.finish())
}

/// Measures one crate; its row of the table.
fn measure(name: &str, outcome: &mut Outcome) -> Result<String> {
    let mutants = list::read(name)?;
    let copy = build::Copy::new(name)?;
    let (planted, programs) = copy.plant(&mutants)?;
    let verdicts = judge::all(&copy.package(), &programs, &planted)?;
    let explained = explained::read(&paths::root().join("crates").join(name).join("mutants.txt"))?;

    let missed: Vec<&Mutant> = planted
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| **verdict == judge::Verdict::Missed)
        .map(|(m, _)| *m)
        .collect();
    let (known, unknown): (Vec<&Mutant>, Vec<&Mutant>) =
        missed.iter().copied().partition(|mutant| explained.contains(&mutant.name_without_place()));
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    // Rounded up, so that no survivor is rounded away.
    let share = (unknown.len() * 1000).div_ceil(planted.len().max(1));

    for mutant in &unknown {
        println!("missed  {}", mutant.name);
    }
    for stale in explained.iter().filter(|text| !missed.iter().any(|mutant| mutant.name_without_place() == **text)) {
        outcome.add_failure(format!("{name}: mutants.txt explains what is caught or is not a mutant: {stale}"));
    }
    if share > ALLOWED {
        outcome.add_failure(format!(
            "{name}: {} of {} planted mutants survive without a reason: {}.{} %, {}.{} % are allowed",
            unknown.len(),
            planted.len(),
            share / 10,
            share % 10,
            ALLOWED / 10,
            ALLOWED % 10
        ));
    } else {
        outcome.add_pass();
    }
    Ok(format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} ({}.{} %) |",
        mutants.len(),
        planted.len(),
        count(judge::Verdict::Caught),
        count(judge::Verdict::TimedOut),
        missed.len(),
        known.len(),
        unknown.len(),
        share / 10,
        share % 10
    ))
}

/// Reads a text file; the error names it.
fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
