//! What Intel PT data says about the system that it was recorded on.

pub mod choose;
mod hex;
pub mod input;
pub mod names;
mod snapshots;
pub(crate) mod touched;

pub use snapshots::{InputError, Inputs, Saved, Snapshot, snapshots};

use crate::source::{Reading, SourceKind};

/// Why there is no Intel PT data.
pub fn why_no_data(reading: &Reading<'_>) -> String {
    let summary = &reading.summary;
    match summary.kind {
        SourceKind::Trace => format!("{} events, none of them with Intel PT data", summary.events),
        SourceKind::Dump(_) => "dumps hold no Intel PT data that is read".to_owned(),
    }
}
