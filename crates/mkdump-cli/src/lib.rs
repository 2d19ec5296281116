//! The command `mkdump`, as a library so that its manual pages and completions can be made from its definition.
//!
//! Arguments are parsed in [`args`], a command resolves them and calls the `mkdump` library, `show` prints plain values.
//! Data goes to stdout, messages to stderr. Exit codes: 0 done, 1 done but the result is not good, 2 not done.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;

/// A closed stderr is not a failure, but the macro of the standard library panics then. This one is defined before the
/// modules, so that the modules use it.
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
    let takes = match &cli.command {
        Some(args::Command::Threads(_) | args::Command::Check(_)) => show::advice::Takes::Dumps,
        _ => show::advice::Takes::Sources,
    };
    interrupt::watch();
    match run(cli) {
        Ok(outcome) => {
            log::line("info", if outcome == commands::Outcome::Done { "done" } else { "done, with something amiss" });
            outcome.into()
        }
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            log::line("error", &format!("{error:#}"));
            let _ = writeln!(io::stderr(), "{}", show::text::error(&error, takes, talk));
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

/// A reader that stopped reading what was printed (`mkdump modules | head`) is not a failure. A dump that broke off is.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
