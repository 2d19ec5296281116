//! Compiling for other machines and with other features than the tests do: checked, not run.
//!
//! The format crates promise to work wherever Rust does, so they are compiled for a 32-bit system, where a length from a
//! file does not fit every `usize`, and for WebAssembly, which has no files, threads or clock. The command is
//! compiled for Windows as Microsoft's linker takes it.

use std::time::Duration;

use anyhow::{Result, bail};
use xtask::outcome::Outcome;
use xtask::rust_source::RustSource;
use xtask::{paths, program, tools};

/// The crates that only read and write formats.
const FORMATS: &[&str] = &["-p", "etl-file", "-p", "pe-image", "-p", "mdmp", "-p", "intel-pt"];
/// The command with all that it links, but for the network code: a part of that is C, for which there is no compiler here.
const COMMAND: &[&str] = &["-p", "mkdump-cli", "--no-default-features"];

/// The targets, the parts of the standard library that each needs built, and what is compiled for it.
const TARGETS: &[(&str, &str, &[&str])] = &[
    ("i686-unknown-linux-gnu", "std,panic_unwind", FORMATS),
    ("wasm32-unknown-unknown", "std,panic_abort", FORMATS),
    ("x86_64-pc-windows-msvc", "std,panic_unwind", COMMAND),
];

/// The crates with features of their own; every pair of features is tried.
const FEATURED: &[&str] = &[
    "etl-file",
    "pe-image",
    "mdmp",
    "intel-pt",
    "call-forms",
    "symstore",
    "kernel-snapshot",
    "kernel-code",
    "mkdump",
    "mkdump-cli",
];

/// Installs the compiler, and judges nothing.
pub fn prepare() -> Result<()> {
    RustSource::find().map(drop)
}

/// `cargo xtask targets [TARGET]…`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(unknown) = arguments.iter().find(|name| !TARGETS.iter().any(|(target, ..)| target == name)) {
        let known: Vec<&str> = TARGETS.iter().map(|(target, ..)| *target).collect();
        bail!("targets: {unknown:?} is not one of {}", known.join(", "));
    }
    let rust = match RustSource::find()? {
        Ok(rust) => rust,
        Err(reason) => return Ok(Outcome::skip(format!("targets: {reason}"))),
    };
    println!("with {}", rust.version);
    let mut outcome = Outcome::default();
    for (target, library, what) in
        TARGETS.iter().filter(|(name, ..)| arguments.is_empty() || arguments.iter().any(|a| a == name))
    {
        let mut cargo = rust.cargo("check", target, library);
        cargo.arg("--target-dir").arg(paths::work("targets")?).args(*what);
        match program::run(cargo.env("RUSTFLAGS", "--deny warnings")) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("{target}: {error:#}")),
        }
    }
    Ok(outcome)
}

/// Crates that do their work differently without their default features, so that their tests are run without them too.
const TESTED_BARE: &[&str] = &["etl-file"];

/// Every crate with each set of at most two of its features, none and all: one that compiles only together with another
/// feature is found here. The command without its default features is among them.
pub fn features() -> Result<Outcome> {
    if let Err(reason) = tools::cargo_tool("hack")? {
        return Ok(Outcome::skip(format!("features: {reason}")));
    }
    let mut cargo = paths::cargo();
    cargo.args(["hack", "check", "--locked", "--feature-powerset", "--depth", "2"]);
    cargo.args(FEATURED.iter().flat_map(|name| ["-p", name]));
    println!("$ {}", program::shown(&cargo));
    // Not by RUSTFLAGS: other flags would have every dependency compiled anew.
    let captured = program::capture(&mut cargo, Duration::from_secs(1800))?;
    let sets = captured.stderr.lines().filter(|line| line.starts_with("info: running")).count();
    let has_warning = captured.stderr.lines().any(|line| line.starts_with("warning"));
    if !captured.success() || has_warning || sets == 0 {
        return Ok(Outcome::fail(format!("features: {}\n{}", captured.ending(), captured.stderr)));
    }
    println!("ok      {sets} sets of features");
    let mut outcome = Outcome::pass();
    for name in TESTED_BARE {
        let mut cargo = paths::cargo();
        cargo.args([
            "test",
            "--locked",
            "-p",
            name,
            "--no-default-features",
            "--features",
            "serde",
            "--lib",
            "--tests",
        ]);
        match program::run(&mut cargo) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("{name} without its default features: {error:#}")),
        }
    }
    Ok(outcome)
}
