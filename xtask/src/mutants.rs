//! Mutation tests, by the program of `crates/mutants`: one small fault after another, and whether a test notices it.

use anyhow::{Result, bail};
use xtask::outcome::Outcome;
use xtask::{paths, program, tools};

use crate::acceptance;

/// The crates whose tests are measured when none is named.
const CRATES: &[&str] = &[
    "pe-image",
    "etl-file",
    "mdmp",
    "intel-pt",
    "call-forms",
    "address-map",
    "kernel-snapshot",
    "kernel-code",
    "ipt-analysis",
];

/// `cargo xtask mutants [CRATE]…`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(other) =
        arguments.iter().find(|name| !paths::root().join("crates").join(name).join("src/lib.rs").is_file())
    {
        bail!("mutants takes names of libraries under crates/; {other:?} given");
    }
    // It lists the mutants; it does not run them.
    if let Err(reason) = tools::cargo_tool("mutants")? {
        return Ok(Outcome::skip(format!("mutants: {reason}")));
    }
    program::run(paths::cargo().args(["build", "--quiet", "--locked", "-p", "mutants"]))?;
    let all: Vec<String> = CRATES.iter().map(|name| String::from(*name)).collect();
    acceptance::outcome_of("mutants", if arguments.is_empty() { &all } else { arguments }.iter())
}
