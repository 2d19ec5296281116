//! Programs that are not part of the Rust toolchain: found on the path, or installed from the distribution.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::{paths, program};

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
    let refusal = install(package)?.unwrap_or_else(|| String::from("it was installed"));
    Ok(first(names).ok_or_else(|| {
        format!("{}: not found, and package {package} did not bring it ({refusal})", names.join(" or "))
    }))
}

/// Installs a package of the distribution; the reason when it cannot be installed here.
///
/// # Errors
/// Only when the installing script cannot be started at all.
pub fn install(package: &str) -> Result<Option<String>> {
    let script = paths::root().join("xtask/rig/packages.sh");
    println!("$ {} {package}", script.display());
    let captured = program::capture(Command::new("bash").arg(script).arg(package), Duration::from_secs(900))?;
    if captured.success() {
        return Ok(None);
    }
    let reason = captured.stderr.lines().rfind(|line| line.contains("SKIPPED")).unwrap_or("no reason given");
    Ok(Some(reason.to_owned()))
}

fn first(names: &[&str]) -> Option<String> {
    names.iter().find(|name| program::exists(name)).map(ToString::to_string)
}
