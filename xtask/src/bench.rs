//! Benchmarks: runs every crate's, and prints each measurement next to the reference of its group.
//!
//! A speed alone says little on a machine that others share. Each group therefore measures a plain thing over the same
//! bytes in the same run (summing them as u64, copying them), under a name that begins with `reference` or is `sum u64`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use xtask::outcome::Outcome;
use xtask::{paths, program};

/// One measurement: mean nanoseconds per iteration and bytes per iteration.
struct Measurement {
    function: String,
    nanoseconds: f64,
    bytes: Option<f64>,
}

/// `cargo xtask bench [ARGUMENT]…`; the arguments go to `cargo bench`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let criterion = paths::target().join("criterion");
    // What an earlier run measured does not belong to this one.
    if criterion.exists() {
        std::fs::remove_dir_all(&criterion)?;
    }
    let scope: &[&str] = if arguments.is_empty() { &["--workspace", "--benches"] } else { &[] };
    program::run(paths::cargo().arg("bench").args(scope).args(arguments))?;
    let mut groups: BTreeMap<String, Vec<Measurement>> = BTreeMap::new();
    collect(&criterion, &mut groups)?;
    let mut outcome = Outcome::default();
    println!("\n| benchmark | time | speed | times the reference |\n| --- | --- | --- | --- |");
    for (group, measurements) in &groups {
        let reference = measurements.iter().find(|one| is_reference(&one.function));
        if reference.is_none() {
            outcome.add_failure(format!("{group}: no measurement named reference…"));
        }
        for one in measurements {
            let ratio = reference.map_or(f64::NAN, |reference| per_byte(one) / per_byte(reference));
            let speed = one.bytes.map_or(String::new(), |bytes| format!("{:.2} GB/s", bytes / one.nanoseconds));
            println!("| {group}/{} | {:.3} ms | {speed} | {ratio:.2} |", one.function, one.nanoseconds / 1e6);
            outcome.add_pass();
        }
    }
    Ok(outcome)
}

fn is_reference(function: &str) -> bool {
    function.starts_with("reference") || function.starts_with("sum u64")
}

/// Time per byte, or per iteration where no throughput is given.
fn per_byte(one: &Measurement) -> f64 {
    one.nanoseconds / one.bytes.unwrap_or(1.0)
}

/// Finds `…/new/benchmark.json` with its `estimates.json` beside it, at any depth.
fn collect(dir: &Path, groups: &mut BTreeMap<String, Vec<Measurement>>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.ends_with("new/benchmark.json") {
            let id = json(&path)?;
            let estimates = json(&path.with_file_name("estimates.json"))?;
            let text = |key: &str| id[key].as_str().unwrap_or_default().to_owned();
            let function = [text("function_id"), text("value_str")].into_iter().filter(|part| !part.is_empty());
            groups.entry(text("group_id")).or_default().push(Measurement {
                function: function.collect::<Vec<_>>().join("/"),
                nanoseconds: estimates["mean"]["point_estimate"].as_f64().context("no mean")?,
                bytes: id["throughput"]["Bytes"].as_f64(),
            });
        } else if path.is_dir() {
            collect(&path, groups)?;
        }
    }
    Ok(())
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{}", path.display()))
}
