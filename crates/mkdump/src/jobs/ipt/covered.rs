//! The code that ran, over all chosen snapshots.

use std::collections::BTreeMap;

use ipt_analysis::coverage::{Covered, CoveredModule, coverage, join};
use kernel_snapshot::{Progress, Reading};

use super::analyse::IptOptions;
use super::named::{Lacking, Named, with_names};
use crate::error::{Error, Result};

/// Follows the chosen snapshots, and hands the code that ran, by module, to `then` with how many blocks are in no module and what
/// is missing.
pub(crate) fn covered_with<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    then: impl FnOnce(Vec<CoveredModule>, usize, Lacking<'_, '_>) -> T,
) -> Result<T> {
    with_names(reading, options, progress, |named, mut lacking| {
        let execution = named.execution;
        let unknown_calls = execution.unknown_calls();
        let follow = |streams: &[&[u8]]| coverage(&execution.code, &unknown_calls, streams);
        let mut blocks = BTreeMap::new();
        let each = |number: usize, covered: Covered| {
            lacking.quality.push((number, covered.quality));
            covered.missing.iter().for_each(|(address, times)| lacking.add_missing(*address, *times));
            covered.unknown_calls.iter().for_each(|(site, times)| lacking.add_unknown_call(*site, *times));
            join(&mut blocks, covered.blocks);
            Ok::<(), Error>(())
        };
        named.follow_each("collecting the code that ran", progress, follow, each)?;
        let (modules, elsewhere) = by_module(named, &blocks);
        Ok(then(modules, elsewhere, lacking))
    })
}

/// The blocks by module, in the order of addresses, and how many are in no module.
fn by_module(named: &Named<'_, '_>, blocks: &BTreeMap<u64, u64>) -> (Vec<CoveredModule>, usize) {
    let execution = named.execution;
    let mut modules: Vec<CoveredModule> = Vec::new();
    let mut elsewhere = 0;
    for (start, end) in blocks {
        let place = execution.layout.place(*start);
        let size = u16::try_from(end - start).ok();
        let (Some(module), Ok(offset), Some(size)) = (place.module, u32::try_from(place.offset), size) else {
            elsewhere += 1;
            continue;
        };
        let module = &execution.entry(module).module;
        // Blocks come in the order of addresses, and so do modules.
        if modules.last().is_none_or(|last| last.base != module.base) {
            modules.push(CoveredModule {
                name: module.name.clone(),
                path: module.path.clone(),
                base: module.base,
                size: module.size,
                checksum: module.checksum.unwrap_or(0),
                timestamp: module.timestamp.unwrap_or(0),
                blocks: Vec::new(),
            });
        }
        modules.last_mut().expect("it was just added").blocks.push((offset, size));
    }
    (modules, elsewhere)
}
