//! The jobs' results as JSON: stable names, addresses and sizes and stamps as hexadecimal strings, `null` for what the
//! source does not say. `docs/schema/` describes it.
//!
//! A report is made from a result. Nothing below this module knows of it.

use kernel_code::{Extent, Mode, Modes};
use kernel_snapshot::Summary;
use serde::Serialize;

mod build;
pub mod ipt;
mod modules;
mod overrides;
mod sessions;
mod threads;

pub use crate::hex::Hex;
pub use build::{
    BuildReport, BuiltModule, HeatReport, ImportSites, ModuleHeat, PieceReport, RewrittenSites, SitesReport, Status,
    UnresolvedReport, build,
};
pub use modules::{FileStatus, ModuleReport, ModulesReport, PdbReport, list_modules};
pub use overrides::{KernelCfgReport, OverrideReport, OverrideSites, OverrideVerdictReport, OverrideWayReport};
pub use sessions::{
    BufferReport, FoundReport, IptSettingsReport, LeftOutReport, SavedReport, SessionReport, SessionsReport, SiloReport,
};
pub use threads::{LayoutReport, ThreadReport, ThreadsReport, list_threads};

/// The version of all reports: it grows when a member is removed, or comes to mean something else. New members do not
/// change it.
pub const SCHEMA_VERSION: u32 = 1;

/// A trace or dump, summed up.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// `etl`, or the kind of dump.
    pub kind: &'static str,
    /// File name.
    pub name: String,
    /// Windows version.
    pub os: OsReport,
    /// Number of logical processors.
    pub processors: Option<u32>,
    /// 4 or 8.
    pub pointer_size: u8,
    /// UTC, ISO 8601.
    pub start: Option<String>,
    /// Seconds that the trace covers.
    pub duration: Option<f64>,
    /// Every event with a whole header and body.
    pub events: u64,
    /// Events that the session lost, as the log file header says.
    pub events_lost: u64,
    /// Every buffer whose header is there.
    pub buffers: u64,
    /// Events that carry Intel PT data.
    pub ipt_events: u64,
}

/// A Windows version.
#[derive(Clone, Debug, Serialize)]
pub struct OsReport {
    /// 10 since Windows 10.
    pub major: u32,
    /// 0 since Windows 10.
    pub minor: u32,
    /// Build number.
    pub build: u32,
    /// Update build revision.
    pub revision: Option<u32>,
}

impl From<&Summary> for SourceReport {
    fn from(source: &Summary) -> Self {
        let os = source.os;
        Self {
            kind: source.kind.name(),
            name: source.name.clone(),
            os: OsReport { major: os.major, minor: os.minor, build: os.build, revision: os.revision },
            processors: source.processors,
            pointer_size: source.pointer_size,
            start: source.start.clone(),
            duration: source.duration,
            events: source.events,
            events_lost: source.events_lost,
            buffers: source.buffers,
            ipt_events: source.ipt_events,
        }
    }
}

/// A moment of a trace as seconds from its start; `None` for a dump, and for a trace whose end is not known.
fn seconds(moment: f64) -> Option<f64> {
    moment.is_finite().then_some(moment)
}

/// A load-time change, on or off, and why it is taken to be so.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct ModeReport {
    /// `on`, `off` or, when modules differ, `mixed`.
    pub mode: &'static str,
    /// One sentence.
    pub reason: String,
}

impl From<&Mode> for ModeReport {
    fn from(mode: &Mode) -> Self {
        Self { mode: Extent::from(mode.on).name(), reason: mode.reason.clone() }
    }
}

impl From<&Modes> for ModeReport {
    fn from(modes: &Modes) -> Self {
        Self { mode: modes.extent.name(), reason: modes.reason.clone() }
    }
}
