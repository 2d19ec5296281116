//! The executed code of each snapshot, in order, as places in modules with names.

use std::io;
use std::path::PathBuf;

use ipt_analysis::flow::{Limits, Trace, follow};
use kernel_snapshot::{Progress, Reading};

use super::analyse::IptOptions;
use super::named::{Lacking, Named, with_names};
use crate::error::{Error, Result};

/// The flow of one snapshot.
pub(crate) struct Traced<'t, 'a> {
    /// The snapshots and the code that they were followed over.
    pub named: &'t Named<'t, 'a>,
    /// The number of this one.
    pub number: usize,
    /// What happened.
    pub trace: Trace,
}

/// Follows the chosen snapshots over the code as it was in memory, and hands the flow of each to `sink`, in order. What
/// is missing is collected over all of them, for `then`.
///
/// Snapshots are followed in parallel, a megabyte at once: a byte of packets gives up to six entries of less than 100
/// bytes each. A single larger snapshot takes memory of up to 1 GiB, where its list is cut.
pub(crate) fn trace_flow_with<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(Traced<'_, '_>) -> io::Result<()>,
    then: impl FnOnce(Lacking<'_, '_>) -> T,
) -> Result<T> {
    with_names(reading, options, progress, |named, mut lacking| {
        let execution = named.execution;
        let unknown_calls = execution.unknown_calls();
        let traces =
            |streams: &[&[u8]]| follow(&execution.code, &execution.layout, &unknown_calls, streams, Limits::default());
        let each = |number, trace: Trace| {
            lacking.quality.push((number, trace.quality));
            trace.missing.iter().for_each(|(address, times)| lacking.add_missing(*address, u64::from(*times)));
            trace.unknown_calls.iter().for_each(|(site, times)| lacking.add_unknown_call(*site, u64::from(*times)));
            sink(Traced { named, number, trace })
        };
        named
            .follow_each("following the flow", progress, traces, each)
            .map_err(|source| Error::Write { path: PathBuf::from("the flow"), source })?;
        Ok(then(lacking))
    })
}
