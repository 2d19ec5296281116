//! The call tree of each snapshot.

use std::io;
use std::path::PathBuf;

use ipt_analysis::calls::{CallTree, Kind, Limits, Stacks, View, trees};
use ipt_analysis::transfers::Mark;
use kernel_snapshot::{Progress, Reading};

use super::analyse::IptOptions;
use super::functions::FunctionStarts;
use super::named::{Lacking, Named, with_names};
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
        let execution = named.execution;
        let functions = FunctionStarts::new(execution, named.names);
        let unknown_calls = execution.unknown_calls();
        let follow = |streams: &[&[u8]]| {
            let start = |address| functions.at(address);
            trees(&execution.code, &start, &unknown_calls, streams, Limits::default())
        };
        let mut stacks = Stacks::default();
        let each = |number, tree: CallTree| {
            lacking.quality.push((number, tree.quality));
            add_missing(&mut lacking, &tree);
            stacks.add(&tree);
            sink(&Called { named, number, tree })
        };
        named
            .follow_each("following the calls", progress, follow, each)
            .map_err(|source| Error::Write { path: PathBuf::from("the calls"), source })?;
        Ok(then(named, lacking, &stacks))
    })
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
