//! What PDBs say: names of code, and where a thread object has its fields.
//!
//! Which PDB belongs to an image, and where it lies, is `symstore`'s knowledge.

mod error;
mod names;
mod thread_layout;

pub use error::{PdbError, PdbErrorKind};
pub use names::{ModuleFile, Name, Names, SymbolOrigin, Symbols};
pub use thread_layout::thread_layout;
