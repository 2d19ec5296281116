//! The call tree of each snapshot.

use std::io;
use std::path::PathBuf;

use ipt_analysis::calls::{CallTree, Kind, Limits, Stacks, View, trees};
use ipt_analysis::transfers::Mark;
use kernel_snapshot::{Progress, Reading};

use super::analyse::IptOptions;
use super::functions::FunctionStarts;
use super::named::{Lacking, Named, batches, with_names};
use crate::error::{Error, Result};

/// The calls of one snapshot.
pub(crate) struct Called<'t, 'a> {
    /// The snapshots and the code that they were followed over.
    pub named: &'t Named<'t, 'a>,
    /// The number of this one.
    pub number: usize,
    /// Which function called which.
    pub tree: CallTree,
}

/// Follows the chosen snapshots, and hands the call tree of each to `sink`, in order. What is missing is collected over
/// all of them, for `then`, and the stacks of all trees.
///
/// Snapshots are followed in parallel, a megabyte at once.
pub(crate) fn calls_with<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&Called<'_, '_>) -> io::Result<()>,
    then: impl FnOnce(&Named<'_, '_>, Lacking<'_, '_>, &Stacks) -> T,
) -> Result<T> {
    with_names(reading, options, progress, |named, mut lacking| {
        let mut stacks = Stacks::default();
        let mut each = |called: &Called<'_, '_>| {
            lacking.quality.push((called.number, called.tree.quality));
            add_missing(&mut lacking, &called.tree);
            stacks.add(&called.tree);
            sink(called)
        };
        follow_all(named, progress, &mut each)
            .map_err(|source| Error::Write { path: PathBuf::from("the calls"), source })?;
        Ok(then(named, lacking, &stacks))
    })
}

fn follow_all(
    named: &Named<'_, '_>,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&Called<'_, '_>) -> io::Result<()>,
) -> io::Result<()> {
    let execution = named.execution;
    let functions = FunctionStarts::new(execution, named.names);
    let packets = named.chosen.packets();
    let unknown_calls = execution.unknown_calls();
    progress.phase("following the calls", Some(packets.iter().map(|bytes| bytes.len() as u64).sum()));
    for batch in batches(named.chosen, &packets) {
        let streams: Vec<&[u8]> = batch.iter().map(|(_, bytes)| *bytes).collect();
        let start = |address| functions.at(address);
        let trees = trees(&execution.code, &start, &unknown_calls, &streams, Limits::default());
        for ((number, bytes), tree) in batch.into_iter().zip(trees) {
            sink(&Called { named, number, tree })?;
            progress.advance(bytes.len() as u64);
        }
    }
    Ok(())
}

fn add_missing(lacking: &mut Lacking<'_, '_>, tree: &CallTree) {
    for line in tree.view(&View::default()) {
        match line.node.kind {
            Kind::Mark(Mark::Missing { at, .. }) => lacking.add_missing(at, line.node.times),
            Kind::Mark(Mark::UnknownCall { at, .. }) => lacking.add_unknown_call(at, line.node.times),
            _ => {}
        }
    }
}
