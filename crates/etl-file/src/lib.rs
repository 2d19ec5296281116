//! Reader of ETW trace files (.etl) on any operating system: buffers, events, typed kernel records, modules over time.
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
//! One may stop at any of them: [`Trace::buffers`], then [`Buffer::events`], then [`RawEvent::parse`], then
//! [`Event::record`]. [`survey`] does the whole walk in parallel and answers with plain values;
//! [`Trace::events_by_time`] merges the processors' events, [`Trace::walk_unordered`] is for those who need no order.
//!
//! # Example
//! ```
//! use etl_file::{SurveyOptions, Trace, survey};
//! # let mut file = testkit::trace::TraceFile::new();
//! # let base = 0xffff_f800_0000_0000;
//! # file.module(0, 2_000_000, &testkit::trace::Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", base, 0x1000));
//! # let data = file.finish();
//! // `data` is the file: read, or mapped.
//! let trace = Trace::open(&data)?;
//! let found = survey(&trace, &SurveyOptions::default(), &|_bytes_done| ());
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
//! on at the next buffer. Memory is what [`survey`] states.
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
    Counts, CpuInfo, IptEvent, IptSnapshot, Losses, Part, Process, RingOrder, Survey, SurveyOptions, System, Thread,
    Trigger, Volume, WARNINGS_KEPT, survey,
};
pub use timeline::{Module, Pdb};
