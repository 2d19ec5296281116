//! What a loader writes at the sites that a file lists: the encodings, before and after.

mod function_override;
mod import_optimization;
mod recognise;
mod retpoline;
mod stub_block;

pub(crate) use function_override::LinkedBranch;
pub use import_optimization::{LinkedImport, SLOT_INSTRUCTION};
pub use recognise::{SiteForm, recognise};
pub use retpoline::{Stub, StubBranch, StubOffsets, stub_offset};
pub(crate) use retpoline::{indirect_rewrite, switch_rewrite};
pub(crate) use stub_block::{CHECKED_CALL, GUARDED_CALL};
pub use stub_block::{SharedFunction, StubBlock};

#[cfg(test)]
mod tests;
