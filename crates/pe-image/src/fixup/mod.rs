//! What a loader writes at the sites that a file lists: the encodings, before and after.

mod import_optimization;
mod recognise;
mod retpoline;

pub use import_optimization::{LinkedImport, SLOT_INSTRUCTION};
pub use recognise::{SiteForm, recognise};
pub use retpoline::{Stub, StubBlock, StubBranch, StubOffsets, stub_offset};
pub(crate) use retpoline::{indirect_rewrite, switch_rewrite};

#[cfg(test)]
mod tests;
