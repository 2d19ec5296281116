//! The commands: each resolves its arguments, calls the library and shows the result.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use mkdump::Source;
use serde::Serialize;

use crate::args::{Cli, Command, SourceArgs, TalkArgs};
use crate::show::text;

mod build;
mod modules;

/// How a command ended, when it was not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All as asked.
    Done,
    /// Done, but `--strict` found something missing or a check found a difference.
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
    match cli.command {
        None => build::run(&cli.build, cli.talk),
        Some(Command::Modules(command)) => modules::run(&command, cli.talk),
    }
}

/// Prints a value as JSON on stdout.
fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints text on stdout.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints warnings on stderr, each once.
fn warn(warnings: &[String], talk: TalkArgs) {
    if talk.quiet {
        return;
    }
    for warning in warnings {
        let _ = writeln!(io::stderr(), "{}", text::warning(warning, talk));
    }
}

/// Opens the trace or dump that the arguments name.
fn open(source: &SourceArgs) -> Result<Source> {
    match &source.etl {
        Some(etl) => Ok(Source::open_etl(etl)?),
        None => unreachable!("clap asks for a source"),
    }
}
