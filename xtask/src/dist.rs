//! What a release holds: packages that can be published, man pages and completions, dependencies within the policy.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::outcome::Outcome;
use crate::{paths, program};

/// The crates that are published, in the order in which they depend on each other.
const PUBLISHED: &[&str] = &["etl-file", "pe-image", "mdmp", "intel-pt", "mkdump", "mkdump-cli"];

/// The largest compressed package: none of them holds data, so a larger one has caught something by mistake.
const MAX_PACKAGE: u64 = 1 << 20;

/// `cargo xtask dist`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("dist takes no arguments, {argument:?} given");
    }
    let mut outcome = Outcome::default();
    pages(&mut outcome)?;
    packages(&mut outcome)?;
    policy(&mut outcome)?;
    Ok(outcome)
}

/// Writes manual pages and completions from the command's own definition.
fn pages(outcome: &mut Outcome) -> Result<()> {
    let command = mkdump_cli::args::Cli::command();
    let man = paths::work("dist/man")?;
    clap_mangen::generate_to(command.clone(), &man)?;
    let pages = std::fs::read_dir(&man)?.count();
    let completions = paths::work("dist/completions")?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
        let file = clap_complete::generate_to(shell, &mut command.clone(), "mkdump", &completions)?;
        println!("ok      {}", file.display());
        outcome.add_pass();
    }
    // One page for the command and one for each subcommand: fewer means that something was left out.
    let expected = 1 + command.get_subcommands().filter(|sub| !sub.is_hide_set()).count();
    if pages >= expected {
        println!("ok      {pages} manual pages in {}", man.display());
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("{pages} manual pages, {expected} expected"));
    }
    Ok(())
}

/// Packs the crates as `cargo publish` would, without asking a registry, and looks into the packages.
fn packages(outcome: &mut Outcome) -> Result<()> {
    let dir = paths::work("package")?;
    let mut package = paths::cargo();
    package.args(["package", "--offline", "--locked", "--no-verify", "--allow-dirty", "--quiet", "--target-dir"]);
    package.arg(&dir);
    for name in PUBLISHED {
        package.args(["--package", name]);
    }
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
    Ok(())
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

/// Licences, advisories and sources of the dependencies, by deny.toml.
fn policy(outcome: &mut Outcome) -> Result<()> {
    let version = program::capture(paths::cargo().args(["deny", "--version"]), Duration::from_secs(60))?;
    if !version.success() {
        outcome.add_skip("dist: cargo-deny is not installed, so deny.toml was not checked");
        return Ok(());
    }
    // Advisories need a database from the network; what can be judged offline is judged here.
    match program::run(paths::cargo().args(["deny", "--offline", "check", "bans", "licenses", "sources"])) {
        Ok(()) => outcome.add_pass(),
        Err(error) => outcome.add_failure(format!("cargo deny: {error:#}")),
    }
    Ok(())
}
