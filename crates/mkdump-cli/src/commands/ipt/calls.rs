//! `mkdump ipt --calls`, `--folded`, `--functions`: which functions ran, and which called which.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use mkdump::report::ipt::{CallsChoice, CallsReport, CallsSummary, list_functions, trace_calls};
use mkdump::{IptOptions, Output, Reading};

use super::stream::Stream;
use crate::args::IptCommand;
use crate::commands::session::{print, print_json};
use crate::commands::{Outcome, Session};
use crate::outputs;
use crate::show::text::{count, printable};
use crate::show::{calls, ipt, width};

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
    if !command.json {
        session.say(&ipt::flow_summary(&summary.summary, width::stderr()));
    }
    if let Some(path) = &args.folded {
        let stacks = write_stacks(path, &summary)?;
        session.say(&format!("{}: {}\n", printable(&path.to_string_lossy()), count(stacks as u64, "stack")));
    }
    Ok(if command.strict && summary.summary.doubt.is_some() { Outcome::Amiss } else { Outcome::Done })
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
        session.say(&ipt::flow_summary(&report.summary, width::stderr()));
    }
    Ok(if command.strict && report.summary.doubt.is_some() { Outcome::Amiss } else { Outcome::Done })
}

/// Writes a line for each stack: names between semicolons, a blank, instructions. Says how many.
fn write_stacks(path: &Path, summary: &CallsSummary) -> Result<usize> {
    // A name may stand for several addresses.
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (stack, instructions) in &summary.stacks {
        let names: Vec<String> = stack.iter().map(|place| calls::name(place).replace(';', ",")).collect();
        *lines.entry(names.join(";")).or_insert(0) += instructions;
    }
    let mut output = Output::create(path).map_err(mkdump::Error::from)?;
    for (line, instructions) in &lines {
        writeln!(output, "{line} {instructions}")?;
    }
    output.commit().map_err(mkdump::Error::from)?;
    Ok(lines.len())
}
