//! UnloadedModuleList (stream 14): images that were gone when the dump was taken.

use super::streams::{self, Stream, StreamType};
use super::string;
use crate::{AddressRange, BlobId, Error, Layout};

/// `MINIDUMP_UNLOADED_MODULE`, 24 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct UnloadedModule {
    /// Path or file name.
    pub name: String,
    /// Where it was loaded.
    pub base: u64,
    /// `SizeOfImage`.
    pub size: u32,
    /// `CheckSum`.
    pub checksum: u32,
    /// `TimeDateStamp`.
    pub timestamp: u32,
}

impl UnloadedModule {
    /// A module with only its name and addresses known.
    pub fn new(name: impl Into<String>, base: u64, size: u32) -> UnloadedModule {
        UnloadedModule { name: name.into(), base, size, checksum: 0, timestamp: 0 }
    }
}

impl<'a> Stream<'a> for [UnloadedModule] {
    fn stream_type(&self) -> StreamType {
        StreamType::UNLOADED_MODULE_LIST
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let id = layout.reserve();
        let mut list = streams::blob(self.stream_type());
        list.u32(12).u32(24).u32(streams::count32("UnloadedModuleList", self.len())?);
        for module in self {
            if module.size == 0 || AddressRange::new(module.base, module.size.into()).is_none() {
                let structure = format!("unloaded module {:?}: SizeOfImage", module.name);
                let found = format!("{:#x} at base {:#x}", module.size, module.base);
                return Err(Error::rule(structure, found, "1 to the end of the address space", "rust-minidump"));
            }
            let name = string::place(layout, "unloaded module: name", &module.name)?;
            list.u64(module.base).u32(module.size).u32(module.checksum).u32(module.timestamp).rva32(name);
        }
        layout.place(id, list);
        Ok(id)
    }
}
