//! A report as one HTML page that needs nothing else: no network, no fonts, no images. What it shows is plain values, so
//! that a test can build any page by hand; text from traces and files is escaped wherever it stands.

mod head;
mod intel_pt;
mod map;
mod tables;
mod text;

use std::fmt::{self, Write};

use mkdump::report::ipt::{QualityReport, SnapshotFacts};
use mkdump::report::{BuildReport, HeatReport, ModeReport, OsReport, Status};

use super::summary::word;
use super::text::{duration, moment, time};
pub use intel_pt::{Snapshot, Votes};
use text::{Grouped, Text};

/// A page's contents.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Name of the trace or dump that the modules are from.
    pub source: String,
    /// Name of the file that was written.
    pub output: String,
    /// What it is, in words: `user minidump`.
    pub format: String,
    /// Its size.
    pub bytes: u64,
    /// What is known of the machine and the recording, as name and value.
    pub facts: Vec<(String, String)>,
    /// What was assumed of load-time changes, and why.
    pub choices: Vec<Choice>,
    /// The files of the source: name and SHA-256.
    pub hashes: Vec<(String, String)>,
    /// What keeps the dump from being all that ran.
    pub shortcomings: Vec<String>,
    /// Modules in any order.
    pub modules: Vec<Module>,
    /// True when there was Intel PT data: then modules without hits are shown as cold, and not as unknown.
    pub has_ipt: bool,
    /// Pages outside of all modules that Intel PT packets name: address and number of packet addresses.
    pub unknown: Vec<(u64, u64)>,
    /// Snapshots of Intel PT data.
    pub snapshots: Vec<Snapshot>,
    /// How well all of them together can be followed over the code in the dump.
    pub quality: Option<QualityReport>,
    /// The votes of the verdict on import optimization, by module.
    pub votes: Vec<Votes>,
    /// Intel PT data that could not be read, each with its place.
    pub gaps: Vec<String>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
    /// What to do next: a description and the line to type.
    pub next: Vec<(String, String)>,
}

/// A load-time change, whether it was applied, and the reason.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `import optimization`.
    pub name: String,
    /// `on`.
    pub mode: String,
    /// A sentence.
    pub reason: String,
}

/// A module of the page.
#[derive(Clone, Debug)]
pub struct Module {
    /// File name.
    pub name: String,
    /// First address.
    pub base: u64,
    /// SizeOfImage.
    pub size: u64,
    /// In the dump or not.
    pub status: Status,
    /// Why not, or what to know.
    pub reason: Option<String>,
    /// The file that its bytes are from.
    pub file: Option<String>,
    /// The version of the file of another build that was found.
    pub have: Option<String>,
    /// The symbol server's key.
    pub key: Option<String>,
    /// Its PDB's name, GUID and age.
    pub pdb: Option<String>,
    /// Bytes of it in the dump.
    pub included: u64,
    /// Import call sites.
    pub sites: Sites,
    /// Packet addresses by 4 KiB page: the page's number in the module, and how many.
    pub heat: Vec<(u64, u64)>,
}

/// Import call sites of a module, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// Rewritten as direct calls.
    pub optimized: u64,
    /// Left as calls through the import address table.
    pub indirect: u64,
    /// Calls of overridden functions.
    pub overridden: u64,
    /// Of these, those that lead to another function than in the file.
    pub repointed: u64,
}

impl Module {
    /// Packet addresses in it.
    fn hits(&self) -> u64 {
        sum(self.heat.iter().map(|page| page.1))
    }

    /// Whether it should be in the dump and is not.
    fn is_absent(&self) -> bool {
        matches!(self.status, Status::Missing | Status::Mismatch)
    }
}

