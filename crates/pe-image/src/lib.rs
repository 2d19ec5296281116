//! A Windows kernel PE image as the kernel has it in memory: relocated, bound, with the load-time changes to its code.
#![forbid(unsafe_code)]

mod addr;
mod api_set;
mod bind;
mod bytes;
mod dvrt;
mod error;
mod exports;
mod file;
mod fixup;
mod header;
mod identity;
mod image;
mod imports;
mod load_config;
mod policy;
mod relocate;
mod site;
mod version;

pub use addr::{PAGE_SIZE, Rva, sign_extend};
pub use api_set::ApiSets;
pub use bind::{Binding, Module, Modules, Rule, Slot, Target, Unbound};
pub use dvrt::{
    AddressConstants, Arm64ImportTransfer, Arm64xFixup, Arm64xFixups, Bdd, BddNode, Dvrt, DvrtEntry, Fixups,
    FunctionOverride, FunctionOverrides, ImportTransfer, IndirectTransfer, OverrideSite, OverrideSiteKind, PageRecord,
    Records, SwitchBranch, Symbol,
};
pub use error::{Error, Place, Result};
pub use exports::{Export, Exports};
pub use file::PeFile;
pub use fixup::{LinkedImport, SITE_SIZE, SiteForm, Stub, StubBlock, StubOffsets, recognise, stub_offset};
pub use header::{Directory, Headers, Machine, Section};
pub use identity::{CodeView, Identity, IdentityError, PdbChecksum, image_key, pdb_key};
pub use image::{ImageRange, MappedImage, Piece, Pieces, RangeKind, Selection};
pub use imports::{Import, ImportName, ImportedDll, Imports};
pub use load_config::LoadConfig;
pub use policy::{ImportCalls, Policy};
pub use relocate::{Block, Blocks, Relocation, RelocationKind};
pub use site::{Counts, ImportCounts, Outcome, Reason, RewriteCounts, Site, SiteKind};
pub use version::Version;
