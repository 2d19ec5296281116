//! The code that ran, for coverage tools.

pub use ipt_analysis::coverage::{CoveredModule, write_drcov, write_offsets};
use kernel_snapshot::{Progress, Reading};

use super::FlowSummary;
use crate::error::Result;
use crate::jobs::ipt::analyse::IptOptions;
use crate::jobs::ipt::covered::covered_with;

/// The code that ran in all chosen snapshots.
#[derive(Clone, Debug)]
pub struct CoverageReport {
    /// The modules with code that ran, by address, with the blocks that ran.
    pub modules: Vec<CoveredModule>,
    /// Blocks in no module.
    pub elsewhere: usize,
    /// What was missing.
    pub summary: FlowSummary,
}

/// Follows the chosen snapshots over the code as it was in memory, and collects the basic blocks that ran.
///
/// Snapshots are followed in parallel, a megabyte at once. Takes memory for the blocks that ran.
///
/// # Errors
/// As [`trace_flow`](super::trace_flow).
pub fn cover(reading: &Reading<'_>, options: &IptOptions, progress: &dyn Progress) -> Result<CoverageReport> {
    covered_with(reading, options, progress, |modules, elsewhere, lacking| CoverageReport {
        modules,
        elsewhere,
        summary: FlowSummary::from(lacking),
    })
}
