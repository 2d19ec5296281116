//! `mkdump fetch`: missing modules from a symbol server, or where they are.

use std::path::{Path, PathBuf};

use anyhow::Result;
use mkdump::Wanted;
use mkdump::snapshot::Module;
use symstore::fetch::{FetchOptions, FetchProgress, Outcome as Fetched, fetch};
use symstore::{FileKind, Lookup, MICROSOFT_SERVER, ServerFile, SymbolPath, Wanted as WantedFile};

use super::session::{kernel_modules, open, print, print_json, search};
use super::{Outcome, Session};
use crate::args::FetchCommand;
use crate::progress::{Bars, Fetching};
use crate::show::fetch::{FetchReport, FetchResult, FileReport, summary};
use crate::show::next::{Job, Next};
use crate::show::{text, width};

/// Fetches what is missing, or lists it.
pub fn run(command: &FetchCommand, session: &Session) -> Result<Outcome> {
    let bars = &session.bars;
    let source = open(&command.source)?;
    let reading = session.read(&source, Wanted::default())?;
    let modules = kernel_modules(&source, &reading, &command.select)?;
    let mut warnings = reading.warnings.clone();
    session.warn(&warnings);
    let index = search(&command.modules).index(&modules, bars).map_err(mkdump::Error::from)?;
    let (files, unfetchable) = wanted_files(command, &modules, &index);
    session.warn(&unfetchable);
    let environment = SymbolPath::from_environment();
    let servers = servers(&command.symbol_server, &environment);
    warnings.extend(unfetchable.iter().cloned());
    if command.list {
        bars.finish();
        if command.json {
            let files = files.iter().map(|file| FileReport::listed(file, &servers)).collect();
            print_json(&FetchReport::new(servers.clone(), None, files, warnings))?;
        } else {
            let lines = files.iter().flat_map(|file| servers.iter().flat_map(|server| file.listing(server)));
            print(&lines.map(|line| format!("{line}\n")).collect::<String>())?;
        }
        return Ok(Outcome::Done);
    }
    let store = store(command.store.clone(), &environment);
    let outcomes = fetch_all(&files, &servers, store.clone(), bars)?;
    bars.finish();
    let reports: Vec<FileReport> =
        files.iter().zip(&outcomes).map(|(file, outcome)| FileReport::of(file, &servers, outcome)).collect();
    let no_way = unreachable(&outcomes);
    session.warn(&no_way);
    warnings.extend(no_way.iter().cloned());
    let report = FetchReport::new(servers, Some(&store), reports, warnings);
    if command.json {
        print_json(&report)?;
    } else {
        let is_cut_off = report.here() == 0 && !no_way.is_empty();
        if !is_cut_off {
            session.say(&summary(&report, session.talk.verbose, width::stderr()));
        }
        let mut next = next(command, &report, &store, is_cut_off);
        next.retain(|next| mkdump::can_build(&reading) || next.what != BUILD);
        session.suggest(&next);
    }
    let done = report.here() == files.len() && unfetchable.is_empty();
    Ok(if done { Outcome::Done } else { Outcome::Amiss })
}

/// The step after everything is there.
const BUILD: &str = "build the dump";

/// What there is to do after fetching.
fn next(command: &FetchCommand, report: &FetchReport, store: &Path, is_cut_off: bool) -> Vec<Next> {
    let job = Job { source: &command.source, modules: Some(&command.modules), select: &command.select };
    if is_cut_off {
        return vec![Next::new("list the addresses", job.command("fetch").line() + " --list")];
    }
    let mut next = Vec::new();
    // A script asks for modules that no server has. PDBs are nowhere but on servers, and a server that failed may still
    // have the file.
    if report.files.iter().any(|file| file.kind == "image" && file.result.is_nowhere()) {
        let mut request = job.command("request");
        if !job.covers(store) {
            request = request.option("-m", store);
        }
        next.push(Next::new("ask the trace's owner", request.option("-o", "mkdump-request.ps1").line()));
    }
    if report.files.iter().any(|file| file.result == FetchResult::Failed) {
        next.push(Next::new("try again", job.command("fetch").option("--store", store).line()));
    }
    if report.here() > 0 || report.files.is_empty() {
        next.push(Next::new(BUILD, job.build_with(store, None)));
    }
    next
}

/// The files to fetch, and what cannot be asked for.
fn wanted_files(command: &FetchCommand, modules: &[Module], index: &symstore::Index) -> (Vec<ServerFile>, Vec<String>) {
    let (mut files, mut unfetchable) = (Vec::new(), Vec::new());
    let mut take = |file: Result<ServerFile, symstore::Unfetchable>| match file {
        Ok(file) => files.push(file),
        Err(error) => unfetchable.push(error.to_string()),
    };
    for module in mkdump::missing(modules, index) {
        take(ServerFile::image(&mkdump::wanted(module)));
    }
    if command.pdbs {
        for wanted in modules.iter().filter_map(|module| with_pdb(module, index)) {
            take(ServerFile::pdb(&wanted));
        }
    }
    (files, unfetchable)
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

/// Fetches files, and shows how far it is.
pub(super) fn fetch_all(files: &[ServerFile], servers: &[String], store: PathBuf, bars: &Bars) -> Result<Vec<Fetched>> {
    let fetching = Fetching::new(bars, files.len() as u64);
    let piece = |now: FetchProgress<'_>| fetching.received(&place(now.file), now.received);
    let finished = |_: &ServerFile, _: &Fetched| fetching.finished();
    let options = FetchOptions {
        servers: servers.to_vec(),
        progress: Some(&piece),
        finished: Some(&finished),
        ..FetchOptions::new("", store)
    };
    Ok(fetch(files, &options)?)
}

/// What tells one file from another.
fn place(file: &ServerFile) -> String {
    let kind = match file.kind() {
        FileKind::Image(_) => "image",
        FileKind::Pdb(_) => "pdb",
    };
    format!("{kind} {} {}", file.name(), file.key())
}

/// The servers that could not be reached, each once, with the reason.
fn unreachable(outcomes: &[Fetched]) -> Vec<String> {
    let servers: std::collections::BTreeMap<&str, &str> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Fetched::Unreachable { server, reason } => Some((server.as_str(), reason.as_str())),
            _ => None,
        })
        .collect();
    let told = |(server, reason): (&&str, &&str)| format!("{server} cannot be reached: {}", text::printable(reason));
    servers.iter().map(told).collect()
}
