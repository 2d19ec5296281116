//! The trace sessions that a Windows kernel dump holds: found, listed, and saved as trace files.
//!
//! ETW sessions keep their events in buffers in the kernel's memory, and many sessions keep them nowhere else. A full or
//! bitmap dump has all of that memory; [`read`] takes it as [`Memory`] at addresses, with the plain facts of a [`Kernel`],
//! and gives [`Sessions`] as plain values. [`secondary::read`] does the same with the copy that the kernel puts behind a
//! triage dump. [`save`] writes a session as a trace that every reader of traces takes.
//!
//! Where the kernel has its structures differs by build and update. [`Found`] says which of four ways led there; a
//! layout that fits nowhere is [`UnknownLayout`], never a guess.
//!
//! Untrusted input: no bytes make this crate panic or hang. Lists end at the first entry that was seen before, and no
//! more bytes are read of lists and buffers than the dump has ([`Kernel::held`]).
//!
//! ```
//! use etw_sessions::{Kernel, UnknownLayout};
//!
//! // Empty memory, and a kernel about which nothing is known.
//! let nothing: &[u8] = &[];
//! let error: UnknownLayout = etw_sessions::read(&nothing, &Kernel::default()).unwrap_err();
//! assert_eq!(error.pdb, None);
//! ```
#![forbid(unsafe_code)]

mod buffer;
mod choose;
mod contexts;
mod kernel;
mod layout;
mod machine;
mod memory;
mod ring;
mod save;
pub mod secondary;
mod session;
mod silos;
mod types;
mod warning;

pub use buffer::{BufferState, SessionBuffer};
pub use choose::NoSuchSession;
pub use contexts::{UnknownLayout, read};
pub use etl_file::{FileTime, Guid, Tick};
pub use kernel::Kernel;
pub use layout::{Found, KnownKernel, Layout, Slots, known_kernels};
pub use machine::Machine;
pub use memory::Memory;
pub use save::{SaveError, SaveErrorKind, Saved, save};
pub use session::{IptSettings, LeftOut, Reference, Session, SessionSource, Sessions, Silo};
pub use types::{KernelTypes, PdbKey, StructLayout, names};
pub use warning::{Place, Warning};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
