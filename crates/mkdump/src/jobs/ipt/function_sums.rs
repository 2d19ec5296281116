//! The functions that ran, over all chosen snapshots.

use std::collections::BTreeMap;

use ipt_analysis::functions::{Ran, Sums, functions};
use kernel_snapshot::{Progress, Reading};

use super::analyse::IptOptions;
use super::functions::FunctionStarts;
use super::named::{Lacking, Named, with_names};
use crate::error::{Error, Result};

/// A function over all snapshots.
#[derive(Debug, Default)]
pub(crate) struct Total {
    /// What ran.
    pub sums: Sums,
    /// Snapshots that it ran in.
    pub snapshots: u64,
    /// When the first of these was taken, and the last, as far as that is known.
    pub times: Option<(f64, f64)>,
}

/// Follows the chosen snapshots, and hands the functions that ran, by address, to `then` with what is missing.
pub(crate) fn function_sums_with<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    then: impl FnOnce(&Named<'_, '_>, Lacking<'_, '_>, &BTreeMap<u64, Total>) -> T,
) -> Result<T> {
    with_names(reading, options, progress, |named, mut lacking| {
        let execution = named.execution;
        let starts = FunctionStarts::new(execution, named.names);
        let unknown_calls = execution.unknown_calls();
        let follow = |streams: &[&[u8]]| {
            let start = |address| starts.at(address);
            functions(&execution.code, &start, &unknown_calls, streams)
        };
        let mut totals: BTreeMap<u64, Total> = BTreeMap::new();
        let each = |number: usize, ran: Ran| {
            lacking.quality.push((number, ran.quality));
            ran.missing.iter().for_each(|(address, times)| lacking.add_missing(*address, *times));
            let time = named.chosen.facts[number].time;
            for (function, sums) in ran.functions {
                sums.unknown_calls.iter().for_each(|(site, times)| lacking.add_unknown_call(*site, *times));
                totals.entry(function).or_default().add(sums, time);
            }
            Ok::<(), Error>(())
        };
        named.follow_each("adding up functions", progress, follow, each)?;
        Ok(then(named, lacking, &totals))
    })
}

impl Total {
    fn add(&mut self, sums: Sums, time: Option<f64>) {
        self.sums.calls += sums.calls;
        self.sums.instructions += sums.instructions;
        self.sums.total += sums.total;
        for (site, times) in sums.unknown_calls {
            *self.sums.unknown_calls.entry(site).or_insert(0) += times;
        }
        self.snapshots += 1;
        if let Some(time) = time {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
    }
}
