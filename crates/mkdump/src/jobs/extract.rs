//! A trace to share: of another trace, only what a dump needs. What that is, `etl-extract` decides.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use etl_extract::{Options, SnapshotKey};
use etl_file::Trace;
use ipt_analysis::input::{from_events, learn_prefix};
use kernel_snapshot::{FileBytes, Progress, Reading, Source, Wanted};

use crate::error::{Error, Result};
use whole_output::Output;

pub use etl_extract::{Count, Counts, LeftText, Provider, UnknownProvider, What};

/// What to keep of a trace besides its modules, and where to.
#[derive(Clone, Debug, Default)]
pub struct ExtractOptions {
    /// The trace to write.
    pub output: PathBuf,
    /// Classes and providers whose events are kept with all they say.
    pub providers: Vec<Provider>,
    /// Seconds from the start of the trace that Intel PT data and events of `providers` are kept of.
    pub time: Option<RangeInclusive<f64>>,
    /// Numbers of Intel PT snapshots, as the `ipt` job counts them; all when empty.
    pub snapshots: Vec<RangeInclusive<usize>>,
    /// Write the buffers as they are, not compressed.
    pub plain: bool,
    /// List every text that is left.
    pub audit: bool,
}

/// What became of a trace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Extract {
    /// Bytes of the trace.
    pub source_bytes: u64,
    /// Bytes of the new one.
    pub bytes: u64,
    /// Events of each kind, kept and left out.
    pub counts: Counts,
    /// Every text that is left; `None` unless it was asked for.
    pub texts: Option<Vec<LeftText>>,
    /// What is damaged, and therefore not in the new trace.
    pub warnings: Vec<String>,
}

/// Writes a trace of what a dump needs.
///
/// # Errors
/// When the source is not one trace, a snapshot is asked for that is not there, or the output cannot be written.
pub fn extract(source: &Source, options: &ExtractOptions, progress: &dyn Progress) -> Result<Extract> {
    // Found out before the long work, if it cannot be written.
    let output = Output::create(&options.output)?;
    let traces = source.traces()?;
    let [trace] = &traces[..] else { return Err(Error::NotOneTrace { path: source.path().to_owned() }) };
    let mut choice = Options { providers: options.providers.clone(), time: options.time.clone(), ..Options::default() };
    choice.plain = options.plain;
    if !options.snapshots.is_empty() {
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, progress)?;
        choice.snapshots = Some(chosen(&reading, &options.snapshots)?);
    }
    progress.phase("writing the trace", None);
    let (output, made) =
        etl_extract::extract(trace, &choice, output).map_err(|error| Error::write(&options.output, error.into_io()))?;
    output.commit()?;
    let texts = if options.audit { Some(audit(&options.output)?) } else { None };
    let warnings = damage(source.path(), &made.damage);
    Ok(Extract { source_bytes: trace.len(), bytes: made.written.bytes, counts: made.counts, texts, warnings })
}

/// The snapshots of these numbers. The trace's own data may count as several where the driver's framing says so.
fn chosen(reading: &Reading<'_>, numbers: &[RangeInclusive<usize>]) -> Result<HashSet<SnapshotKey>> {
    let payloads = reading.ipt.iter().flat_map(|snapshot| snapshot.pieces.iter().map(|piece| &**piece));
    let prefix = learn_prefix(payloads);
    let (mut next, mut chosen) = (0, HashSet::new());
    for snapshot in &reading.ipt {
        let pieces: Vec<&[u8]> = snapshot.pieces.iter().map(|piece| &**piece).collect();
        let end = next + from_events(&pieces, snapshot.ring_offset, prefix).len();
        if numbers.iter().any(|range| *range.start() < end && *range.end() >= next) {
            chosen.insert(SnapshotKey::of(snapshot));
        }
        next = end;
    }
    let name = reading.summary.name.clone();
    match numbers.iter().find(|range| *range.end() >= next) {
        Some(range) => Err(Error::NoIpt { name, why: no_such_snapshot(*range.end(), next) }),
        None => Ok(chosen),
    }
}

fn no_such_snapshot(number: usize, count: usize) -> String {
    match count {
        0 => format!("there is no Intel PT snapshot {number}: the trace has none"),
        1 => format!("there is no Intel PT snapshot {number}: the only one is 0"),
        _ => format!("there is no Intel PT snapshot {number}: they are numbered 0 to {}", count - 1),
    }
}

/// Reads what was written, as its reader will.
fn audit(path: &Path) -> Result<Vec<LeftText>> {
    let file = FileBytes::open(path)?;
    Trace::parse(&file).map(|trace| etl_extract::texts(&trace)).map_err(|error| {
        // Only a device that does not give back what was written to it.
        Error::read(path, std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    })
}

/// Warnings that are told.
const TOLD: usize = 100;

fn damage(path: &Path, found: &[etl_file::Error]) -> Vec<String> {
    let path = path.display();
    let mut told: Vec<String> = found.iter().take(TOLD).map(|error| format!("{path}: {error}")).collect();
    if found.len() > TOLD {
        told.push(format!("{path}: {} more warnings of the same kinds", found.len() - TOLD));
    }
    told
}
