//! The dynamic value relocation table: where a linker lists the places that a loader may change, by kind.
//!
//! ```text
//! table:    u32 Version (1 or 2) | u32 Size of what follows | entries
//! entry 1:  Symbol (u64, or u32 in a 32-bit image) | u32 BaseRelocSize | that many bytes
//! entry 2:  u32 HeaderSize | u32 FixupInfoSize | Symbol | u32 SymbolGroup | u32 Flags | … | FixupInfoSize bytes
//! ```
//!
//! This module says what the file says. What a loader makes of it is in [`crate::MappedImage`].

mod address;
mod arm64;
mod arm64x;
mod decision;
mod function_override;
mod import_transfer;
mod indirect;
mod records;
mod switch;
mod table;

pub use address::AddressConstants;
pub use arm64::Arm64ImportTransfer;
pub use arm64x::{Arm64xFixup, Arm64xFixups};
pub use decision::{Bdd, BddNode, OverrideChoice, OverrideTarget};
pub use function_override::{FunctionOverride, FunctionOverrides, OverrideSite, OverrideSiteKind};
pub use import_transfer::{ImportTransfer, SITE_SIZE};
pub use indirect::IndirectTransfer;
pub(crate) use records::block_records;
pub use records::{PageRecord, Records};
pub use switch::SwitchBranch;
pub use table::{Dvrt, DvrtEntry, Fixups, Symbol};