/// The page of a build, as far as its report goes: what to do next is for the caller to add.
impl From<&BuildReport> for Page {
    fn from(report: &BuildReport) -> Self {
        let source = &report.source;
        let OsReport { major, minor, build, revision } = source.os;
        let revision = revision.map_or_else(String::new, |revision| format!(".{revision}"));
        let mut facts = vec![("Windows".to_owned(), format!("{major}.{minor}.{build}{revision}"))];
        let mut fact = |name: &str, value: Option<String>| facts.extend(value.map(|value| (name.to_owned(), value)));
        fact("Processors", source.processors.map(|count| count.to_string()));
        fact("Recorded", source.start.as_deref().map(time));
        fact("Covers", source.duration.map(duration));
        fact("Shown", report.moment.map(|seconds| format!("{} after the start", moment(seconds, 6))));
        fact(
            "Events",
            (source.events > 0).then(|| format!("{}, {} lost", Grouped(source.events), Grouped(source.events_lost))),
        );
        fact("Written by", Some(format!("mkdump {}", env!("CARGO_PKG_VERSION"))));
        let has_overrides = report.modules.iter().any(|module| module.sites.r#override.listed > 0);
        let choice = |name: &str, mode: &ModeReport| Choice {
            name: name.to_owned(),
            mode: mode.mode.to_owned(),
            reason: mode.reason.clone(),
        };
        let heat = report.heat.clone().unwrap_or_default();
        if report.heat.is_some() {
            facts.push(("Intel PT".to_owned(), intel_pt::total(heat.snapshots, heat.bytes)));
        }
        let quality = heat.quality.clone();
        let (snapshots, gaps) = pieces(&heat);
        let mut heats = heat.modules.into_iter();
        let modules = report.modules.iter().map(|module| (module, heats.next().unwrap_or_default()));
        let modules = modules.map(|(module, heat)| Module {
            name: module.name.clone(),
            base: module.base.0,
            size: module.size.0,
            status: module.status,
            reason: module.reason.clone(),
            file: module.file.clone(),
            have: module.file_version.clone(),
            key: module.image_key.clone(),
            pdb: module.pdb.as_ref().map(|pdb| format!("{} {} {:x}", pdb.name, pdb.guid, pdb.age)),
            included: sum(module.ranges.iter().map(|[start, end]| end.0.saturating_sub(start.0))),
            sites: Sites {
                optimized: module.sites.import.optimized,
                indirect: module.sites.import.listed.saturating_sub(module.sites.import.optimized),
                overridden: module.sites.r#override.listed,
                repointed: module.sites.r#override.applied,
            },
            heat: heat.pages,
        });
        Self {
            source: source.name.clone(),
            output: report.output.clone(),
            format: super::summary::format(report.format).to_owned(),
            bytes: report.bytes,
            facts,
            choices: [
                Some(choice("Import optimization", &report.import_optimization)),
                Some(choice("Retpoline", &report.retpoline)),
                has_overrides.then(|| choice("Function overrides", &report.function_overrides)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            modules: modules.collect(),
            has_ipt: report.heat.is_some(),
            unknown: heat.unknown,
            snapshots,
            quality,
            votes: votes(report),
            gaps,
            hashes: report.source_files.iter().map(|file| (file.name.clone(), file.sha256.clone())).collect(),
            shortcomings: report.shortcomings.clone(),
            warnings: report.warnings.clone(),
            next: Vec::new(),
        }
    }
}

/// The snapshots of a build, and what could not be read of them.
fn pieces(heat: &HeatReport) -> (Vec<Snapshot>, Vec<String>) {
    let named = |name: Option<&str>, id: Option<u32>| match (name, id) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (None, Some(id)) => id.to_string(),
        _ => String::new(),
    };
    let snapshots = heat.pieces.iter().map(|piece| {
        let SnapshotFacts { index, time, cpu, pid, tid, process, thread, trigger, file, bytes } = &piece.facts;
        Snapshot {
            number: *index,
            time: *time,
            cpu: *cpu,
            process: named(process.as_deref(), *pid),
            thread: named(thread.as_deref(), *tid),
            event: trigger.as_ref().or(file.as_ref()).cloned().unwrap_or_default(),
            bytes: *bytes,
            hits: piece.hits,
            gaps: piece.gaps,
            followed: piece.quality.clone(),
        }
    });
    let gaps = heat.pieces.iter().flat_map(|piece| {
        piece.errors.iter().map(|(offset, what)| format!("snapshot {}, offset {offset:#x}: {what}", piece.facts.index))
    });
    (snapshots.collect(), gaps.collect())
}

fn votes(report: &BuildReport) -> Vec<Votes> {
    let votes = report.votes.iter().map(|votes| Votes {
        module: votes.name.clone(),
        verdict: votes.import_optimization.to_owned(),
        on: votes.votes_on,
        off: votes.votes_off,
        either: votes.ambiguous,
        neither: votes.contradictory,
    });
    votes.collect()
}

/// The page.
pub fn render(page: &Page) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, page);
    out
}

fn write_page(out: &mut String, page: &Page) -> fmt::Result {
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} · mkdump</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>",
        Text(&page.output),
        include_str!("html/page.css"),
    )?;
    head::header(out, page)?;
    head::verdict(out, page)?;
    tables::absent(out, page)?;
    head::next(out, page)?;
    head::tiles(out, page)?;
    map::section(out, page)?;
    intel_pt::heat(out, page)?;
    intel_pt::votes(out, page)?;
    intel_pt::snapshots(out, page)?;
    tables::table(out, page)?;
    intel_pt::unknown(out, page)?;
    tables::warnings(out, page)?;
    head::facts(out, page)?;
    writeln!(
        out,
        "<footer>Addresses are hexadecimal. The page is complete in itself and loads nothing.</footer>\n\
         </main>\n<script>\n{}</script>\n</body>\n</html>",
        include_str!("html/page.js")
    )
}

/// Parts of a whole as a bar; parts of 0 do not show.
fn bar(out: &mut String, parts: &[(&str, u64)]) -> fmt::Result {
    let total = sum(parts.iter().map(|part| part.1)).max(1) as f64;
    out.write_str("<div class=\"bar\">")?;
    for (class, part) in parts.iter().filter(|part| part.1 > 0) {
        write!(out, "<i class=\"{class}\" style=\"width:{:.2}%\"></i>", *part as f64 / total * 100.0)?;
    }
    out.write_str("</div>")
}

/// 1 to 6 on a logarithmic scale.
fn warmth(hits: u64, most: u64) -> u32 {
    let log = |value: u64| (value.max(1) as f64).ln();
    1 + (log(hits) / log(most).max(0.1) * 5.0).round().clamp(0.0, 5.0) as u32
}

/// A total. The numbers are counts from untrusted files: too large a total stays at the greatest number.
fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

/// A status as the style sheet names it.
fn class(status: Status) -> &'static str {
    match status {
        Status::Included => "included",
        Status::Missing => "missing",
        Status::Mismatch => "mismatch",
        Status::Excluded => "excluded",
    }
}

#[cfg(test)]
mod tests;
