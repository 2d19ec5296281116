//! What a loader writes at the sites that a file lists: the encodings, before and after.

mod import_optimization;
mod recognise;
mod retpoline;

pub use import_optimization::{LinkedImport, SLOT_INSTRUCTION};
pub use recognise::{SiteForm, recognise};
pub(crate) use retpoline::{Rewrite, indirect_rewrite, switch_rewrite};
pub use retpoline::{Stub, StubBlock, StubOffsets, stub_offset};

#[cfg(test)]
mod tests;
