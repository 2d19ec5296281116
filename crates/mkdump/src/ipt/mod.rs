//! What Intel PT data says about the system that it was recorded on.

pub mod choose;
mod hex;
pub mod input;
pub mod names;
mod snapshots;
pub(crate) mod touched;

use crate::source::{Reading, SourceKind};

/// Why there is no Intel PT data, and how to record some.
pub fn why_no_data(reading: &Reading<'_>) -> String {
    let summary = &reading.summary;
    let found = match summary.kind {
        SourceKind::Trace => format!("{} events, none of them with Intel PT data", summary.events),
        SourceKind::Dump(_) => "dumps hold no Intel PT data that is read".to_owned(),
    };
    format!(
        "{found}.\n\
         Windows 1803 and later attach it to up to four kinds of events of a kernel session, when a program asks for it:\n  \
         NtSetSystemInformation(SystemPerformanceTraceInformation) with the classes\n  \
         EventTraceProcessorTraceConfigurationInformation and EventTraceProcessorTraceEventListInformation.\n\
         Neither wpr nor xperf has a public option for it. Record the Loader events in the same session.\n\
         Data saved by hand does as well: --ipt-hex FILE, --ipt-bin FILE"
    )
}
