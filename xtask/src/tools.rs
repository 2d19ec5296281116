//! Programs that are not part of the Rust toolchain: found on the path, or installed from the distribution.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{paths, program};

/// The versions of each cargo subcommand that the tasks were written for. A newer release may count differently.
const CARGO_TOOLS: &[(&str, &str)] = &[("deny", "^0.20"), ("hack", "^0.6"), ("mutants", "^27")];

/// The exit status by which the rig's scripts say "cannot be had on this machine".
pub const UNAVAILABLE: i32 = 77;

/// A program to run, or the reason why there is none.
pub type Found<T> = std::result::Result<T, String>;

/// Finds one of `names` on the path, else installs `package` and looks again.
///
/// # Errors
/// Only when the installing script cannot be started at all.
pub fn need(names: &[&str], package: &str) -> Result<Found<String>> {
    if let Some(name) = first(names) {
        return Ok(Ok(name));
    }
    let refusal = install(&[package])?.unwrap_or_else(|| String::from("it was installed"));
    Ok(first(names).ok_or_else(|| {
        format!("{}: not found, and package {package} did not bring it ({refusal})", names.join(" or "))
    }))
}

/// Installs packages of the distribution; the reason when they cannot be installed here. A first argument `--fresh` asks
/// for the newest versions.
///
/// # Errors
/// Only when the installing script cannot be started at all.
pub fn install(packages: &[&str]) -> Result<Option<String>> {
    let script = paths::root().join("xtask/packages.sh");
    println!("$ {} {}", script.display(), packages.join(" "));
    let captured = program::capture(Command::new("bash").arg(script).args(packages), Duration::from_secs(900))?;
    if captured.success() {
        return Ok(None);
    }
    let reason = captured.stderr.lines().rfind(|line| line.contains("SKIPPED")).unwrap_or("no reason given");
    Ok(Some(reason.to_owned()))
}

/// Makes sure that a cargo subcommand is there: the one that is installed, else one from the crates registry.
///
/// # Errors
/// Only when cargo cannot be started at all.
pub fn cargo_tool(name: &str) -> Result<Found<()>> {
    let works = || -> Result<bool> {
        Ok(program::capture(paths::cargo().args([name, "--version"]), Duration::from_secs(60))?.success())
    };
    if works()? {
        return Ok(Ok(()));
    }
    let package = format!("cargo-{name}");
    let version = CARGO_TOOLS.iter().find(|(known, _)| *known == name).map_or("*", |(_, version)| version);
    let mut last = String::new();
    for pause in [5, 20, 0] {
        println!("installing {package} {version}");
        let mut cargo = paths::cargo();
        // Built in a directory of its own: the repository's is locked by whatever else compiles there.
        cargo.env_remove("CARGO_TARGET_DIR").args(["install", "--locked", "--quiet", "--version", version, &package]);
        let captured = program::capture(&mut cargo, Duration::from_secs(1800))?;
        if captured.success() && works()? {
            return Ok(Ok(()));
        }
        last = captured.stderr.lines().find(|line| line.starts_with("error")).unwrap_or("no reason given").to_owned();
        println!("cargo install {package} failed: {last}");
        std::thread::sleep(Duration::from_secs(pause));
    }
    Ok(Err(format!("{package} is not installed and cannot be: {last}")))
}

fn first(names: &[&str]) -> Option<String> {
    names.iter().find(|name| program::exists(name)).map(ToString::to_string)
}
