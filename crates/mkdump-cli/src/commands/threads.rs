//! `mkdump threads`: the threads that a triage dump holds something of.

use std::path::Path;

use anyhow::Result;
use mkdump::{Source, Wanted};
use mkdump::{ThreadListOptions, list_threads};
use symstore::SymbolPath;

use super::session::{print, print_json, search_given};
use super::{Outcome, Session};
use crate::args::{ModulesArgs, SelectArgs, SourceArgs, ThreadsCommand};
use crate::show::next::{Job, Next};
use crate::show::{threads, width};

/// Lists the threads of a dump.
pub fn run(command: &ThreadsCommand, session: &Session) -> Result<Outcome> {
    let source = Source::open_dumps(&command.dumps).map_err(mkdump::Error::from)?;
    let reading = session.read(&source, Wanted::default())?;
    let options = ThreadListOptions {
        pdb: command.pdb.clone(),
        // Without a default: the current directory is not a symbol store, and looking through it would take its time.
        search: search_given(&ModulesArgs { modules: command.modules.clone(), no_cache: false }),
        process_offset: command.process_offset,
        addresses: command.address.clone(),
        processes: command.process.clone(),
    };
    let report = list_threads(&reading, &options, &session.bars)?;
    session.finish(&report.warnings);
    if command.json {
        print_json(&report)?;
        return Ok(Outcome::Done);
    }
    session.introduce(&reading);
    print(&threads::table(&report, width::stdout()))?;
    session.say(&threads::remarks(&report));
    session.suggest(&after_list(command));
    Ok(Outcome::Done)
}

/// After a list: a dump with the threads and the code that they run.
fn after_list(command: &ThreadsCommand) -> Vec<Next> {
    let source = SourceArgs { etl: Vec::new(), from_dump: command.dumps.clone() };
    let modules = ModulesArgs { modules: command.modules.clone(), no_cache: false };
    let select = SelectArgs::default();
    let job = Job { source: &source, modules: Some(&modules), select: &select };
    let mut next = Vec::new();
    // Without a directory the build would look through the current one, where no module file needs to be.
    if command.modules.is_empty() && SymbolPath::from_environment().directories().is_empty() {
        let store = Path::new("symbols");
        if cfg!(feature = "fetch") {
            next.push(Next::new("get the modules' files", job.command("fetch").option("--store", store).line()));
        }
        next.push(Next::new(
            "build a dump with them",
            format!("{} --threads", job.build_with(Path::new("symbols"), None)),
        ));
    } else {
        next.push(Next::new("build a dump with them", format!("{} --threads", job.command("").line())));
    }
    next
}
