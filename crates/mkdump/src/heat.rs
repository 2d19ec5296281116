//! Where Intel PT packets name addresses in the modules of a build: what the HTML page draws.

use crate::ipt::touched::{Stream, Touched};
use crate::report::{HeatReport, ModuleHeat};

/// What a scan of Intel PT data found, by page of each module.
pub(crate) fn heat(touched: &Touched, streams: &[Stream<'_>]) -> HeatReport {
    let pages =
        |hits: &crate::ipt::touched::ModuleHits| hits.by_page.iter().map(|(&page, &hits)| (page, hits)).collect();
    HeatReport {
        snapshots: streams.len() as u64,
        bytes: streams.iter().map(|stream| stream.bytes.len() as u64).sum(),
        modules: touched.modules.iter().map(|hits| ModuleHeat { pages: pages(hits) }).collect(),
        unknown: touched.unknown.iter().map(|page| (page.address, page.hits)).collect(),
    }
}
