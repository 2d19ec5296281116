//! The command `mkdump`, as a library so that its manual pages and completions can be made from its definition.
//!
//! Arguments are parsed in [`args`], a command resolves them and calls the `mkdump` library, `show` prints plain values.
//! Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 done with something amiss that was asked about, 2 not done.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

/// Talk that nobody listens to is no failure; the macros of the standard library panic when stderr is closed. Defined
/// before the modules, these are the ones that they mean.
macro_rules! eprint {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($arg)*);
    }};
}
macro_rules! eprintln {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}

pub mod args;
mod commands;
mod interrupt;
mod log;
mod outputs;
mod progress;
mod show;

/// Runs the command with the process's own arguments.
pub fn main() -> ExitCode {
    let cli = args::Cli::of(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let talk = cli.talk;
    interrupt::watch();
    match run(cli) {
        Ok(outcome) => {
            log::line("info", if outcome == commands::Outcome::Done { "done" } else { "done, with something amiss" });
            outcome.into()
        }
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            log::line("error", &format!("{error:#}"));
            let _ = writeln!(io::stderr(), "{}", show::text::error(&error, talk));
            ExitCode::from(2)
        }
    }
}

fn run(cli: args::Cli) -> anyhow::Result<commands::Outcome> {
    if let Some(path) = &cli.log {
        outputs::check_log(&cli, path)?;
        log::start(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    commands::run(cli)
}

/// A reader that stopped reading what was printed (`mkdump modules | head`) is no failure. A dump that broke off is one.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
