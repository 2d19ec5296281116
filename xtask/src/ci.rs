//! `cargo xtask ci`: every check in order, and a summary that says of each how long it took and what came of it.
//!
//! Programs that have to be fetched (Wine, clang, Python packages) are fetched on a thread of their own while the
//! first steps compile. A check that cannot run is a skip, and a skip is shown as one. Under `CI=true` a skip of the steps
//! `debugger`, `windows`, `browser`, `targets` and `features` is a failure, unless a variable (`MKDUMP_CI_WITHOUT_RIG=1` and the
//! like, named in the message) says that what they need is known to be missing.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use xtask::outcome::Outcome;
use xtask::{paths, program};

use crate::{acceptance, dist, fuzz, targets, tidy};

/// One step: its name, what it runs, and whether it must not be skipped in CI.
struct Step {
    name: &'static str,
    run: fn() -> Result<Outcome>,
    needs_tools: bool,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt, needs_tools: false },
    Step { name: "tidy", run: || tidy::run(&[]), needs_tools: false },
    Step { name: "clippy", run: clippy, needs_tools: false },
    Step { name: "tests", run: tests, needs_tools: false },
    Step { name: "doc", run: doc, needs_tools: false },
    Step { name: "no_std", run: no_std, needs_tools: false },
    Step { name: "features", run: targets::features, needs_tools: false },
    Step { name: "targets", run: || targets::run(&[]), needs_tools: true },
    Step { name: "fuzz-build", run: fuzz::check, needs_tools: false },
    Step { name: "demo-data", run: || acceptance::run("demo-data", &["--check".to_owned()]), needs_tools: false },
    Step { name: "testdata", run: || acceptance::run("testdata", &["--check".to_owned()]), needs_tools: false },
    Step { name: "dist", run: || dist::run(&[]), needs_tools: false },
    Step { name: "corpus", run: || acceptance::run("corpus", &[]), needs_tools: false },
    Step { name: "debugger", run: || acceptance::run("debugger", &[]), needs_tools: true },
    Step { name: "windows", run: || acceptance::run("windows", &[]), needs_tools: true },
    Step { name: "browser", run: || acceptance::run("browser", &[]), needs_tools: true },
    Step { name: "readers", run: || acceptance::run("readers", &[]), needs_tools: true },
    Step { name: "peers", run: || acceptance::run("peers", &[]), needs_tools: true },
    Step { name: "sessions", run: || acceptance::run("sessions", &[]), needs_tools: true },
];

/// `cargo xtask ci [--only STEP]…`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let steps = chosen(arguments)?;
    let mut tools = steps.iter().any(|step| step.needs_tools).then(fetch_tools);
    let mut total = Outcome::default();
    let mut rows = Vec::new();
    let start = Instant::now();
    for step in steps {
        println!("\n=== {} ===", step.name);
        let begin = Instant::now();
        if step.needs_tools
            && let Some(thread) = tools.take()
        {
            // What it could not fetch, the step itself will find missing, and say so.
            let _ = thread.join();
        }
        let outcome = (step.run)().unwrap_or_else(|error| Outcome::fail(format!("{}: {error:#}", step.name)));
        let outcome = match step.name {
            "debugger" => is_due("debugger", "MKDUMP_CI_WITHOUT_RIG", outcome),
            "browser" => is_due("browser", "MKDUMP_CI_WITHOUT_BROWSER", outcome),
            "windows" => is_due("windows", "MKDUMP_CI_WITHOUT_WINDOWS", outcome),
            "targets" => is_due("targets", "MKDUMP_CI_WITHOUT_TARGETS", outcome),
            "features" => is_due("features", "MKDUMP_CI_WITHOUT_CARGO_HACK", outcome),
            _ => outcome,
        };
        rows.push((step.name, begin.elapsed(), outcome.verdict(), outcome.counts()));
        total.absorb(outcome);
    }
    println!("\n{:<12} {:>8}  {:<8} checks", "step", "seconds", "result");
    for (name, time, verdict, counts) in &rows {
        println!("{name:<12} {:>8.1}  {verdict:<8} {counts}", time.as_secs_f64());
    }
    println!("{:<12} {:>8.1}", "total", start.elapsed().as_secs_f64());
    Ok(total)
}

