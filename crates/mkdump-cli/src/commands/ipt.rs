//! `mkdump ipt`: what the Intel PT data of a trace says.

use anyhow::Result;
use mkdump::IptOptions;
use mkdump::ipt::choose::SnapshotChoice;
use mkdump::ipt::why_no_data;
use mkdump::report::ipt::{FileStatus, FlowReport, FlowSummary, IptReport};
use mkdump::report::ipt::{analyse, diagnose, trace_flow};
use mkdump::{Reading, Wanted};

use self::stream::Stream;
use super::session::{open, print, print_json, search};
use super::{Outcome, Session};
use crate::args::{IptCommand, SelectArgs, SnapshotArgs};
use crate::show::next::{Job, Next};
use crate::show::{ipt, width};

mod calls;
mod context;
mod coverage;
mod stream;

/// Shows what the data says, or the flow.
pub fn run(command: &IptCommand, session: &Session) -> Result<Outcome> {
    let options = IptOptions {
        search: search(&command.modules),
        inputs: (&command.ipt).into(),
        choice: choice(&command.choice),
        import_optimization: command.import_optimization.into(),
        retpoline: command.retpoline.into(),
        function_overrides: command.overrides.function_override.into(),
        capabilities: command.overrides.cpu_features.clone(),
        evidence: command.evidence,
    };
    let source = open(&command.source)?;
    let reading = session.read(&source, Wanted { ipt: true, ..Wanted::default() })?;
    if command.diagnose {
        session.bars.finish();
        print(&diagnose(&reading))?;
        return Ok(Outcome::Done);
    }
    if command.trace_flow {
        return flow(command, &reading, &options, session);
    }
    if command.calls.calls || command.calls.folded.is_some() {
        return calls::run(command, &reading, &options, session);
    }
    if command.calls.functions {
        return calls::functions(command, &reading, &options, session);
    }
    if let Some(path) = &command.calls.coverage {
        return coverage::run(command, path, &reading, &options, session);
    }
    let report = analyse(&reading, &options, &session.bars)?;
    session.finish(&report.warnings);
    let outcome = if command.strict && report.doubt().is_some() { Outcome::Amiss } else { Outcome::Done };
    if command.json {
        print_json(&report)?;
    } else {
        session.introduce(&reading);
    }
    if report.snapshots.is_empty() {
        let name = reading.summary.name.clone();
        return Err(mkdump::Error::NoIpt { name, why: why_no_data(&reading) }.into());
    }
    if reading.snapshot.modules.iter().all(|module| !module.kernel) {
        session.warn(&[format!("{}: {}", reading.summary.name, mkdump::why_no_modules(&reading))]);
    }
    if !command.json {
        print(&ipt::report(&report, session.talk.verbose, width::stdout()))?;
        if let Some(most) = command.context {
            print(&context::text(most.into(), &source, &reading, &report)?)?;
        }
        session.suggest(&after_report(command, &report));
    }
    Ok(outcome)
}

/// After a report: get the modules that the data reaches, build a dump of them, read what ran.
fn after_report(command: &IptCommand, report: &IptReport) -> Vec<Next> {
    let select = SelectArgs::default();
    let job = Job { source: &command.source, modules: Some(&command.modules), select: &select };
    let with_data = |name| {
        let words = command.ipt.ipt_hex.iter().fold(job.command(name), |words, file| words.option("--ipt-hex", file));
        command.ipt.ipt_bin.iter().fold(words, |words, file| words.option("--ipt-bin", file))
    };
    let with = |status| report.modules.iter().any(|module| module.status == status);
    let mut next = Vec::new();
    if cfg!(feature = "fetch") && with(FileStatus::Missing) {
        next.push(Next::new("get the missing modules", job.command("fetch").line()));
    }
    if with(FileStatus::Present) {
        next.push(Next::new("build a dump of these modules", format!("{} --touched", with_data("").line())));
        next.push(Next::new("see the calls", format!("{} --calls", with_data("ipt").line())));
        next.push(Next::new("read what ran", format!("{} --trace-flow", with_data("ipt").line())));
    }
    next
}

fn choice(args: &SnapshotArgs) -> SnapshotChoice {
    SnapshotChoice {
        numbers: args.snapshot.clone(),
        from: args.from,
        to: args.to,
        cpus: args.cpu.clone(),
        processes: args.process.clone(),
        threads: args.thread.clone(),
    }
}

/// Prints the flow as it comes: it may be far larger than memory.
fn flow(command: &IptCommand, reading: &Reading<'_>, options: &IptOptions, session: &Session) -> Result<Outcome> {
    let mut stream = Stream::new(command.json);
    let mut sink = |report: &FlowReport| stream.add(report, |out| ipt::flow(out, report));
    let summary = trace_flow(reading, options, &session.bars, &mut sink);
    let Some(summary) = stream.unless_closed(summary)? else { return Ok(Outcome::Done) };
    session.bars.finish();
    stream.end(&summary)?;
    session.warn(&summary.warnings);
    Ok(conclude(command, &summary, session))
}

/// Says what following lacked, and whether that counts as an error.
fn conclude(command: &IptCommand, summary: &FlowSummary, session: &Session) -> Outcome {
    if !command.json {
        session.say(&ipt::flow_summary(summary, width::stderr()));
    }
    if command.strict && summary.doubt.is_some() { Outcome::Amiss } else { Outcome::Done }
}
