//! Intel PT data of a trace and of files, made ready for the crate `ipt-analysis`.

mod facts;
mod input_error;
mod snapshots;
mod streams;

pub(crate) use facts::facts;
pub use input_error::{InputError, InputErrorKind};
pub use ipt_analysis::choose;
pub(crate) use snapshots::pieces;
pub use snapshots::{Inputs, Saved, numbered, snapshots};
pub(crate) use streams::StreamsQuality;

use kernel_snapshot::{Reading, SourceKind};

/// Why there is no Intel PT data.
pub fn why_no_data(reading: &Reading<'_>) -> String {
    let summary = &reading.summary;
    match summary.kind {
        SourceKind::Trace => {
            let siblings = reading.siblings_may_hold("some");
            format!("{} events, none of them with Intel PT data{siblings}", summary.events)
        }
        SourceKind::Dump(_) => "dumps hold no Intel PT data that is read".to_owned(),
    }
}
