//! The data directories: where the tables of a file lie.

use crate::addr::Rva;

/// A data directory by its meaning: IMAGE_DIRECTORY_ENTRY_* of winnt.h, whose numbers these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum DirectoryKind {
    /// Exported names and ordinals.
    Export = 0,
    /// Descriptors of imported DLLs.
    Import = 1,
    /// The tree of resources.
    Resource = 2,
    /// Functions and their unwind data (`.pdata`).
    Exception = 3,
    /// Signatures; the only directory whose place is a file offset.
    Security = 4,
    /// Base relocations.
    BaseRelocation = 5,
    /// Debug information, among it the reference to the PDB.
    Debug = 6,
    /// Reserved for architecture-specific data.
    Architecture = 7,
    /// The global pointer's value.
    GlobalPointer = 8,
    /// Thread-local storage.
    Tls = 9,
    /// The load configuration.
    LoadConfig = 10,
    /// Bound import descriptors.
    BoundImport = 11,
    /// The import address table: the slots of all DLLs side by side.
    Iat = 12,
    /// Descriptors of DLLs that are loaded at the first call.
    DelayImport = 13,
    /// The header of the .NET runtime.
    ClrRuntime = 14,
}

/// IMAGE_DATA_DIRECTORY: a table's place and size in bytes. A place of 0 means that the file has no such table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Directory {
    /// First byte.
    pub rva: Rva,
    /// Bytes.
    pub size: u32,
}
