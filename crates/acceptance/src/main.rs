//! Checks that need the whole product, and programs or samples of others: `cargo xtask NAME` builds this program and the
//! command, and runs the check of that name here.
//!
//! They are kept out of `xtask` so that a task which only reads the sources starts without compiling the product.
#![forbid(unsafe_code)]

mod browser;
mod command;
mod corpus;
mod debugger;
mod demo_data;
mod dump;
mod generated;
mod pages;
mod peers;
mod readers;
mod sessions;
mod system;
mod testdata;
mod windows;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use xtask::outcome::Outcome;

/// A check, or a generator with its check.
type Task = fn(&[String]) -> Result<Outcome>;

const TASKS: &[(&str, Task)] = &[
    ("browser", browser::run),
    ("corpus", corpus::run),
    ("debugger", debugger::run),
    ("demo-data", demo_data::run),
    ("pages", pages::run),
    ("peers", peers::run),
    ("prepare", prepare),
    ("readers", readers::run),
    ("sessions", sessions::run),
    ("testdata", testdata::run),
    ("windows", windows::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(outcome) => outcome.finish(),
        Err(error) => {
            eprintln!("acceptance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<Outcome> {
    let (name, rest) = arguments.split_first().context("no check named; use `cargo xtask`")?;
    let Some((_, run)) = TASKS.iter().find(|(known, _)| known == name) else {
        bail!("no check {name:?}");
    };
    run(rest)
}

/// Installs what the checks need, and judges nothing: a check that finds its programs missing says so itself.
fn prepare(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("prepare takes no arguments, {argument:?} given");
    }
    for (what, result) in [
        ("browser", browser::prepare()),
        ("debugger", debugger::prepare()),
        ("readers", readers::prepare()),
        ("peers", peers::prepare()),
        ("sessions", sessions::prepare()),
        ("windows", windows::prepare()),
    ] {
        if let Err(error) = result {
            println!("installing the tools of {what}: {error:#}");
        }
    }
    Ok(Outcome::default())
}
