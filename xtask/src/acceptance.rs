//! The checks of `crates/acceptance`, each run as a program of its own: they link the product, and the tasks here do not.

use std::process::Command;

use anyhow::{Context, Result};
use xtask::outcome::{FILE_VARIABLE, Outcome};
use xtask::{paths, program};

/// Builds the checks and the command, and runs one check with these arguments.
pub fn run(check: &str, arguments: &[String]) -> Result<Outcome> {
    // One invocation for both, so that the command is built with the same features each time.
    program::run(paths::cargo().args([
        "build",
        "--quiet",
        "--locked",
        "-p",
        "acceptance",
        "-p",
        "mkdump-cli",
        "--bins",
    ]))?;
    outcome_of("acceptance", std::iter::once(&check.to_owned()).chain(arguments))
}

/// Runs a program of this workspace that is already built, and takes over the outcome that it leaves.
pub fn outcome_of<'a>(name: &str, arguments: impl Iterator<Item = &'a String>) -> Result<Outcome> {
    let file = paths::work("outcome")?.join(format!("{name}-{}", std::process::id()));
    let mut command =
        Command::new(paths::target().join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
    command.args(arguments).env(FILE_VARIABLE, &file);
    let status = command.status().with_context(|| format!("cannot start {}", program::shown(&command)))?;
    let outcome = Outcome::load(&file).with_context(|| format!("{} ended with {status}", program::shown(&command)));
    // A program that could not run at all has left none.
    let _ = std::fs::remove_file(&file);
    outcome
}
