//! Fuzzing: every target of every crate for some seconds, and in CI the check that the targets still compile.
//!
//! The crates' fuzz packages are workspaces of their own, as cargo-fuzz lays them out. Files that once made a target
//! fail lie in `crates/*/fuzz/regressions/` and are replayed by the ordinary tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask::outcome::Outcome;
use xtask::{paths, program};

/// A crate's fuzz package.
struct Package {
    /// The crate.
    name: String,
    /// The package's directory.
    dir: PathBuf,
    /// Its targets.
    targets: Vec<String>,
}

/// `cargo xtask fuzz [--seconds N] [--install] [CRATE | CRATE/TARGET]…`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let mut seconds = 60;
    let mut wanted = Vec::new();
    let mut install = false;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--seconds" => seconds = rest.next().context("--seconds needs a number")?.parse().context("--seconds")?,
            "--install" => install = true,
            name if !name.starts_with('-') => wanted.push(name),
            other => bail!("fuzz takes --seconds N, --install, and names of crates or crate/target; {other:?} given"),
        }
    }
    if !has_cargo_fuzz()? {
        if !install {
            return Ok(Outcome::skip("fuzz: cargo-fuzz is not installed; `cargo xtask fuzz --install` installs it"));
        }
        program::run(paths::cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let mut outcome = Outcome::default();
    for package in packages()? {
        for target in &package.targets {
            let full = format!("{}/{target}", package.name);
            if wanted.is_empty() || wanted.contains(&package.name.as_str()) || wanted.contains(&full.as_str()) {
                match fuzz(&package, target, seconds) {
                    Ok(()) => outcome.add_pass(),
                    Err(error) => outcome.add_failure(format!("{full}: {error:#}")),
                }
            }
        }
    }
    if outcome.verdict() == "passed" && outcome.counts().starts_with("0 ") {
        bail!("no fuzz target named {wanted:?}");
    }
    Ok(outcome)
}

/// Checks that every fuzz package compiles, on the stable toolchain.
pub fn check() -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for package in packages()? {
        let mut check = paths::cargo();
        // A directory of its own: the packages share their dependencies, and not the workspace's lock.
        check.args(["check", "--locked", "--bins", "--target-dir"]).arg(paths::work("fuzz")?).arg("--manifest-path");
        match program::run(check.arg(package.dir.join("Cargo.toml"))) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("{}: {error:#}", package.name)),
        }
    }
    if outcome.counts().starts_with("0 ") {
        outcome.add_failure("no crate has a fuzz package");
    }
    Ok(outcome)
}

fn has_cargo_fuzz() -> Result<bool> {
    Ok(program::capture(paths::cargo().args(["fuzz", "--version"]), Duration::from_secs(60))?.success())
}

fn fuzz(package: &Package, target: &str, seconds: u32) -> Result<()> {
    let mut command = paths::cargo();
    // cargo-fuzz passes flags that only an unstable compiler takes, and this variable lets the stable one take them.
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--fuzz-dir"]).arg(&package.dir).arg(target);
    program::run(
        command.arg("--").arg(format!("-max_total_time={seconds}")).args(["-timeout=20", "-rss_limit_mb=2048"]),
    )
}

fn packages() -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for entry in std::fs::read_dir(paths::root().join("crates"))? {
        let entry = entry?;
        let dir = entry.path().join("fuzz");
        if dir.join("Cargo.toml").is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            packages.push(Package { targets: targets(&dir)?, name, dir });
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

/// The names of the package's binaries: one file each, which the manifest names or cargo finds.
fn targets(dir: &Path) -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in std::fs::read_dir(dir.join("fuzz_targets")).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(stem) = path.file_stem()
        {
            targets.push(stem.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}
