//! `mkdump fetch`: missing modules from a symbol server, or where they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use mkdump::snapshot::Module;
use mkdump::{Progress, Wanted};
use symstore::fetch::{FetchOptions, FetchProgress, Outcome as Fetched, fetch};
use symstore::{Doubt, Lookup, MICROSOFT_SERVER, ServerFile, SymbolPath, Wanted as WantedFile};

use super::{Outcome, explain_no_modules, is_built, kernel_modules, open, print, search, suggest, warn};
use crate::args::{FetchCommand, TalkArgs};
use crate::progress::Bars;
use crate::show::next::{Job, Next};
use crate::show::text::{self, Table};

/// Fetches what is missing, or lists it.
pub fn run(command: &FetchCommand, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    let source = open(&command.source)?;
    let reading = source.read(Wanted::default(), &bars).map_err(mkdump::Error::from)?;
    let modules = kernel_modules(&reading, &command.select)?;
    warn(&reading.warnings, talk);
    if modules.is_empty() {
        explain_no_modules(&reading);
        return Ok(Outcome::Done);
    }
    let job = Job { source: &command.source, modules: Some(&command.modules), select: &command.select };
    let index = search(&command.modules).index(&modules, &bars).map_err(mkdump::Error::from)?;
    let missing = mkdump::missing(&modules, &index);
    let mut files = Vec::new();
    let mut amiss = false;
    let mut take = |file: Result<ServerFile, symstore::Unfetchable>| match file {
        Ok(file) => files.push(file),
        Err(error) => {
            amiss = true;
            warn(&[error.to_string()], talk);
        }
    };
    for module in &missing {
        take(ServerFile::image(&mkdump::wanted(module)));
    }
    if command.pdbs {
        for wanted in modules.iter().filter_map(|module| with_pdb(module, &index)) {
            take(ServerFile::pdb(&wanted));
        }
    }
    let environment = SymbolPath::from_environment();
    let servers = servers(&command.symbol_server, &environment);
    if command.list {
        let lines = files.iter().flat_map(|file| servers.iter().flat_map(|server| file.listing(server)));
        print(&lines.map(|line| format!("{line}\n")).collect::<String>())?;
        return Ok(Outcome::Done);
    }
    let store = store(command.store.clone(), &environment);
    let outcomes = fetch_all(&files, &servers, store.clone(), &bars)?;
    bars.finish();
    let mut table = Table::new(&["file", "key", "result"], &[]);
    let mut here = 0;
    for (file, outcome) in files.iter().zip(&outcomes) {
        let (there, words) = describe(outcome);
        here += usize::from(there);
        amiss |= !there;
        table.row([file.name().to_string(), file.key().to_owned(), words]);
    }
    let unreachable = unreachable(&outcomes);
    let no_way = |(server, reason): (&&str, &&str)| format!("{server} cannot be reached: {}", text::printable(reason));
    warn(&unreachable.iter().map(no_way).collect::<Vec<_>>(), talk);
    if here == 0 && !unreachable.is_empty() {
        let list = job.command("fetch").line() + " --list";
        suggest(&[Next::new("list the addresses", list)], talk);
        return Ok(Outcome::Amiss);
    }
    if !talk.quiet && !files.is_empty() {
        eprint!("{}", table.render(2));
        eprintln!("{here} of {} files are in {}", files.len(), store.display());
    } else if !talk.quiet {
        eprintln!("nothing is missing");
    }
    let mut next = Vec::new();
    if here < files.len() {
        let request = job.command("request").option("-m", &store).option("-o", "mkdump-request.ps1");
        next.push(Next::new("ask the trace's owner", request.line()));
    }
    if (here > 0 || files.is_empty()) && is_built(&reading) {
        next.push(Next::new("build the dump", job.build_with(&store, None)));
    }
    suggest(&next, talk);
    Ok(if amiss { Outcome::Amiss } else { Outcome::Done })
}

/// The module with its PDB's identity, from the source or else from its file.
fn with_pdb(module: &Module, index: &symstore::Index) -> Option<WantedFile> {
    let mut wanted = mkdump::wanted(module);
    if wanted.said_pdb().is_none() {
        let Lookup::Found { file, .. } = index.find(&wanted) else { return None };
        let (id, name) = file.pdb()?;
        (wanted.pdb, wanted.pdb_name) = (Some(id), Some(name));
    }
    Some(wanted)
}

/// The servers to ask: those given, else those of the environment, else Microsoft's.
fn servers(given: &[String], environment: &SymbolPath) -> Vec<String> {
    let mut servers = given.to_vec();
    if servers.is_empty() {
        servers = environment.urls().into_iter().map(str::to_owned).collect();
    }
    if servers.is_empty() {
        servers.push(MICROSOFT_SERVER.to_owned());
    }
    servers
}

/// The store that files go into.
pub(super) fn store(given: Option<PathBuf>, environment: &SymbolPath) -> PathBuf {
    given.or_else(|| environment.download_store().cloned()).unwrap_or_else(|| PathBuf::from("symbols"))
}

/// Fetches files with a progress bar.
pub(super) fn fetch_all(files: &[ServerFile], servers: &[String], store: PathBuf, bars: &Bars) -> Result<Vec<Fetched>> {
    bars.phase("fetching", None);
    let received = AtomicU64::new(0);
    let progress = |now: FetchProgress<'_>| {
        bars.advance(now.received.saturating_sub(received.fetch_max(now.received, Ordering::Relaxed)));
    };
    let options = FetchOptions { servers: servers.to_vec(), progress: Some(&progress), ..FetchOptions::new("", store) };
    Ok(fetch(files, &options)?)
}

/// Whether the file is there now, and what happened.
fn describe(outcome: &Fetched) -> (bool, String) {
    match outcome {
        Fetched::Present { doubts, .. } => (true, with_doubts("was there".into(), doubts, None)),
        Fetched::Fetched { url, doubts, damage, .. } => {
            (true, with_doubts(format!("fetched from {url}"), doubts, damage.as_deref()))
        }
        Fetched::Unreachable { .. } => (false, "not asked for".into()),
        Fetched::NotThere => (false, "no server has it".into()),
        Fetched::Discarded { url, reason } => (false, format!("{url} is another file: {reason}")),
        Fetched::Failed { url, reason } => (false, format!("{url}: {}", text::printable(reason))),
        _ => (false, "not fetched".into()),
    }
}

fn with_doubts(mut words: String, doubts: &[Doubt], damage: Option<&str>) -> String {
    for doubt in doubts {
        words += &format!("; {doubt}");
    }
    if let Some(damage) = damage {
        words += &format!("; it came twice like this: {damage}");
    }
    words
}

/// The servers that could not be reached, each once, with the reason.
fn unreachable(outcomes: &[Fetched]) -> BTreeMap<&str, &str> {
    let servers = outcomes.iter().filter_map(|outcome| match outcome {
        Fetched::Unreachable { server, reason } => Some((server.as_str(), reason.as_str())),
        _ => None,
    });
    servers.collect()
}
