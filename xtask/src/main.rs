//! Repository tasks: what `cargo xtask NAME` runs.
//!
//! A table of name, function and help. The continuous integration calls `ci`, and `ci` calls the others, so a
//! developer runs what the CI runs.
#![forbid(unsafe_code)]

mod acceptance;
mod bench;
mod ci;
mod dist;
mod fuzz;
mod mutants;
mod targets;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};
use xtask::outcome::Outcome;

/// One task: what it is called, what it runs with the arguments after its name, and what it is for.
struct Task {
    name: &'static str,
    run: Run,
    help: &'static str,
}

/// What runs a task.
enum Run {
    /// A function of this program.
    Here(fn(&[String]) -> Result<Outcome>),
    /// The check of the same name in `crates/acceptance`.
    Acceptance,
}

const TASKS: &[Task] = &[
    Task {
        name: "ci",
        run: Run::Here(ci::run),
        help: "every check of this list in order, with a summary [--only STEP]…",
    },
    Task {
        name: "tidy",
        run: Run::Here(tidy::run),
        help: "style as a test: module docs, dependency direction, file length, links",
    },
    Task { name: "corpus", run: Run::Acceptance, help: "checks on real samples [DIRECTORY] [PART]…" },
    Task { name: "debugger", run: Run::Acceptance, help: "our dumps in Microsoft's debugger engines, under Wine" },
    Task { name: "peers", run: Run::Acceptance, help: "the same traces in dissect.etl, event for event [DIRECTORY]" },
    Task {
        name: "readers",
        run: Run::Acceptance,
        help: "our dumps in lldb, rust-minidump, obj2yaml, Python's readers",
    },
    Task {
        name: "sessions",
        run: Run::Acceptance,
        help: "trace sessions in dumps of compiled kernels: mkdump, ntoseye, Microsoft's engines [--all] [DIRECTORY]",
    },
    Task { name: "browser", run: Run::Acceptance, help: "the HTML report in headless Chromium [--pictures]" },
    Task {
        name: "windows",
        run: Run::Acceptance,
        help: "mkdump.exe and its tests under Wine; it writes and prints what the command does here [--all | PACKAGE…]",
    },
    Task {
        name: "demo-data",
        run: Run::Acceptance,
        help: "writes the demo's trace and modules into the command's crate [--check]",
    },
    Task {
        name: "targets",
        run: Run::Here(targets::run),
        help: "compiled only: the format crates for 32-bit Linux and WebAssembly, the command for MSVC [TARGET]…",
    },
    Task {
        name: "fuzz",
        run: Run::Here(fuzz::run),
        help: "every fuzz target [--seconds N] [--install] [CRATE | CRATE/TARGET]…",
    },
    Task {
        name: "bench",
        run: Run::Here(bench::run),
        help: "every benchmark, each next to its reference [ARGUMENT OF CARGO BENCH]…",
    },
    Task {
        name: "session-layouts",
        run: Run::Here(xtask::session_layouts::run),
        help: "writes the table of kernels that etw-sessions embeds [--check] DIRECTORY",
    },
    Task { name: "testdata", run: Run::Acceptance, help: "writes the samples in testdata/ [--check]" },
    Task {
        name: "mutants",
        run: Run::Here(mutants::run),
        help: "small planted faults that the tests should notice [CRATE]…",
    },
    Task { name: "dist", run: Run::Here(dist::run), help: "packages, man pages and completions, dependency policy" },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(outcome) => outcome.finish(),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<Outcome> {
    let Some((name, rest)) = arguments.split_first() else {
        bail!("no task named\n{}", help());
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        println!("{}", help());
        return Ok(Outcome::default());
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        bail!("no task {name:?}\n{}", help());
    };
    match task.run {
        Run::Here(run) => run(rest),
        Run::Acceptance => acceptance::run(task.name, rest),
    }
}

fn help() -> String {
    let mut text = String::from("usage: cargo xtask TASK [ARGUMENT]…\n");
    for task in TASKS {
        text += &format!("\n  {:<11} {}", task.name, task.help);
    }
    text
}
