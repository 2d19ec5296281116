//! `mkdump extract`: a trace to share.

use anyhow::Result;
use mkdump::{ExtractOptions, Source, extract_trace};

use super::session::{print, print_json};
use super::{Outcome, Session};
use crate::args::ExtractCommand;
use crate::outputs;
use crate::show::{extract, width};

/// Writes the extract, and says what is in it.
pub fn run(command: &ExtractCommand, session: &Session) -> Result<Outcome> {
    outputs::check(&[("--output", &command.output)], &[&command.etl])?;
    let source = Source::open_etl(&command.etl).map_err(mkdump::Error::from)?;
    let options = ExtractOptions {
        output: command.output.clone(),
        providers: command.keep.clone(),
        time: command.time.clone(),
        snapshots: command.snapshot.clone(),
        plain: command.plain,
        audit: command.audit,
    };
    let report = extract_trace(&source, &options, &session.bars)?;
    session.finish(&report.warnings);
    if command.json {
        print_json(&report)?;
        return Ok(Outcome::Done);
    }
    print(&extract::summary(&report, session.talk.verbose, width::stdout()))?;
    Ok(Outcome::Done)
}
