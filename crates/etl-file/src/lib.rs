//! Reader of ETW trace files (.etl) on any operating system: buffers, events, typed kernel records, modules over time.
#![forbid(unsafe_code)]

mod buffer;
mod bytes;
mod clock;
mod compress;
mod error;
mod event;
mod file;
mod guid;
mod merge;
mod raw;
mod records;
mod survey;
mod timeline;

pub use buffer::{Buffer, BufferHeader, Buffers};
pub use clock::{Clock, ClockKind, Elapsed, FileTime, Tick};
pub use compress::{Scratch, decompress};
pub use error::{Error, Result};
pub use event::{Event, EventId, Events, ExtendedItem, ExtendedItems, Filter, ProviderEvent, RawEvent, WppMessage};
pub use file::{CompressionFormat, LogFileMode, LogHeader, Trace};
pub use guid::Guid;
pub use merge::{Merged, Walked};
pub use raw::{BufferFlags, BufferType, ExtendedType, HeaderKind, HookId, ProviderGuid};
pub use records::{
    BuildInfo, ConfigCpu, ConfigProcessor, ContextSwitch, DebugId, DeviceFamily, FileVersion, Image, ImageAction,
    ImageId, Ipt, IptOptions, LastBranches, LifeEvent, ProcessRecord, Record, SampledProfile, StackWalk, ThreadRecord,
    VolumeMapping,
};
pub use survey::{
    Counts, CpuInfo, IptSnapshot, Module, Pdb, Process, RingOrder, Survey, SurveyOptions, System, Thread, Trigger,
    Volume, WARNINGS_KEPT, survey,
};
