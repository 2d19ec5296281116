//! Where Intel PT packets name addresses in the modules of a build: what the HTML page draws.

use crate::ipt::touched::{Placed, Stream, touched};
use crate::report::{BuildReport, HeatReport, ModuleHeat, Status};

/// Scans Intel PT data for the addresses that its packets name, and counts them by page of the build's modules. Of modules
/// that held the same addresses at different times, one that is left out gets none.
pub fn heat(report: &BuildReport, streams: &[Stream<'_>]) -> HeatReport {
    // Of two modules at one place the scan takes the later one.
    let standing = |status| matches!(status, Status::Included | Status::Missing | Status::Mismatch);
    let mut order: Vec<usize> = (0..report.modules.len()).collect();
    order.sort_by_key(|&index| standing(report.modules[index].status));
    let placed = |&index: &usize| {
        let module = &report.modules[index];
        Placed { name: module.name.clone(), base: module.base.0, size: module.size.0 }
    };
    let found = touched(&order.iter().map(placed).collect::<Vec<_>>(), streams);
    let mut modules = vec![ModuleHeat::default(); report.modules.len()];
    for (index, hits) in order.into_iter().zip(found.modules) {
        modules[index].pages = hits.by_page.into_iter().collect();
    }
    HeatReport {
        snapshots: streams.len() as u64,
        bytes: streams.iter().map(|stream| stream.bytes.len() as u64).sum(),
        modules,
        unknown: found.unknown.iter().map(|page| (page.address, page.hits)).collect(),
    }
}
