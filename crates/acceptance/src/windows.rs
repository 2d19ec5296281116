//! The command built for Windows, run under Wine, and compared with the one built here: what both make of the same input
//! must be the same bytes. The command's own tests run under Wine too, and on request those of the libraries.
//!
//! Wine is not Windows: files that other programs have open, a real console and short (8.3) names are not tried here.

mod comparison;
mod interrupt;
mod page;
mod suites;
mod wine;

use std::fs;

use anyhow::{Result, ensure};
use xtask::outcome::Outcome;
use xtask::rust_source::RustSource;
use xtask::tools;

use crate::command;
use comparison::{answer, compare, place, same_file, written};

/// Runs of the command in a directory that holds `testdata`, each in a directory of its own per system, one after another.
/// What a run writes and prints is compared. `demo` is made by the third.
const RUNS: &[&[&str]] = &[
    &["--version"],
    &["--help"],
    &["--quiet", "demo", "demo"],
    &["--etl", "demo/demo.etl", "-m", "demo/modules", "-o", "a.dmp", "--json", "--no-cache", "--report", "a.html"],
    &["--etl", "demo/demo.etl", "-m", "demo/modules", "-o", "b.dmp", "--json", "--no-cache", "--memory-list", "64"],
    &["--etl", "demo/demo.etl", "-m", "demo/modules", "-o", "c.dmp", "--json", "--no-cache", "--format", "triage"],
    &["--etl", "demo/demo.etl", "-m", "demo/modules", "-o", "d.elf", "--json", "--no-cache", "--format", "elf"],
    &["--etl", "demo/demo.etl", "-m", "demo/modules", "-o", "raw", "--json", "--no-cache", "--format", "raw"],
    &["--from-dump", "testdata/dumps/triage.dmp", "-m", "demo/modules", "-o", "e.dmp", "--json", "--no-cache"],
    &["ipt", "--etl", "demo/demo.etl", "-m", "demo/modules", "--json", "--no-cache"],
    &["ipt", "--etl", "demo/demo.etl", "-m", "demo/modules", "--trace-flow", "--no-cache"],
    &["check", "a.dmp", "--json", "--no-cache"],
    &["check", "testdata/dumps/full.dmp", "--json", "--no-cache"],
    &["modules", "--etl", "demo/demo.etl", "--json"],
    &["modules", "--etl", "demo/demo.etl"],
    &["modules", "--etl", "testdata/traces/huffman.etl", "--json"],
    &["modules", "--etl", "testdata/traces/wrapped.etl", "--json"],
    &["threads", "testdata/dumps/triage.dmp", "--json"],
    &["request", "--etl", "demo/demo.etl", "-m", "demo/modules", "-o", "request.ps1", "--no-cache"],
    &["--etl", "nowhere.etl"],
];

/// Installs what the checks need, and judges nothing.
pub fn prepare() -> Result<()> {
    // A reason why something cannot be had is given again, and counted, when the checks run.
    let _ = RustSource::find()?;
    for (program, package) in wine::PROGRAMS {
        let _ = tools::need(&[program], package)?;
    }
    Ok(())
}

/// `cargo xtask windows [--all | PACKAGE…]`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let packages = suites::chosen(arguments)?;
    let rust = match RustSource::find()? {
        Ok(rust) => rust,
        Err(reason) => return Ok(Outcome::skip(format!("windows: {reason}"))),
    };
    let wine = match wine::Wine::set_up(&rust, &packages)? {
        Ok(wine) => wine,
        Err(reason) => return Ok(Outcome::skip(format!("windows: {reason}"))),
    };
    let mut outcome = comparisons(&wine)?;
    for part in [interrupt::run, page::run, suites::run] {
        outcome.absorb(part(&wine).unwrap_or_else(|error| Outcome::fail(format!("{error:#}"))));
    }
    if !wine.warnings.is_empty() {
        outcome.add_failure(format!("windows: the compiler warns: {}", wine.warnings.join("; ")));
    }
    Ok(outcome)
}

/// Each of [`RUNS`] here and under Wine.
fn comparisons(wine: &wine::Wine) -> Result<Outcome> {
    let (here, there) = (place("here")?, place("wine")?);
    let mut outcome = Outcome::default();
    for arguments in RUNS {
        let line = arguments.join(" ");
        let (ours, theirs) = (answer(command::mkdump()?, &here, arguments)?, answer(wine.mkdump(), &there, arguments)?);
        match compare(&ours, &theirs) {
            Ok(()) => {
                println!("ok      mkdump {line}");
                outcome.add_pass();
            }
            Err(error) => outcome.add_failure(format!("mkdump {line}: {error:#}")),
        }
    }
    let (ours, theirs) = (written(&here)?, written(&there)?);
    ensure!(ours.len() > 10, "{} files were written", ours.len());
    for name in ours.iter().chain(theirs.iter().filter(|name| !ours.contains(name))) {
        match same_file(&here.join(name), &there.join(name)) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("{name}: {error:#}")),
        }
    }
    println!("ok      {} files compared, {} bytes of mkdump.exe", ours.len(), fs::metadata(wine.program())?.len());
    Ok(outcome)
}
