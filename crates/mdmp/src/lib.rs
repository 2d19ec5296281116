//! Writer of Windows minidumps (user MDMP and kernel triage) from plain values and lazily pulled memory.
#![forbid(unsafe_code)]

mod bytes;
mod context;
pub mod elf;
mod emit;
mod error;
pub mod kernel;
mod memory;
mod plan;
mod raw;
pub mod read;
pub mod user;
mod validate;

pub use context::{Context, amd64, arm64, x86};
pub use error::Error;
pub use memory::{AddressRange, Fill, Memory, MemoryRange, Protection};
pub use plan::{Blob, BlobId, Extent, Layout, Plan};
pub use raw::{RawDirectory, RawFile};
pub use validate::{Finding, Format, RULES, Report, Rule, Severity, validate};
