//! A Rust toolchain that can compile for targets without a prebuilt standard library: the distribution's, which brings the
//! library's source, and builds it along with the program (`-Z build-std`).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::tools::{self, Found};
use crate::{paths, program};

/// The distribution's packages: compiler, cargo, and the library's source.
const PACKAGES: &[&str] = &["--fresh", "rustc-web", "cargo-web", "rust-web-src"];

const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const LIBRARY: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";

/// The toolchain.
#[derive(Debug)]
pub struct RustSource {
    /// Its version, as `rustc --version` prints it.
    pub version: String,
}

impl RustSource {
    /// Finds the toolchain or installs it; the reason when it cannot be had, or is older than the project's oldest Rust.
    ///
    /// # Errors
    /// Only when a program that is there cannot be started.
    pub fn find() -> Result<Found<RustSource>> {
        let oldest = env!("CARGO_PKG_RUST_VERSION");
        let is_enough = |version: &Option<String>| version.as_deref().is_some_and(|found| at_least(found, oldest));
        let mut version = installed()?;
        let mut refusal = None;
        if !is_enough(&version) {
            refusal = tools::install(PACKAGES)?;
            version = installed()?;
        }
        let reason = match (version, refusal) {
            (Some(version), _) if at_least(&version, oldest) => return Ok(Ok(RustSource { version })),
            (Some(version), _) => format!("the distribution's Rust is too old: {version}, and {oldest} is needed"),
            (None, Some(refusal)) => refusal,
            (None, None) => format!("packages {} brought no {RUSTC} with {LIBRARY}", PACKAGES[1..].join(", ")),
        };
        Ok(Err(reason))
    }

    /// Its cargo, in the repository's root, with `command` as first word and options for a target: `std` and what else of
    /// the library is to be built along.
    pub fn cargo(&self, command: &str, target: &str, library: &str) -> Command {
        let mut cargo = Command::new(CARGO);
        // RUSTC must be named: a toolchain manager's own `rustc` may come first on the path.
        cargo.current_dir(paths::root()).env("RUSTC", RUSTC).env("RUSTDOC", "/usr/bin/rustdoc");
        // The options that build the library are for unstable compilers, and this variable lets a stable one take them.
        cargo.env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        cargo.args([command, "--locked", "--target", target]).arg(format!("-Zbuild-std={library}"));
        cargo
    }
}

/// The version of the distribution's compiler, where it is there together with the library's source.
fn installed() -> Result<Option<String>> {
    if ![RUSTC, CARGO, LIBRARY].iter().all(|path| Path::new(path).is_file()) {
        return Ok(None);
    }
    let captured = program::capture(Command::new(RUSTC).arg("--version"), Duration::from_secs(60))?;
    Ok(captured.success().then(|| captured.stdout.trim().to_owned()))
}

/// Whether `rustc X.Y.Z (…)` is at least `oldest`.
fn at_least(version: &str, oldest: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> { text.split('.').map_while(|part| part.parse().ok()).collect() };
    numbers(version.split(' ').nth(1).unwrap_or_default()) >= numbers(oldest)
}

#[cfg(test)]
mod tests {
    use super::at_least;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, oldest, expected) in [
            ("rustc 1.96.0 (abc 2026-05-28)", "1.95", true),
            ("rustc 1.95.0 (abc)", "1.95", true),
            ("rustc 1.85.0 (abc)", "1.95", false),
            ("rustc 1.100.0 (abc)", "1.95", true),
            ("", "1.95", false),
        ] {
            assert_eq!(at_least(version, oldest), expected, "{version}");
        }
    }
}
