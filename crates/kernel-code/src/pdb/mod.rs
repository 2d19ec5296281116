//! What PDBs say: names of code, where a thread object has its fields, and where trace sessions have theirs.
//!
//! Which PDB belongs to an image, and where it lies, is `symstore`'s knowledge.

mod error;
mod kernel_types;
mod names;
mod structures;
mod thread_layout;

pub use error::{PdbError, PdbErrorKind};
pub use kernel_types::kernel_types;
pub use names::{ModuleFile, Name, Names, SymbolOrigin, Symbols};
pub use thread_layout::thread_layout;
