//! What was done, as JSON.

use std::path::Path;

use serde::Serialize;

use crate::{Count, Extract, LeftText, What};

/// The version of the report: it grows when a member is removed, or comes to mean something else.
pub const SCHEMA_VERSION: u32 = 1;

/// Warnings that are listed one by one; the others are counted.
const TOLD: usize = 100;

impl ExtractReport {
    /// Of a trace of `source_bytes` bytes, and of what was made of it. `texts`: every text that is left, if it was asked
    /// for.
    pub fn new(source: (&Path, u64), output: &Path, made: &Extract, texts: Option<Vec<LeftText>>) -> Self {
        let (path, source_bytes) = source;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut warnings: Vec<String> =
            made.written.damage.iter().take(TOLD).map(|error| format!("{}: {error}", path.display())).collect();
        if made.written.damage.len() > TOLD {
            let more = made.written.damage.len() - TOLD;
            warnings.push(format!("{}: {more} more warnings of the same kinds", path.display()));
        }
        if made.counts.kept_as(What::KernelImage) == 0 {
            warnings.push(format!("{}: it names no kernel modules, so the extract names none", path.display()));
        }
        Self {
            schema_version: SCHEMA_VERSION,
            source: TraceFileReport { name: name(path), bytes: source_bytes },
            output: TraceFileReport { name: name(output), bytes: made.written.bytes },
            kept: made.counts.kept().map(KeptReport::from).collect(),
            left_out: made.counts.left_out().into_iter().map(LeftOutReport::from).collect(),
            paths_cut: made.counts.paths_cut,
            texts: texts.map(|texts| texts.into_iter().map(TextReport::from).collect()),
            warnings,
        }
    }
}

/// `mkdump extract`: what of a trace is in the new one.
#[derive(Clone, Debug, Serialize)]
pub struct ExtractReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The trace.
    pub source: TraceFileReport,
    /// The new one.
    pub output: TraceFileReport,
    /// Events that were kept, by kind.
    pub kept: Vec<KeptReport>,
    /// Events that were left out, the most frequent kind first.
    pub left_out: Vec<LeftOutReport>,
    /// Events of which a path was cut to a file name.
    pub paths_cut: u64,
    /// Every text that is left; `None` unless it was asked for.
    pub texts: Option<Vec<TextReport>>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// A trace file.
#[derive(Clone, Debug, Serialize)]
pub struct TraceFileReport {
    /// File name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Events of one kind that were kept.
#[derive(Clone, Debug, Serialize)]
pub struct KeptReport {
    /// Kind.
    pub kind: &'static str,
    /// How many.
    pub events: u64,
    /// What of each is in the new trace.
    pub keeps: &'static str,
}

/// Events of one kind that were left out.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOutReport {
    /// A kernel class by its name, another class or provider by its GUID.
    pub kind: String,
    /// How many.
    pub events: u64,
}

/// A text that is left.
#[derive(Clone, Debug, Serialize)]
pub struct TextReport {
    /// Where it stands.
    pub place: &'static str,
    /// The text.
    pub text: String,
    /// How many events hold it.
    pub events: u64,
}

impl From<(What, u64)> for KeptReport {
    fn from((what, events): (What, u64)) -> Self {
        Self { kind: what.name(), events, keeps: what.keeps() }
    }
}

impl From<Count> for LeftOutReport {
    fn from(count: Count) -> Self {
        Self { kind: count.kind, events: count.events }
    }
}

impl From<LeftText> for TextReport {
    fn from(left: LeftText) -> Self {
        Self { place: left.place, text: left.text, events: left.events }
    }
}
