//! Reader of 64-bit kernel dumps: the header that all of them have, and everything in a triage dump.
//!
//! Untrusted input: no bytes make this module panic or hang. Opening a triage dump takes memory of at most 6 times the
//! table of its data blocks, which lies in the file; nothing else is copied. Damage stays local: a driver or data block
//! that points outside the file is an error of its own ([`Triage::drivers`], [`Triage::warnings`]), and the rest is read.
//!
//! Absent is not malformed: what a dump does not have is `None`, or a short count from [`Segments::read`].

mod header;
mod memory;
mod triage;

pub use header::Header;
pub use memory::{Origin, Segment, Segments};
pub(crate) use triage::MAX_PROCESSORS;
pub use triage::{Processor, Triage};
