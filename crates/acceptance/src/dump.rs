//! Dumps of the generated system, built by the `mkdump` command itself from a trace that testkit writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testkit::trace::{Module, TraceFile};
use xtask::outcome::Outcome;
use xtask::program;

use crate::command;
use crate::system::System;

/// A dump, and what the command reported about it.
#[derive(Debug)]
pub struct Built {
    /// The dump.
    pub path: PathBuf,
    /// The report of `--json`.
    pub report: Value,
}

impl Built {
    /// Compares the report's counts with what is known about the system.
    pub fn check_report(&self, system: &System, outcome: &mut Outcome) -> Result<()> {
        let sites = system.sites()?;
        for module in &system.modules {
            let name = module.image.name();
            // The targets of a module's sites are all near or all far.
            let is_far = sites.iter().any(|site| site.module == module.name() && !site.is_direct);
            let listed = module.sites.len();
            let expected = (listed, if is_far { 0 } else { listed });
            let entries = self.report["modules"].as_array().map(Vec::as_slice).unwrap_or_default();
            let counts =
                entries.iter().find(|entry| entry["name"] == name.as_str()).map(|entry| &entry["sites"]["import"]);
            let count =
                |key: &str| counts.and_then(|counts| counts[key].as_u64()).and_then(|n| usize::try_from(n).ok());
            if (count("listed"), count("optimized")) == (Some(expected.0), Some(expected.1)) {
                println!("ok      report: {name}: {} of {} sites", expected.1, expected.0);
                outcome.add_pass();
            } else {
                outcome.add_failure(format!("report: {name}: sites {counts:?}, not {} of {}", expected.1, expected.0));
            }
        }
        Ok(())
    }
}

/// Builds `dump` from the system's trace and images, with these further options.
pub fn build(system: &System, dump: &Path, options: &[&str]) -> Result<Built> {
    let trace = dump.with_extension("etl");
    std::fs::write(&trace, self::trace(system))?;
    let mut command = command::mkdump()?;
    command.arg("--etl").arg(&trace).arg("--modules").arg(&system.dir).arg("--output").arg(dump);
    command.args(["--json", "--strict"]).args(options);
    println!("$ {}", program::shown(&command));
    let captured = program::capture(&mut command, Duration::from_secs(120))?;
    if !captured.success() {
        bail!("mkdump: {}\n{}{}", captured.ending(), captured.stdout, captured.stderr);
    }
    let report = serde_json::from_str(&captured.stdout).context("mkdump --json printed no JSON")?;
    Ok(Built { path: dump.to_owned(), report })
}

/// A kernel trace that names the system's modules, with all their identities.
fn trace(system: &System) -> Vec<u8> {
    let mut trace = TraceFile::new();
    trace.system(1_000_100, "TESTKIT", 4652);
    let mut tick = 1_000_200;
    for module in &system.modules {
        if module.image.name() == "ntoskrnl.exe" {
            trace.kernel_base(0, tick, module.base);
        }
        let path = format!(r"\SystemRoot\system32\{}", module.image.name());
        let mut named = Module::kernel(&path, module.base, u64::from(module.image.size))
            .with_identity(module.image.timestamp, module.image.checksum);
        if let Some(pdb) = &module.image.pdb {
            named = named.with_pdb(&pdb.name, &pdb.guid_text(), pdb.age);
        }
        tick += 100;
        trace.module(0, tick, &named);
    }
    trace.finish()
}
