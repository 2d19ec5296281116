//! Reader of ETW trace files (.etl) on any operating system: buffers, events, typed kernel records, modules over time.
#![forbid(unsafe_code)]

mod bytes;
mod clock;
mod error;
mod file;
mod guid;
mod raw;
mod survey;

pub use clock::{Clock, ClockKind, Elapsed, FileTime, Tick};
pub use error::{Error, Result};
pub use file::{CompressionFormat, LogFileMode, LogHeader};
pub use guid::Guid;
pub use raw::HookId;
pub use survey::{
    Counts, CpuInfo, IptSnapshot, Module, Pdb, Process, Survey, SurveyOptions, System, Thread, Trigger, Volume,
    WARNINGS_KEPT,
};
