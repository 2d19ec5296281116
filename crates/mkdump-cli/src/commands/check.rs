//! `mkdump check`: is it a dump that debuggers take, and what a real one holds?

use anyhow::{Result, bail};
use mkdump::check::{CheckOptions, Verdict, check};

use super::session::{print, print_json, search_given};
use super::{Outcome, Session};
use crate::args::{CheckCommand, ModulesArgs};
use crate::show::{self, width};

/// Checks a dump, and shows what was found.
pub fn run(command: &CheckCommand, session: &Session) -> Result<Outcome> {
    // Unlike when building, the current directory is not looked through unasked: a dump is often checked next to others.
    let modules = ModulesArgs { modules: command.modules.clone(), no_cache: command.no_cache };
    let options =
        CheckOptions { dump: command.dump.clone(), against: command.against.clone(), search: search_given(&modules) };
    let report = check(&options, &session.bars)?;
    session.finish(&report.warnings);
    if let Some(comparison) = &report.comparison {
        session.warn(&comparison.warnings);
    }
    if command.json {
        print_json(&report)?;
    } else if !session.talk.quiet {
        print(&show::check::report(&report, session.talk.verbose, width::stdout()))?;
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
