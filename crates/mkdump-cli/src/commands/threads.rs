//! `mkdump threads`: the threads that a triage dump holds something of.

use std::path::Path;

use anyhow::Result;
use mkdump::{Search, Source, Wanted};
use mkdump::{ThreadListOptions, list_threads};
use symstore::SymbolPath;

use super::{Outcome, print, print_json, suggest, warn};
use crate::args::{ModulesArgs, SelectArgs, SourceArgs, TalkArgs, ThreadsCommand};
use crate::progress::Bars;
use crate::show::next::{Job, Next};
use crate::show::{text, threads};

/// Lists the threads of a dump.
pub fn run(command: &ThreadsCommand, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    let source = Source::open_dumps(&command.dumps).map_err(mkdump::Error::from)?;
    let reading = source.read(Wanted::default(), &bars).map_err(mkdump::Error::from)?;
    let options = ThreadListOptions {
        pdb: command.pdb.clone(),
        // No default here: the current directory is no symbol store, and looking through it would take its time.
        search: Search {
            roots: command.modules.clone(),
            symbol_path: SymbolPath::from_environment().directories(),
            ..Search::default()
        },
        process_offset: command.process_offset,
        addresses: command.address.clone(),
        processes: command.process.clone(),
    };
    let report = list_threads(&reading, &options, &bars)?;
    bars.finish();
    warn(&report.warnings, talk);
    if command.json {
        print_json(&report)?;
        return Ok(Outcome::Done);
    }
    if !talk.quiet {
        eprintln!("{}: {}", text::printable(&report.source.name), text::source(&report.source));
    }
    print(&threads::table(&report))?;
    if !talk.quiet {
        eprint!("{}", threads::remarks(&report));
    }
    suggest(&after_list(command), talk);
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
