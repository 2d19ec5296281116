//! Reader and writer of ETW trace files (.etl) on any operating system: buffers, events, typed kernel records, modules
//! over time.
//!
//! # Vocabulary
//! * A **trace** is a file: a run of **buffers**, each holding the **events** of one processor, compressed or not.
//! * An event has a **header** of one of several kinds and a **payload**. Kernel events are named by a **hook id**,
//!   others by a class or provider GUID.
//! * A **record** is what the payload of a known event says.
//! * A **tick** is a raw timestamp of the session's [`Clock`].
//! * A **module** is an image at an address for a while; a **rundown** event says that something was there when the
//!   trace started or ended.
//!
//! # Layers
//! You can stop at any of them: [`Trace::buffers`], then [`Buffer::events`], then [`RawEvent::parse`], then
//! [`Event::record`]. [`Trace::survey`] does the whole walk in parallel and answers with plain values;
//! [`Trace::events_by_time`] merges the processors' events, [`Trace::par_fold`] is for those who need no order.
//! [`mod@write`] is the mirror of the lower layers, and [`Trace::rewrite`] writes a trace of what is to be kept of another.
//!
//! # Example
//! ```
//! use etl_file::{SurveyOptions, Trace};
//! # let mut file = testkit::trace::TraceFile::new();
//! # let base = 0xffff_f800_0000_0000;
//! # file.module(0, 2_000_000, &testkit::trace::Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", base, 0x1000));
//! # let data = file.finish();
//! // `data` is the file: read, or mapped.
//! let trace = Trace::parse(&data)?;
//! let found = trace.survey(&SurveyOptions::default());
//! for module in &found.modules {
//!     println!("{:#x} {:#x} {}", module.base, module.size, module.path);
//! }
//! assert_eq!(found.modules[0].name, "ntoskrnl.exe");
//! assert!(found.warnings.is_empty());
//! # Ok::<(), etl_file::Error>(())
//! ```
//!
//! # Untrusted input
//! No input panics or hangs. Damage is local: it is reported as an [`Error`] with its place and length, and reading goes
//! on at the next buffer. [`Trace::survey`] states how much memory it may take.
//!
//! # Features
//! * `rayon` (default): [`Trace::survey`] and [`Trace::par_fold`] use all threads of rayon's pool. Without it they work
//!   on the calling thread, with the same results.
//! * `serde`: the plain values (modules, processes, the log-file header, records and others) can be serialised and
//!   deserialised. GUIDs become text; ticks and file times become numbers.
#![forbid(unsafe_code)]

mod buffer;
mod bytes;
mod clock;
mod compress;
mod error;
mod event;
mod fold;
mod guid;
mod log_header;
mod merge;
mod parallel;
mod raw;
mod records;
mod survey;
mod timeline;
mod trace;
pub mod write;

pub use buffer::{Buffer, BufferHeader, Buffers};
pub use clock::{Clock, ClockKind, Elapsed, FileTime, Tick};
pub use compress::{CompressionFormat, Scratch, decompress};
pub use error::{Diagnostic, Error, ErrorKind, Result};
pub use event::{Event, EventId, Events, ExtendedItem, ExtendedItems, Filter, ProviderEvent, RawEvent, WppMessage};
pub use fold::Walked;
pub use guid::{Guid, ParseGuidError};
pub use log_header::{LogFileMode, LogHeader};
pub use merge::Merged;
pub use raw::{BufferFlags, BufferType, ExtendedType, HeaderKind, HookId, ProviderGuid};
pub use records::{
    BuildInfo, ConfigCpu, ConfigProcessor, ContextSwitch, DebugId, DeviceFamily, FileVersion, Image, ImageAction,
    ImageId, Ipt, IptOptions, LastBranches, LifeEvent, ProcessRecord, Record, SampledProfile, StackWalk, ThreadRecord,
    VolumeMapping,
};
pub use survey::{
    Counts, CpuInfo, IptEvent, IptSnapshot, Losses, Part, Process, RingOrder, Survey, SurveyOptions, System, Thread,
    Trigger, Volume, WARNINGS_KEPT,
};
pub use timeline::{Module, Pdb, is_kernel_image};
pub use trace::{ReadAhead, Trace};

/// The README's example, compiled with the crate's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
