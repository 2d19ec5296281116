//! An ETW event's name and fields as values: what the numbers in a trace mean.
//!
//! [`etl_file`] finds the events of a trace and reads their headers. A [`Decoder`] says of one of them which it is and what
//! it says: provider and event by name, fields with typed values, a sentence where its provider has one. It reads
//!
//! * kernel events whose records `etl-file` knows,
//! * TraceLogging events, which bring their own schema,
//! * Microsoft-Windows-Kernel-LiveDump and the two events of Microsoft-Windows-WerKernel, by heart ([`live_dump`]),
//! * providers whose instrumentation manifest is given ([`Manifest`]).
//!
//! Of all others it gives id, version and the payload's bytes. Text is given as the payload has it; whoever shows it has to
//! care for characters that drive a terminal.
//!
//! A [`Selection`] says which events are wanted, reads a trace in order of time and counts its kinds; [`Decoder::before`] gives
//! what came before a moment.
//!
//! # Example
//! ```
//! use etl_file::Trace;
//! use etw_decode::{Decoder, Selection, time_text};
//! # let mut file = testkit::trace::TraceFile::new();
//! # file.kernel_base(1, 2_000_030, 0xffff_f800_0000_0000);
//! # let data = file.finish();
//! let trace = Trace::parse(&data)?;
//! let decoder = Decoder::new();
//! let mut selection = Selection::default();
//! selection.events.push("KernelBase".parse()?);
//! let mut events = selection.in_order(&trace)?;
//! let mut lines = Vec::new();
//! while let Some(event) = events.next_event() {
//!     let event = event?;
//!     if selection.admits(&decoder, &event) {
//!         let decoded = decoder.decode(&event);
//!         let time = event.timestamp.map(|tick| time_text(&trace.clock(), tick)).unwrap_or_default();
//!         lines.push(format!("{time} {} {}", decoded.name.event(), decoded.fields[0]));
//!     }
//! }
//! assert_eq!(lines, ["00.1000030 KernelBase base: 0xfffff80000000000"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Untrusted input
//! No event and no manifest panics or hangs. At most 4,096 values are read of an event, texts have at most 1,024 characters
//! and names 256; a manifest has at most 16 MiB and 500,000 elements.
#![forbid(unsafe_code)]

mod before;
mod captures;
mod count;
mod decoder;
mod elapsed;
mod kernel;
mod list;
pub mod live_dump;
mod manifest;
mod select;
mod table;
mod text;
mod trace_logging;
mod typed;
mod value;
mod wer_kernel;

pub use before::Moment;
pub use captures::{Capture, Captures};
pub use count::{KindCount, KindCounts};
pub use decoder::{Decoded, Decoder, EventName, EventNumber};
pub use elapsed::time_text;
pub use list::{List, Listed};
pub use manifest::{Manifest, ManifestError, ManifestErrorKind};
pub use select::{EventChoice, MOST_UNPACKED, ProviderChoice, Selection, TooLarge};
pub use table::{FieldType, Layout};
pub use value::{Field, Value};

/// The README's example, compiled with the crate's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