fn chosen(arguments: &[String]) -> Result<Vec<&'static Step>> {
    let mut steps = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument != "--only" {
            bail!("ci takes --only STEP, {argument:?} given");
        }
        let name = rest.next().ok_or_else(|| anyhow!("--only needs the name of a step"))?;
        let known = || STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ");
        steps
            .push(STEPS.iter().find(|step| step.name == name).ok_or_else(|| anyhow!("no step {name:?}: {}", known()))?);
    }
    Ok(if steps.is_empty() { STEPS.iter().collect() } else { steps })
}

/// Installs what the last steps need while the first ones compile.
fn fetch_tools() -> JoinHandle<()> {
    std::thread::spawn(|| {
        // The packages first: the second builds a program, and waits for what the first steps compile.
        for (what, result) in
            [("targets", targets::prepare()), ("the last steps", acceptance::run("prepare", &[]).map(drop))]
        {
            if let Err(error) = result {
                println!("installing the tools of {what}: {error:#}");
            }
        }
    })
}

/// In CI the step must have run, unless a variable says that it is known to be impossible there.
fn is_due(name: &str, variable: &str, outcome: Outcome) -> Outcome {
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    if outcome.verdict() != "SKIPPED" || !is_set("CI") || is_set(variable) {
        return outcome;
    }
    let reasons = outcome.skipped().join("; ");
    Outcome::fail(format!("{name}: {reasons}; in CI that is a failure ({variable}=1 makes it a skip)"))
}

fn cargo(arguments: &[&str]) -> Result<Outcome> {
    program::run(paths::cargo().args(arguments))?;
    Ok(Outcome::pass())
}

fn fmt() -> Result<Outcome> {
    cargo(&["fmt", "--all", "--check"])
}

fn clippy() -> Result<Outcome> {
    cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])
}

fn tests() -> Result<Outcome> {
    let nextest = program::capture(paths::cargo().args(["nextest", "--version"]), Duration::from_secs(60))?.success();
    if !nextest {
        return cargo(&["test", "--locked", "--workspace", "--no-fail-fast"]);
    }
    let mut outcome = Outcome::default();
    // nextest runs no doc tests. The one half is run whatever came of the other.
    for half in [
        &["nextest", "run", "--locked", "--workspace", "--no-fail-fast"][..],
        &["test", "--locked", "--workspace", "--doc"],
    ] {
        match cargo(half) {
            Ok(part) => outcome.absorb(part),
            Err(error) => outcome.add_failure(format!("tests: {error:#}")),
        }
    }
    Ok(outcome)
}

/// The libraries alone: the command and its library share a name, so their pages would too.
fn doc() -> Result<Outcome> {
    program::run(
        paths::cargo()
            .args(["doc", "--locked", "--workspace", "--lib", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )?;
    Ok(Outcome::pass())
}

/// intel-pt without its features, and for a target that has no std where that target is installed.
fn no_std() -> Result<Outcome> {
    const BARE: &str = "x86_64-unknown-none";
    let mut outcome = cargo(&["check", "--locked", "-p", "intel-pt", "--no-default-features"])?;
    let sysroot = program::capture(paths::cargo().args(["rustc", "--print", "sysroot"]), Duration::from_secs(60));
    let installed =
        sysroot.is_ok_and(|out| std::path::Path::new(out.stdout.trim()).join("lib/rustlib").join(BARE).is_dir());
    if installed {
        outcome.absorb(cargo(&["check", "--locked", "-p", "intel-pt", "--no-default-features", "--target", BARE])?);
    }
    Ok(outcome)
}
