//! What a loader writes at the sites that a file lists: the encodings, before and after.

mod import_optimization;
mod recognise;
mod retpoline;

pub(crate) use import_optimization::{direct, through_register, through_stub};
pub use import_optimization::{LinkedImport, SITE_SIZE};
pub use recognise::{SiteForm, recognise};
pub use retpoline::{StubBlock, StubOffsets};
pub(crate) use retpoline::{Rewrite, indirect_rewrite, switch_rewrite};

#[cfg(test)]
mod tests;
