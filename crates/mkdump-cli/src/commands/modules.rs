//! `mkdump modules`: what a trace or dump names.

use anyhow::Result;
use mkdump::{ListOptions, NameFilter, Wanted};

use super::{Outcome, open, print, print_json, warn};
use crate::args::{ModulesCommand, TalkArgs};
use crate::progress::Bars;
use crate::show::text;

/// Lists the modules of a source.
pub fn run(command: &ModulesCommand, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    let source = open(&command.source)?;
    let reading = source.read(Wanted { user_modules: command.user, ..Wanted::default() }, &bars)?;
    let options = ListOptions {
        names: NameFilter::new(&command.select.include, &command.select.exclude)?,
        at: command.select.at.clone(),
        user: command.user,
    };
    let report = mkdump::list_modules(&reading, &options)?;
    bars.finish();
    warn(&report.warnings, talk);
    if command.json {
        print_json(&report)?;
        return Ok(Outcome::Done);
    }
    if !talk.quiet {
        eprintln!("{}: {}", text::printable(&report.source.name), text::source(&report.source));
        if reading.snapshot.modules.is_empty() {
            eprintln!("{}", mkdump::why_no_modules(&reading));
        }
    }
    if !report.modules.is_empty() {
        print(&text::modules(&report))?;
    }
    Ok(Outcome::Done)
}
