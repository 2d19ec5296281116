//! What a Windows trace or dump says about a kernel's memory over time.
//!
//! A [`Source`] is an opened ETW trace, or a dump of any kind. Reading it once gives a [`Reading`], whose [`Snapshot`] is
//! the plain list of what was loaded, where and when. A [`dump::Dump`] also gives memory at addresses, and
//! [`threads::threads`] finds the threads in what a triage dump captured.
//!
//! ```no_run
//! use kernel_snapshot::{Silent, Source, Wanted};
//!
//! let source = Source::open_etl("trace.etl".as_ref())?;
//! let reading = source.read(Wanted::default(), &Silent)?;
//! for module in reading.snapshot.modules.iter().filter(|module| module.kernel) {
//!     println!("{:#x} {}", module.base, module.name);
//! }
//! # Ok::<(), kernel_snapshot::SourceError>(())
//! ```
#![deny(unsafe_code)]

pub mod dump;
mod file_bytes;
mod kind;
mod moment;
mod progress;
mod snapshot;
mod source;
pub mod threads;

pub use file_bytes::{FileBytes, ReadError};
pub use kind::FileKind;
pub use moment::{Moment, MomentError, Moments};
pub use progress::{Progress, Silent};
pub use snapshot::{Architecture, Machine, Module, OsVersion, Pdb, Snapshot, address_map};
pub use source::{Held, OtherRecording, Reading, Source, SourceError, SourceErrorKind, SourceKind, Summary, Wanted};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
