//! `mkdump modules`: what a trace or dump names.

use std::path::Path;

use anyhow::{Result, bail};
use mkdump::{ListOptions, NameFilter, Reading, Wanted};

use super::session::{open, print, print_json, search};
use super::{Outcome, Session};
use crate::args::{ModulesArgs, ModulesCommand};
use crate::show::next::{Job, Next};
use crate::show::{modules, width};

/// Lists the modules of a source.
pub fn run(command: &ModulesCommand, session: &Session) -> Result<Outcome> {
    let source = open(&command.source)?;
    let reading = session.read(&source, Wanted { user_modules: command.user, ..Wanted::default() })?;
    let places = ModulesArgs { modules: command.modules.clone(), no_cache: command.no_cache };
    let options = ListOptions {
        names: NameFilter::new(&command.select.include, &command.select.exclude)?,
        at: command.select.at,
        user: command.user,
        search: (!command.modules.is_empty()).then(|| search(&places)),
    };
    let report = mkdump::list_modules(&reading, &options, &session.bars)?;
    session.finish(&report.warnings);
    if command.json {
        print_json(&report)?;
    } else {
        session.introduce(&reading);
    }
    if report.modules.is_empty() {
        let is_there = reading.snapshot.modules.iter().any(|module| module.kernel || command.user);
        match command.select.at {
            Some(at) if is_there => bail!("--at: none of the modules was loaded at {at}"),
            _ => return Err(mkdump::no_modules(&source, &reading).into()),
        }
    }
    if !command.json {
        print(&modules::table(&report, session.talk.verbose, width::stdout()))?;
        session.say(&modules::remarks(&report));
        session.suggest(&after_modules(command, &places, &reading));
    }
    Ok(Outcome::Done)
}

/// After a list: get the files, then build. Files are fetched, and dumps are built, of kernel modules only.
fn after_modules(command: &ModulesCommand, places: &ModulesArgs, reading: &Reading<'_>) -> Vec<Next> {
    if reading.snapshot.modules.iter().all(|module| !module.kernel) {
        return Vec::new();
    }
    let places = (!places.modules.is_empty()).then_some(places);
    let job = Job { source: &command.source, modules: places, select: &command.select };
    let mut next = Vec::new();
    let mut store = Path::new(".");
    if cfg!(feature = "fetch") {
        store = Path::new("symbols");
        next.push(Next::new("get the files", job.command("fetch").option("--store", store).line()));
    }
    if mkdump::can_build(reading) {
        next.push(Next::new("build the dump", job.build_with(store, None)));
    }
    next
}
