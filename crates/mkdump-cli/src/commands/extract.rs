//! `mkdump extract`: a trace to share.

use anyhow::{Result, bail};
use etl_extract::{ExtractReport, LeftText, Options, SnapshotKey, choose, extract, texts};
use mkdump::{Output, Source, Wanted};

use super::session::{print, print_json};
use super::{Outcome, Session};
use crate::args::ExtractCommand;
use crate::outputs;
use crate::show::{self, width};

/// Writes the extract, and says what is in it.
pub fn run(command: &ExtractCommand, session: &Session) -> Result<Outcome> {
    outputs::check(&[("--output", &command.output)], &[&command.etl])?;
    let source = Source::open_etl(&command.etl).map_err(mkdump::Error::from)?;
    // Found out before the long work, if it cannot be written.
    let output = Output::create(&command.output).map_err(mkdump::Error::from)?;
    let traces = source.traces().map_err(mkdump::Error::from)?;
    let [trace] = &traces[..] else { bail!("{}: not a trace", command.etl.display()) };
    let mut options = Options::default();
    (options.providers, options.time, options.plain) = (command.keep.clone(), command.time.clone(), command.plain);
    if !command.snapshot.is_empty() {
        let reading = session.read(&source, Wanted { ipt: true, ..Wanted::default() })?;
        let key = |index: usize| SnapshotKey::of(&reading.ipt[index]);
        let numbered: Vec<SnapshotKey> = mkdump::ipt::numbered(&reading).into_iter().map(key).collect();
        let chosen = choose(&numbered, &command.snapshot);
        options.snapshots = Some(chosen.map_err(|error| anyhow::anyhow!("{}: {error}", reading.summary.name))?);
    }
    let (output, made) = extract(trace, &options, output).map_err(|error| {
        anyhow::Error::new(error.into_io()).context(format!("cannot write {}", command.output.display()))
    })?;
    output.commit().map_err(mkdump::Error::from)?;
    let left = command.audit.then(|| audit(command)).transpose()?;
    let report = ExtractReport::new((&command.etl, trace.len()), &command.output, &made, left);
    session.finish(&report.warnings);
    if command.json {
        print_json(&report)?;
    } else {
        print(&show::extract::summary(&report, session.talk.verbose, width::stdout()))?;
    }
    Ok(Outcome::Done)
}

/// Reads what was written, as its reader will.
fn audit(command: &ExtractCommand) -> Result<Vec<LeftText>> {
    let written = Source::open_etl(&command.output).map_err(mkdump::Error::from)?;
    let traces = written.traces().map_err(mkdump::Error::from)?;
    Ok(traces.iter().flat_map(texts).collect())
}
