//! A trace to share: of another trace, only what a kernel dump needs.
//!
//! Everything goes by event: what is kept of one is read into a record, cut to what is needed, and written anew. Nothing
//! is copied by buffer, so what lies between events, or after a text's end, stays behind. What is kept is listed; a kind
//! of event that is not known stays out.
//!
//! ```
//! use etl_extract::{Options, What, extract};
//! # let mut file = testkit::trace::TraceFile::new();
//! # let base = 0xffff_f800_0000_0000;
//! # file.system(2_000_000, "ANNAS-PC", 4652);
//! # file.module(0, 2_000_000, &testkit::trace::Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", base, 0x1000));
//! # let data = file.finish();
//! let trace = etl_file::Trace::parse(&data)?;
//! let (share, made) = extract(&trace, &Options::default(), Vec::new())?;
//! assert_eq!(made.counts.kept_as(What::KernelImage), 1);
//! let found = etl_file::Trace::parse(&share)?.survey(&Default::default());
//! assert_eq!(found.system.computer_name, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod audit;
mod count;
mod keep;
mod path;
mod provider;
mod report;

use std::collections::HashSet;
use std::io::Write;
use std::ops::RangeInclusive;

use etl_file::write::{Body, Folding, Packing, RewriteOptions, Rewritten};
use etl_file::{Filter, HookId, LogHeader, RawEvent, Record, Trace};

pub use audit::{LeftText, texts};
pub use count::{Count, Counts};
pub use keep::{NoSuchSnapshot, SnapshotKey, What, choose};
pub use path::shared_path;
pub use provider::{Provider, UnknownProvider};
pub use report::{ExtractReport, KeptReport, LeftOutReport, SCHEMA_VERSION, TextReport, TraceFileReport};

use keep::Keeper;

/// The README's example, compiled with the crate's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What the session of a written trace is called.
const LOGGER_NAME: &str = "mkdump extract";

/// What to keep of a trace besides its modules.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Classes and providers whose events are kept with all they say.
    pub providers: Vec<Provider>,
    /// Seconds from the start of the trace: Intel PT data and events of `providers` outside are left out. Modules,
    /// processes and the system are kept whenever they were logged, since they hold from then on.
    pub time: Option<RangeInclusive<f64>>,
    /// Only these snapshots of Intel PT data; all if `None`.
    pub snapshots: Option<HashSet<SnapshotKey>>,
    /// Write the buffers as they are, not compressed.
    pub plain: bool,
}

/// What became of a trace.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Extract {
    /// The new file.
    pub written: Rewritten,
    /// Events of each kind, kept and left out.
    pub counts: Counts,
}

/// Writes a trace of what a dump needs of another one. Goes over the trace three times, on all threads; memory is that of an
/// index of buffers and of the Intel PT events' times.
///
/// # Errors
/// When the output fails.
pub fn extract<W: Write + Send>(trace: &Trace<'_>, options: &Options, out: W) -> etl_file::write::Result<(W, Extract)> {
    let mut keeper = Keeper::new(trace, options);
    let triggers = triggers(trace, &keeper);
    keeper.tie(triggers);
    let keep = |raw: &RawEvent<'_>, body: &mut Body, counts: &mut Counts| match keeper.keep(raw) {
        Some(kept) => {
            counts.add_kept(&kept);
            body.event(&kept.header, &kept.payload)
        }
        None => {
            counts.add_left_out(raw);
            Ok(())
        }
    };
    let folding = Folding { start: Counts::default, join: Counts::join };
    let (out, written, mut counts) = trace.rewrite_and_fold(&rewrite_options(trace, options), keep, folding, out)?;
    counts.add_log_header();
    Ok((out, Extract { written, counts }))
}

/// The log-file header without names: the machine, the clock and what was lost.
fn rewrite_options(trace: &Trace<'_>, options: &Options) -> RewriteOptions {
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
        Extend::extend,
    );
    found
}
