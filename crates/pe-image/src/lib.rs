//! A Windows kernel PE image as the kernel has it in memory: relocated, bound, with the load-time changes to its code.
#![forbid(unsafe_code)]
mod addr;
mod bytes;
mod error;
mod header;
pub use addr::{PAGE_SIZE, Rva, sign_extend};
pub use error::{Error, Place, Result};
pub use header::{Directory, Headers, Machine, Section};
mod file;
mod identity;
pub use file::PeFile;
pub use identity::{CodeView, Identity, IdentityError, PdbChecksum, image_key};
mod policy;
pub use policy::{ImportCalls, Policy};
