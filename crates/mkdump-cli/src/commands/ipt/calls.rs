//! `mkdump ipt --calls`, `--folded`, `--functions`: which functions ran, and which called which.

use std::path::Path;

use anyhow::Result;
use mkdump::report::ipt::{CallsChoice, CallsReport, CallsSummary, list_functions, trace_calls, write_folded};
use mkdump::{IptOptions, Output, Reading};

use super::conclude;
use super::stream::Stream;
use crate::args::IptCommand;
use crate::commands::session::{print, print_json};
use crate::commands::{Outcome, Session};
use crate::outputs;
use crate::show::text::{count, printable};
use crate::show::{calls, width};

/// Prints the trees as they come, and writes the stacks.
pub fn run(command: &IptCommand, reading: &Reading<'_>, options: &IptOptions, session: &Session) -> Result<Outcome> {
    let args = &command.calls;
    let named: Vec<_> = args.folded.as_deref().map(|path| ("--folded", path)).into_iter().collect();
    outputs::check(&named, &outputs::of_source(&command.source))?;
    let choice = CallsChoice { last: args.last, depth: args.depth, from: args.from_symbol.clone() };
    let mut stream = Stream::new(command.json);
    let mut sink = |report: &CallsReport| match args.calls {
        true => stream.add(report, |out| calls::tree(out, report)),
        false => Ok(()),
    };
    let summary = trace_calls(reading, options, &choice, &session.bars, &mut sink);
    let Some(summary) = stream.unless_closed(summary)? else { return Ok(Outcome::Done) };
    session.bars.finish();
    if args.calls {
        stream.end(&summary)?;
    }
    session.warn(&summary.summary.warnings);
    let outcome = conclude(command, &summary.summary, session);
    if let Some(path) = &args.folded {
        let stacks = write_stacks(path, &summary)?;
        session.say(&format!("{}: {}\n", printable(&path.to_string_lossy()), count(stacks as u64, "stack")));
    }
    Ok(outcome)
}

/// Lists the functions that ran.
pub fn functions(
    command: &IptCommand,
    reading: &Reading<'_>,
    options: &IptOptions,
    session: &Session,
) -> Result<Outcome> {
    let report = list_functions(reading, options, &session.bars)?;
    session.finish(&report.summary.warnings);
    if command.json {
        print_json(&report)?;
    } else {
        print(&calls::functions(&report, width::stdout()))?;
    }
    Ok(conclude(command, &report.summary, session))
}

/// Writes a line for each stack, and says how many there are.
fn write_stacks(path: &Path, summary: &CallsSummary) -> Result<usize> {
    let mut output = Output::create(path).map_err(mkdump::Error::from)?;
    let named = summary.stacks.iter().map(|(stack, instructions)| (stack.iter().map(calls::name), *instructions));
    let lines = write_folded(&mut output, named)?;
    output.commit().map_err(mkdump::Error::from)?;
    Ok(lines)
}
