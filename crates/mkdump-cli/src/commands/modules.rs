//! `mkdump modules`: what a trace or dump names.

use std::path::Path;

use anyhow::Result;
use mkdump::{ListOptions, NameFilter, Reading, Wanted};

use super::{Outcome, explain_no_modules, is_built, open, print, print_json, suggest, warn};
use crate::args::{ModulesCommand, TalkArgs};
use crate::progress::Bars;
use crate::show::next::{Job, Next};
use crate::show::{summary, text};

/// Lists the modules of a source.
pub fn run(command: &ModulesCommand, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    let source = open(&command.source)?;
    let reading =
        source.read(Wanted { user_modules: command.user, ..Wanted::default() }, &bars).map_err(mkdump::Error::from)?;
    let options = ListOptions {
        names: NameFilter::new(&command.select.include, &command.select.exclude)?,
        at: command.select.at,
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
        eprintln!(
            "{:<width$}  {}",
            "",
            summary::machine(&reading.snapshot.machine),
            width = report.source.name.chars().count()
        );
    }
    if !report.modules.is_empty() {
        print(&text::modules(&report))?;
    }
    if report.modules.is_empty() && !talk.quiet {
        let kernel = reading.snapshot.modules.iter().any(|module| module.kernel);
        match kernel {
            true => eprintln!("no module matches"),
            false => {
                explain_no_modules(&reading);
                if !command.user {
                    eprintln!("--user lists modules of user processes, if the trace names any.");
                }
            }
        }
    } else if report.modules.iter().any(|module| module.kernel) {
        // Files are fetched, and dumps are built, of kernel modules only.
        suggest(&after_modules(command, &reading), talk);
    }
    Ok(Outcome::Done)
}

/// After a list: get the files, then build.
fn after_modules(command: &ModulesCommand, reading: &Reading<'_>) -> Vec<Next> {
    let job = Job { source: &command.source, modules: None, select: &command.select };
    let mut next = Vec::new();
    let is_built = is_built(reading);
    if cfg!(feature = "fetch") {
        let store = Path::new("symbols");
        next.push(Next::new("get the files", job.command("fetch").option("--store", store).line()));
        if is_built {
            next.push(Next::new("build the dump", job.build_with(store, None)));
        }
    } else if is_built {
        next.push(Next::new("build the dump", job.build_with(Path::new("."), None)));
    }
    next
}
