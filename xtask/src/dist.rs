//! What a release holds: packages that can be published, man pages and completions, dependencies within the policy.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use xtask::outcome::Outcome;
use xtask::{paths, program, tools};

use crate::acceptance;

/// The crates that are published, in the order in which they depend on each other.
const PUBLISHED: &[&str] = &[
    "etl-file",
    "pe-image",
    "mdmp",
    "intel-pt",
    "address-map",
    "whole-output",
    "call-forms",
    "etl-extract",
    "etw-decode",
    "etw-sessions",
    "symstore",
    "module-request",
    "kernel-snapshot",
    "kernel-code",
    "captured-code",
    "ipt-analysis",
    "mkdump",
    "mkdump-cli",
];

/// The largest compressed package: none of them holds data, so a larger one has caught something by mistake.
const MAX_PACKAGE: u64 = 1 << 20;

/// `cargo xtask dist`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("dist takes no arguments, {argument:?} given");
    }
    let mut outcome = Outcome::default();
    outcome.absorb(acceptance::run("pages", &[])?);
    packages(&mut outcome)?;
    policy(&mut outcome)?;
    oldest_rust(&mut outcome)?;
    changelog(&mut outcome)?;
    Ok(outcome)
}

/// Packs the crates as `cargo publish` does, up to the upload, and looks into the packages.
fn packages(outcome: &mut Outcome) -> Result<()> {
    let dir = paths::work("package")?;
    let mut package =
        cargo_for_all(&["package", "--offline", "--locked", "--no-verify", "--allow-dirty", "--quiet"], &dir);
    program::run(&mut package)?;
    for name in PUBLISHED {
        let file = dir.join("package").join(format!("{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        match complaint(&file)? {
            None => {
                println!("ok      {name}: package");
                outcome.add_pass();
            }
            Some(complaint) => outcome.add_failure(format!("{name}: {complaint}")),
        }
    }
    // What the registry itself would ask for: needs it within reach. Building each package again is left to the tests.
    let mut publish = cargo_for_all(&["publish", "--dry-run", "--locked", "--no-verify", "--allow-dirty"], &dir);
    let captured = program::capture(&mut publish, Duration::from_secs(300))?;
    let uploads = captured.stderr.matches("aborting upload due to dry run").count();
    if captured.success() && uploads == PUBLISHED.len() {
        println!("ok      cargo publish --dry-run of {uploads} packages");
        outcome.add_pass();
    } else if NO_REGISTRY.iter().any(|words| captured.stderr.contains(words)) {
        outcome.add_skip("dist: cargo publish --dry-run: the registry cannot be reached");
    } else {
        outcome.add_failure(format!("cargo publish --dry-run: {}\n{}", captured.ending(), captured.stderr));
    }
    Ok(())
}

/// What cargo says when there is no registry to ask.
const NO_REGISTRY: &[&str] = &["failed to query replaced source", "failed to download", "spurious network error"];

/// A cargo command with every published crate.
fn cargo_for_all(words: &[&str], target: &Path) -> Command {
    let mut cargo = paths::cargo();
    cargo.args(words).arg("--target-dir").arg(target);
    for name in PUBLISHED {
        cargo.args(["--package", name]);
    }
    cargo
}

fn complaint(package: &Path) -> Result<Option<String>> {
    let size = std::fs::metadata(package)?.len();
    if size > MAX_PACKAGE {
        return Ok(Some(format!("a package of {size} bytes, {MAX_PACKAGE} are allowed")));
    }
    let listed = program::capture(Command::new("tar").arg("tzf").arg(package), Duration::from_secs(60))?;
    if !listed.success() {
        bail!("tar: {}", listed.stderr);
    }
    let has = |name: &str| listed.stdout.lines().any(|line| line.split_once('/').is_some_and(|(_, file)| file == name));
    let missing: Vec<&str> =
        ["README.md", "Cargo.toml", "LICENSE-MIT", "LICENSE-APACHE"].into_iter().filter(|name| !has(name)).collect();
    Ok((!missing.is_empty()).then(|| format!("the package lacks {}", missing.join(", "))))
}

/// What cargo-deny says by deny.toml: licences, bans and sources from the lock file; advisories from their database.
fn policy(outcome: &mut Outcome) -> Result<()> {
    if let Err(reason) = tools::cargo_tool("deny")? {
        outcome.add_skip(format!("dist: no check of the dependencies' licences, bans, sources, advisories: {reason}"));
        return Ok(());
    }
    let deny = ["deny", "--locked", "--log-level", "error", "check"];
    match program::run(paths::cargo().args(deny).args(["licenses", "bans", "sources"])) {
        Ok(()) => outcome.add_pass(),
        Err(error) => outcome.add_failure(format!("dependencies: {error:#}")),
    }
    // The database is a git repository elsewhere. That it cannot be reached says nothing about the dependencies.
    let captured = program::capture(paths::cargo().args(deny).arg("advisories"), Duration::from_secs(300))?;
    if captured.success() {
        println!("ok      no advisory on a dependency");
        outcome.add_pass();
    } else if NO_DATABASE.iter().any(|words| captured.stderr.contains(words)) {
        outcome.add_skip("dist: advisories: their database cannot be fetched");
    } else {
        outcome.add_failure(format!("cargo deny check advisories: {}\n{}", captured.ending(), captured.stderr));
    }
    Ok(())
}

/// What cargo-deny says when it has no database of advisories to read.
const NO_DATABASE: &[&str] = &["failed to fetch advisory database", "failed to load advisory database"];

/// The oldest Rust that the manifest promises is the one that checks everything, or one beside it checks the build.
fn oldest_rust(outcome: &mut Outcome) -> Result<()> {
    let promised = env!("CARGO_PKG_RUST_VERSION");
    let readme = std::fs::read_to_string(paths::root().join("README.md"))?;
    if readme.contains(&format!("Rust {promised} or later")) {
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("README.md does not say \"Rust {promised} or later\", as Cargo.toml does"));
    }
    let running = program::capture(Command::new("rustc").arg("--version"), Duration::from_secs(60))?.stdout;
    let is = |version: &str| version == promised || version.starts_with(&format!("{promised}."));
    if running.split(' ').nth(1).is_some_and(is) {
        println!("ok      the oldest Rust promised, {promised}, is the one at work");
        outcome.add_pass();
        return Ok(());
    }
    let listed = program::capture(Command::new("rustup").args(["toolchain", "list"]), Duration::from_secs(60));
    let toolchain = listed.ok().and_then(|listed| {
        let names: Vec<&str> = listed.stdout.lines().filter_map(|line| line.split([' ', '-']).next()).collect();
        names.into_iter().find(|name| is(name)).map(str::to_owned)
    });
    let Some(toolchain) = toolchain else {
        outcome.add_skip(format!("dist: Rust {promised} is not installed beside {}", running.trim()));
        return Ok(());
    };
    let mut cargo = Command::new("rustup");
    cargo.current_dir(paths::root()).args(["run", &toolchain, "cargo", "check", "--locked", "--workspace"]);
    match program::run(cargo.arg("--target-dir").arg(paths::work("oldest-rust")?)) {
        Ok(()) => outcome.add_pass(),
        Err(error) => outcome.add_failure(format!("Rust {promised}: {error:#}")),
    }
    Ok(())
}

/// CHANGELOG.md speaks of this version.
fn changelog(outcome: &mut Outcome) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let text = std::fs::read_to_string(paths::root().join("CHANGELOG.md"))?;
    if text.lines().any(|line| line.starts_with(&format!("## {version}"))) {
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("CHANGELOG.md has no section {version}"));
    }
    Ok(())
}
