//! What became of the files that were fetched, as JSON and as text. `docs/schema/fetch.json` describes the JSON.

use std::path::Path;

use mkdump::report::SCHEMA_VERSION;
use serde::Serialize;
use symstore::fetch::Outcome;
use symstore::{FileKind, ServerFile};

use super::table::Table;
use super::text::{count, grouped, printable};

/// `mkdump fetch --json`.
#[derive(Clone, Debug, Serialize)]
pub struct FetchReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The servers, in the order in which they are asked.
    pub servers: Vec<String>,
    /// The symbol store that files go into; `None` when they are listed.
    pub store: Option<String>,
    /// The files, modules first.
    pub files: Vec<FileReport>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// A file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// File name.
    pub name: String,
    /// `image` or `pdb`.
    pub kind: &'static str,
    /// The symbol server's key.
    pub key: String,
    /// Where it may be, best first.
    pub urls: Vec<String>,
    /// What became of it.
    pub result: FetchResult,
    /// Where it is now.
    pub path: Option<String>,
    /// Why it is not there, or why it may be the wrong file.
    pub reason: Option<String>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum FetchResult {
    /// It was not asked for.
    Listed,
    /// It was in the store.
    Present,
    /// It came.
    Fetched,
    /// No server has it.
    NotThere,
    /// Another file came.
    Discarded,
    /// It could not be had.
    Failed,
    /// The server cannot be reached.
    Unreachable,
}

impl FetchResult {
    /// Whether the servers answered and none has the file.
    pub fn is_nowhere(self) -> bool {
        matches!(self, Self::NotThere | Self::Discarded)
    }

    fn is_here(self) -> bool {
        matches!(self, Self::Present | Self::Fetched)
    }
}

impl FileReport {
    /// A file that is only listed.
    pub fn listed(file: &ServerFile, servers: &[String]) -> Self {
        let kind = match file.kind() {
            FileKind::Image(_) => "image",
            FileKind::Pdb(_) => "pdb",
        };
        let urls = servers.iter().flat_map(|server| file.listing(server)).map(|line| line.url).collect();
        let (name, key) = (file.name().to_string(), file.key().to_owned());
        Self { name, kind, key, urls, result: FetchResult::Listed, path: None, reason: None }
    }

    /// A file that was asked for.
    pub fn of(file: &ServerFile, servers: &[String], outcome: &Outcome) -> Self {
        let shown = |path: &Path| Some(path.to_string_lossy().into_owned());
        let (result, path, reason) = match outcome {
            Outcome::Present { path, doubts } => (FetchResult::Present, shown(path), joined(doubts, None)),
            Outcome::Fetched { path, doubts, damage, .. } => {
                (FetchResult::Fetched, shown(path), joined(doubts, damage.as_deref()))
            }
            Outcome::NotThere => (FetchResult::NotThere, None, None),
            Outcome::Discarded { url, reason } => {
                (FetchResult::Discarded, None, Some(format!("{url} is another file: {reason}")))
            }
            Outcome::Failed { url, reason } => (FetchResult::Failed, None, Some(format!("{url}: {reason}"))),
            Outcome::Unreachable { server, reason } => {
                (FetchResult::Unreachable, None, Some(format!("{server}: {reason}")))
            }
            _ => (FetchResult::Failed, None, None),
        };
        Self { result, path, reason, ..Self::listed(file, servers) }
    }

    /// What became of it, in words.
    fn words(&self) -> String {
        match (self.result, &self.reason) {
            (FetchResult::Listed | FetchResult::Unreachable, _) => "not asked for".into(),
            (FetchResult::Present, None) => "was there".into(),
            (FetchResult::Present, Some(doubt)) => format!("was there; {doubt}"),
            (FetchResult::Fetched, None) => "fetched".into(),
            (FetchResult::Fetched, Some(doubt)) => format!("fetched; {doubt}"),
            (FetchResult::NotThere, _) => "no server has it".into(),
            (FetchResult::Discarded | FetchResult::Failed, reason) => reason.clone().unwrap_or_default(),
        }
    }
}

/// Why a file may be the wrong one, in one sentence.
fn joined(doubts: &[symstore::Doubt], damage: Option<&str>) -> Option<String> {
    let mut words: Vec<String> = doubts.iter().map(ToString::to_string).collect();
    words.extend(damage.map(|damage| format!("it came twice like this: {damage}")));
    (!words.is_empty()).then(|| words.join("; "))
}

impl FetchReport {
    /// A report.
    pub fn new(servers: Vec<String>, store: Option<&Path>, files: Vec<FileReport>, warnings: Vec<String>) -> Self {
        let store = store.map(|store| store.to_string_lossy().into_owned());
        Self { schema_version: SCHEMA_VERSION, servers, store, files, warnings }
    }

    /// How many files are there now.
    pub fn here(&self) -> usize {
        self.files.iter().filter(|file| file.result.is_here()).count()
    }
}

/// What became of the files: those that are not there, and how many are. With `all`, each file.
pub fn summary(report: &FetchReport, all: bool, width: usize) -> String {
    /// Files that are not there and that are named when not all are wanted.
    const NAMED: usize = 20;
    if report.files.is_empty() {
        return "No file is missing.\n".to_owned();
    }
    let listed: Vec<&FileReport> =
        report.files.iter().filter(|file| all || !file.result.is_here() || file.reason.is_some()).collect();
    let shown = if all { listed.len() } else { NAMED };
    let mut table = Table::new(&["file", "key", "result"], &[]).wrapping(&[0, 1, 2]);
    for file in listed.iter().take(shown) {
        table.row([file.name.clone(), file.key.clone(), file.words()]);
    }
    let mut out = if table.is_empty() { String::new() } else { table.render(2, width) };
    if listed.len() > shown {
        out += &format!("  and {} more (-v lists them)\n", grouped((listed.len() - shown) as u64));
    }
    let store = printable(report.store.as_deref().unwrap_or_default());
    let files = count(report.files.len() as u64, "file");
    let fetched = report.files.iter().filter(|file| file.result == FetchResult::Fetched).count();
    let present = report.here() - fetched;
    out += &format!("{} of {files} fetched into {store}", grouped(fetched as u64));
    if present > 0 {
        out += &format!(", {} there before", grouped(present as u64));
    }
    out + "\n"
}
