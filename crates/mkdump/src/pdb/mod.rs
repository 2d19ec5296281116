//! What PDBs say: names of code, and where a thread object has its fields.
//!
//! Which PDB belongs to an image, and where it lies, is `symstore`'s knowledge.

mod names;
mod thread_layout;

pub use names::{ModuleFile, Names, PdbError, Symbols};
pub use thread_layout::{LayoutError, thread_layout};
