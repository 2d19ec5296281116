//! `mkdump ipt`: what the Intel PT data of a trace says.

use std::io::{self, Write};

use anyhow::Result;
use mkdump::IptOptions;
use mkdump::ipt::choose::SnapshotChoice;
use mkdump::ipt::why_no_data;
use mkdump::report::ipt::{FileStatus, FlowReport, FlowSummary, IptReport};
use mkdump::report::ipt::{analyse, diagnose, trace_flow};
use mkdump::{Reading, Wanted};
use serde::Serialize;

use super::session::{open, print, print_json, search};
use super::{Outcome, Session};
use crate::args::{IptCommand, SelectArgs, SnapshotArgs};
use crate::show::json::escaped;
use crate::show::next::{Job, Next};
use crate::show::{ipt, width};

/// Shows what the data says, or the flow.
pub fn run(command: &IptCommand, session: &Session) -> Result<Outcome> {
    let options = IptOptions {
        search: search(&command.modules),
        inputs: (&command.ipt).into(),
        choice: choice(&command.choice),
        import_optimization: command.import_optimization.into(),
        retpoline: command.retpoline.into(),
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
    let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut first = true;
    let mut sink = |report: &FlowReport| {
        if command.json {
            out.write_all(if first { b"{\"snapshots\":[\n" } else { b",\n" })?;
            let mut writer = serde_json::Serializer::with_formatter(&mut out, Unseen);
            report.serialize(&mut writer).map_err(io::Error::from)?;
        } else {
            if !first {
                out.write_all(b"\n")?;
            }
            ipt::flow(&mut out, report)?;
        }
        first = false;
        Ok(())
    };
    let mut is_closed = false;
    let mut sink = |report: &FlowReport| {
        sink(report).inspect_err(|error: &io::Error| is_closed = error.kind() == io::ErrorKind::BrokenPipe)
    };
    let summary = match trace_flow(reading, options, &session.bars, &mut sink) {
        // The reader has seen enough, as `head` has.
        Err(_) if is_closed => return Ok(Outcome::Done),
        summary => summary?,
    };
    session.bars.finish();
    if command.json {
        end_json(&mut out, &summary)?;
    }
    out.flush()?;
    session.warn(&summary.warnings);
    if !command.json {
        session.say(&ipt::flow_summary(&summary, width::stderr()));
    }
    Ok(if command.strict && summary.doubt.is_some() { Outcome::Amiss } else { Outcome::Done })
}

/// JSON with the characters that are not seen escaped, written as it comes.
struct Unseen;

impl serde_json::ser::Formatter for Unseen {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        writer.write_all(escaped(fragment).as_bytes())
    }
}

/// Closes the list of snapshots and adds the summary's members to the object around it.
fn end_json(out: &mut impl Write, summary: &FlowSummary) -> Result<()> {
    let members = escaped(&serde_json::to_string(summary)?);
    out.write_all(b"\n],")?;
    out.write_all(members.strip_prefix('{').unwrap_or(&members).as_bytes())?;
    Ok(out.write_all(b"\n")?)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::Unseen;

    #[test]
    fn the_flow_escapes_what_cannot_be_seen() {
        let mut out = Vec::new();
        let name = "a\u{9b}\u{202e}\u{200b}\"\\b.sys";
        name.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Unseen)).unwrap();
        assert_eq!(String::from_utf8(out.clone()).unwrap(), r#""a\u009b\u202e\u200b\"\\b.sys""#);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), name);
    }
}
