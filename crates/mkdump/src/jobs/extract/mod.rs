//! A trace to share: of another trace, only what a dump needs.
//!
//! Everything goes by event: what is kept of one is read into a record, cut to what is needed, and written anew. Nothing
//! is copied by buffer, so what lies between events, or after a text's end, stays behind.

mod audit;
mod count;
mod keep;
mod path;
mod provider;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use etl_file::write::{Body, Packing, RewriteOptions};
use etl_file::{Filter, HookId, LogHeader, RawEvent, Record, Trace};
use ipt_analysis::input::{from_events, learn_prefix};
use kernel_snapshot::{FileBytes, Progress, Reading, Source, Wanted};

use crate::error::{Error, Result};
use crate::output::Output;

pub use audit::{LeftText, texts};
pub use count::{Count, Counts};
pub use keep::What;
pub use path::shared_path;
pub use provider::{Provider, UnknownProvider};

use keep::{Keeper, SnapshotKey};

/// What the session of a written trace is called.
const LOGGER_NAME: &str = "mkdump extract";

/// What to keep of a trace besides its modules, and where to.
#[derive(Clone, Debug, Default)]
pub struct ExtractOptions {
    /// The trace to write.
    pub output: PathBuf,
    /// Classes and providers whose events are kept with all they say.
    pub providers: Vec<Provider>,
    /// Seconds from the start of the trace: Intel PT data and events of `providers` outside are left out. Modules,
    /// processes and the system are kept whenever they were logged, since they hold from then on.
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
    let trace = match &source.traces()?[..] {
        [trace] => trace.clone(),
        _ => return Err(Error::NotOneTrace { path: source.path().to_owned() }),
    };
    let mut keeper = Keeper::new(&trace, options);
    if !options.snapshots.is_empty() {
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, progress)?;
        keeper.choose(chosen(&reading, &options.snapshots)?);
    }
    progress.phase("choosing events", None);
    let triggers = triggers(&trace, &keeper);
    keeper.tie(triggers);
    let (counts, walked) = trace.par_fold(
        Filter::all(),
        Counts::default,
        |counts, raw| counts.add(&raw, &keeper),
        |counts, later| counts.join(later),
    );
    let keep = |raw: &RawEvent<'_>, body: &mut Body| match keeper.keep(raw) {
        Some(kept) => body.event(&kept.header, &kept.payload),
        None => Ok(()),
    };
    progress.phase("writing the trace", None);
    let written = trace.rewrite(&rewrite_options(&trace, options), &keep, output);
    let (output, rewritten) = written.map_err(|error| Error::write(&options.output, error.into_io()))?;
    output.commit()?;
    let texts = if options.audit { Some(audit_file(&options.output)?) } else { None };
    let warnings = damage(source.path(), &walked.damage);
    Ok(Extract { source_bytes: trace.len(), bytes: rewritten.bytes, counts, texts, warnings })
}

/// The log-file header without names: the machine, the clock and what was lost.
fn rewrite_options(trace: &Trace<'_>, options: &ExtractOptions) -> RewriteOptions {
    let mut header: LogHeader = trace.header().clone();
    header.logger_name = LOGGER_NAME.to_owned();
    header.log_file_name = String::new();
    header.time_zone_bias = 0;
    let mut out = RewriteOptions::of(trace);
    out.header = header;
    out.packing = if options.plain { Packing::Plain } else { Packing::Xpress };
    out.drop_empty = true;
    out
}

/// Processor and time of the events that triggered the Intel PT data which is kept.
fn triggers(trace: &Trace<'_>, keeper: &Keeper) -> HashSet<(u16, etl_file::Tick)> {
    let (found, _) = trace.par_fold(
        &Filter::none().hooks(&[HookId::IPT]),
        HashSet::new,
        |found, raw| {
            let Ok(event) = raw.parse() else { return };
            if let Ok(Record::Ipt(ipt)) = event.record()
                && keeper.wants(&ipt, event.processor)
            {
                found.insert((event.processor, ipt.trigger_time));
            }
        },
        |found, later| found.extend(later),
    );
    found
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
fn audit_file(path: &Path) -> Result<Vec<LeftText>> {
    let file = FileBytes::open(path)?;
    Trace::parse(&file).map(|trace| texts(&trace)).map_err(|error| {
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
