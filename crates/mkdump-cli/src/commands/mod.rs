//! The commands: each resolves its arguments, calls the library and shows the result.

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Cli, Command};

mod build;
mod check;
mod demo;
mod documents;
mod events;
mod extract;
#[cfg(feature = "fetch")]
mod fetch;
mod ipt;
mod modules;
mod request;
mod session;
mod sessions;
mod threads;

use session::Session;

/// How a command ended, when it was not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All as asked.
    Done,
    /// Done, but the result is not good: files are missing under `--strict`, or a check found a difference.
    Amiss,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::Amiss => ExitCode::from(1),
        }
    }
}

/// Runs what was asked for.
pub fn run(cli: Cli) -> Result<Outcome> {
    let session = Session::new(cli.talk);
    match cli.command {
        None => build::run(&cli.build, &session),
        Some(Command::Modules(command)) => modules::run(&command, &session),
        Some(Command::Ipt(command)) => ipt::run(&command, &session),
        Some(Command::Events(command)) => events::run(&command, &session),
        #[cfg(feature = "fetch")]
        Some(Command::Fetch(command)) => fetch::run(&command, &session),
        Some(Command::Request(command)) => request::run(&command, &session),
        Some(Command::Extract(command)) => extract::run(&command, &session),
        Some(Command::Threads(command)) => threads::run(&command, &session),
        Some(Command::Sessions(command)) => sessions::run(&command, &session),
        Some(Command::Check(command)) => check::run(&command, &session),
        Some(Command::Demo(command)) => demo::run(&command, &session),
        Some(Command::Completions(command)) => documents::completions(command),
        Some(Command::Man(command)) => documents::man(&command),
    }
}
