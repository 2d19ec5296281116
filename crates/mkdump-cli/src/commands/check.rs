//! `mkdump check`: is it a dump that debuggers take, and what a real one holds?

use anyhow::{Result, bail};
use mkdump::Search;
use mkdump::check::{CheckOptions, Verdict, check};
use symstore::{Cache, SymbolPath};

use super::{Outcome, print, print_json, warn};
use crate::args::{CheckCommand, TalkArgs};
use crate::progress::Bars;
use crate::show;

/// Checks a dump, and shows what was found.
pub fn run(command: &CheckCommand, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    // Unlike when building, the current directory is not looked through unasked: a dump is often checked next to others.
    let search = Search {
        roots: command.modules.clone(),
        symbol_path: SymbolPath::from_environment().directories(),
        cache: if command.no_cache { Cache::Off } else { Cache::Default },
    };
    let options = CheckOptions { dump: command.dump.clone(), against: command.against.clone(), search };
    let report = check(&options, &bars)?;
    bars.finish();
    warn(&report.warnings, talk);
    if let Some(comparison) = &report.comparison {
        warn(&comparison.warnings, talk);
    }
    if command.json {
        print_json(&report)?;
    } else if !talk.quiet {
        print(&show::check::report(&report, talk.verbose))?;
    }
    match report.verdict() {
        Verdict::Fine => Ok(Outcome::Done),
        Verdict::Broken | Verdict::Different | Verdict::OtherForm => Ok(Outcome::Amiss),
        Verdict::NothingInCommon => {
            let against = command.against.as_deref().unwrap_or(&command.dump);
            bail!(
                "{} and {} hold no byte of the same module at the same base: nothing was compared",
                command.dump.display(),
                against.display()
            )
        }
    }
}
