//! The commands: each resolves its arguments, calls the library and shows the result.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Result;
use mkdump::snapshot::Module;
use mkdump::{NameFilter, Reading, Search, Source};
use serde::Serialize;
use symstore::{Cache, SymbolPath};

use crate::args::{Cli, Command, ModulesArgs, SelectArgs, SourceArgs, TalkArgs};
use crate::log;
use crate::show::next::Next;
use crate::show::{advice, summary, text};

mod build;
mod check;
mod demo;
#[cfg(feature = "fetch")]
mod fetch;
mod ipt;
mod modules;
mod request;
mod threads;

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
        Some(Command::Ipt(command)) => ipt::run(&command, cli.talk),
        #[cfg(feature = "fetch")]
        Some(Command::Fetch(command)) => fetch::run(&command, cli.talk),
        Some(Command::Request(command)) => request::run(&command, cli.talk),
        Some(Command::Threads(command)) => threads::run(&command, cli.talk),
        Some(Command::Check(command)) => check::run(&command, cli.talk),
        Some(Command::Demo(command)) => demo::run(&command, cli.talk),
    }
}

/// Prints a value as JSON on stdout.
fn print_json(value: &impl Serialize) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    out.write_all(escaped(&serde_json::to_string_pretty(value)?).as_bytes())?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// JSON with the characters that are not seen escaped: they stand in strings only, where an escape means the same.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for found in json.chars() {
        if found != '\n' && text::is_unseen(found) {
            let mut units = [0; 2];
            for unit in found.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(found);
        }
    }
    out
}

/// Prints text on stdout.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints warnings on stderr.
fn warn(warnings: &[String], talk: TalkArgs) {
    for warning in warnings {
        log::line("warn", warning);
        if talk.quiet {
            continue;
        }
        let _ = writeln!(io::stderr(), "{}", text::warning(warning, talk));
    }
}

/// Says on stderr why a source names no kernel modules, and how to record one that does.
fn explain_no_modules(reading: &Reading<'_>) {
    eprintln!("{}", text::printable(&mkdump::why_no_modules(reading)));
    if reading.summary.kind == mkdump::SourceKind::Trace {
        for line in advice::HOW_TO_RECORD.lines() {
            eprintln!("  {line}");
        }
    }
}

/// Whether dumps are built of a source's machine: of 32-bit traces they are not.
fn is_built(reading: &Reading<'_>) -> bool {
    reading.summary.kind != mkdump::SourceKind::Trace
        || reading.snapshot.machine.architecture != Some(mkdump::snapshot::Architecture::X86)
}

/// Prints what to do next on stderr.
fn suggest(next: &[Next], talk: TalkArgs) {
    if !talk.quiet {
        let _ = write!(io::stderr(), "{}", summary::next(next, talk));
    }
}

/// Opens the trace or dump that the arguments name.
fn open(source: &SourceArgs) -> Result<Source> {
    let opened = match &*source.etl {
        [] => Source::open_dumps(&source.from_dump),
        traces => Source::open_etls(traces),
    };
    Ok(opened.map_err(mkdump::Error::from)?)
}

/// Where module files are looked for: the directories given, and those of the environment's symbol path.
fn search(modules: &ModulesArgs) -> Search {
    let mut search = Search::new(modules.modules.clone(), &SymbolPath::from_environment());
    if modules.no_cache {
        search.cache = Cache::Off;
    }
    search
}

/// The kernel modules of a source that the arguments select.
fn kernel_modules(reading: &Reading<'_>, select: &SelectArgs) -> Result<Vec<Module>> {
    let names = NameFilter::new(&select.include, &select.exclude)?;
    let moment = select.at.map(|at| reading.moment(Some(at))).transpose().map_err(mkdump::Error::from)?;
    names.require_match(reading.snapshot.modules.iter().filter(|module| module.kernel)).map_err(mkdump::Error::from)?;
    let wanted = |module: &&Module| {
        module.kernel && names.rejects(&module.name).is_none() && moment.is_none_or(|at| module.live_at(at))
    };
    Ok(reading.snapshot.modules.iter().filter(wanted).cloned().collect())
}
