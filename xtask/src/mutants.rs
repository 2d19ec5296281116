//! Mutation tests: cargo-mutants plants one small fault after another and runs the crate's tests on each. A fault that
//! no test notices is printed, with the share of those that were noticed. It takes hours for a whole crate: one crate at
//! a time, by hand or at night.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask::outcome::Outcome;
use xtask::{paths, program, tools};

/// The crates whose tests are measured.
const CRATES: &[&str] = &[
    "pe-image",
    "etl-file",
    "mdmp",
    "intel-pt",
    "call-forms",
    "address-map",
    "kernel-snapshot",
    "ipt-analysis",
    "mkdump",
];

/// `cargo xtask mutants [CRATE]… [--shard K/N] [--jobs N]`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let mut crates = Vec::new();
    let mut options = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--shard" | "--jobs" | "--file" => {
                let value = rest.next().with_context(|| format!("{argument} needs a value"))?;
                options.extend([argument.as_str(), value.as_str()]);
            }
            name if paths::root().join("crates").join(name).join("Cargo.toml").is_file() => crates.push(name),
            other => bail!("mutants takes names of crates, --shard K/N, --jobs N, --file GLOB; {other:?} given"),
        }
    }
    if let Err(reason) = tools::cargo_tool("mutants")? {
        return Ok(Outcome::skip(format!("mutants: {reason}")));
    }
    let crates = if crates.is_empty() { CRATES.to_vec() } else { crates };
    let mut outcome = Outcome::default();
    let mut table =
        vec![String::from("| crate | mutants | caught | missed | timed out | not compiled | missed share |")];
    for name in crates {
        let (row, missed) = mutate(name, &options)?;
        table.push(row);
        for mutant in missed {
            outcome.add_failure(format!("{name}: no test notices: {mutant}"));
        }
        outcome.add_pass();
    }
    println!("\n{}", table.join("\n"));
    Ok(outcome)
}

/// Runs all mutants of one crate, or of the shard; a row of numbers, and those that no test noticed.
fn mutate(name: &str, options: &[&str]) -> Result<(String, Vec<String>)> {
    let work = paths::work("mutants")?.join(name);
    std::fs::create_dir_all(&work)?;
    let mut cargo = paths::cargo();
    // The copy that the faults are planted in has its own build directory.
    cargo.env_remove("CARGO_TARGET_DIR").args(["mutants", "--package", name, "--output"]).arg(&work);
    cargo.args(["--test-tool", test_tool()?, "--timeout-multiplier", "5", "--no-shuffle"]).args(options);
    println!("$ {}", program::shown(&cargo));
    let status = cargo.status()?;
    // 2: mutants were missed; 3: some ran out of time. Anything else is not about the mutants.
    ensure!(matches!(status.code(), Some(0 | 2 | 3)), "cargo mutants of {name} ended with {status}");
    let results = work.join("mutants.out");
    let text = std::fs::read_to_string(results.join("outcomes.json"))?;
    let counts: Value = serde_json::from_str(&text).context("outcomes.json")?;
    let count = |key: &str| counts[key].as_u64().unwrap_or(0);
    let (caught, missed, timeout) = (count("caught"), count("missed"), count("timeout"));
    let viable = caught + missed + timeout;
    // One decimal place: whole per mille, without rounding a missed mutant away.
    let share = if viable == 0 { 0 } else { (missed * 1000).div_ceil(viable) };
    let row = format!(
        "| {name} | {} | {caught} | {missed} | {timeout} | {} | {}.{} % |",
        count("total_mutants"),
        count("unviable"),
        share / 10,
        share % 10
    );
    let listed = std::fs::read_to_string(results.join("missed.txt"))?;
    Ok((row, listed.lines().map(str::to_owned).collect()))
}

/// nextest where it is installed: it stops at the first failure of any test binary.
fn test_tool() -> Result<&'static str> {
    let nextest = program::capture(paths::cargo().args(["nextest", "--version"]), Duration::from_secs(60))?.success();
    Ok(if nextest { "nextest" } else { "cargo" })
}
