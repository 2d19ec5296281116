//! Base relocations: the absolute addresses in an image.
//!
//! ```text
//! block:   u32 page RVA | u32 SizeOfBlock (these 8 bytes included) | u16 record | u16 record | …
//! record:  type:4 | offset in the page:12
//! ```
//!
//! The same blocks, with other records, make up the dynamic relocation table.

use crate::addr::Rva;
use crate::bytes;
use crate::directory::DirectoryKind;
use crate::error::{Error, Place, Result};
use crate::file::PeFile;

/// The bytes of a block's header.
const BLOCK_HEADER: usize = 8;

/// A block of records that belong to one page (IMAGE_BASE_RELOCATION).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Block<'a> {
    /// The RVA from which the records count; a page's first byte in all known files.
    pub page: Rva,
    /// The records' bytes.
    pub records: &'a [u8],
    /// Where the block's header lies.
    pub place: Place,
}

/// The blocks of a table, in order. Ends at the first block that is malformed, after reporting it: nothing says where
/// the next one starts.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    bytes: &'a [u8],
    rva: u32,
}

impl<'a> Blocks<'a> {
    /// Blocks that lie at `rva`.
    pub(crate) fn new(bytes: &'a [u8], rva: Rva) -> Self {
        Self { bytes, rva: rva.0 }
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let place = Place::Rva(Rva(self.rva));
        let have = self.bytes.len();
        let bytes = std::mem::take(&mut self.bytes);
        let (Some(page), Some(size)) = (bytes::u32_at(bytes, 0), bytes::u32_at(bytes, 4)) else {
            return Some(Err(Error::truncated(place, "IMAGE_BASE_RELOCATION", BLOCK_HEADER as u64, have as u64)));
        };
        if page == 0 && size == 0 {
            // Some linkers fill the table's end with zeros.
            return None;
        }
        let Some(records) = bytes.get(BLOCK_HEADER..size as usize) else {
            let allowed = format!("8 to {have:#x}");
            return Some(Err(Error::field(place, "IMAGE_BASE_RELOCATION", "SizeOfBlock", size, allowed)));
        };
        self.bytes = &bytes[size as usize..];
        self.rva = self.rva.wrapping_add(size);
        Some(Ok(Block { page: Rva(page), records, place }))
    }
}

/// The kind of a base relocation: IMAGE_REL_BASED_* of winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RelocationKind(pub u8);

impl RelocationKind {
    /// Padding.
    pub const ABSOLUTE: Self = Self(0);
    /// The upper half of a 32-bit address: 2 bytes.
    pub const HIGH: Self = Self(1);
    /// The lower half of a 32-bit address: 2 bytes.
    pub const LOW: Self = Self(2);
    /// A 32-bit address: 4 bytes.
    pub const HIGHLOW: Self = Self(3);
    /// A 64-bit address: 8 bytes.
    pub const DIR64: Self = Self(10);

    /// Bytes that are changed; 0 for padding, `None` for kinds that no image of the machines known here uses.
    pub fn size(self) -> Option<u32> {
        match self {
            Self::ABSOLUTE => Some(0),
            Self::HIGH | Self::LOW => Some(2),
            Self::HIGHLOW => Some(4),
            Self::DIR64 => Some(8),
            _ => None,
        }
    }
}

/// One base relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relocation {
    /// First byte that is changed.
    pub rva: Rva,
    /// What is changed there.
    pub kind: RelocationKind,
}

impl Relocation {
    /// The relocated bytes: `delta` (load base less the file's base) added to what is there. `bytes` holds the
    /// relocation's [size](RelocationKind::size).
    pub(crate) fn apply(self, bytes: &mut [u8], delta: u64) {
        match (self.kind, bytes.len()) {
            (RelocationKind::DIR64, 8) => {
                let value = bytes::u64_at(bytes, 0).expect("8 bytes");
                bytes.copy_from_slice(&value.wrapping_add(delta).to_le_bytes());
            }
            (RelocationKind::HIGHLOW, 4) => {
                let value = bytes::u32_at(bytes, 0).expect("4 bytes");
                bytes.copy_from_slice(&value.wrapping_add(delta as u32).to_le_bytes());
            }
            (RelocationKind::LOW, 2) => {
                let value = bytes::u16_at(bytes, 0).expect("2 bytes");
                bytes.copy_from_slice(&value.wrapping_add(delta as u16).to_le_bytes());
            }
            (RelocationKind::HIGH, 2) => {
                let value = u32::from(bytes::u16_at(bytes, 0).expect("2 bytes")) << 16;
                let value = value.wrapping_add(delta as u32) >> 16;
                bytes.copy_from_slice(&(value as u16).to_le_bytes());
            }
            _ => {}
        }
    }
}

impl<'a> Block<'a> {
    /// The block's records as base relocations, padding left out.
    pub fn relocations(&self) -> impl Iterator<Item = Relocation> + use<'a> {
        let page = self.page.0;
        self.records.chunks_exact(2).filter_map(move |raw| {
            let raw = bytes::u16_at(raw, 0)?;
            let kind = RelocationKind((raw >> 12) as u8);
            let rva = Rva(page.checked_add(u32::from(raw & 0xfff))?);
            (kind != RelocationKind::ABSOLUTE).then_some(Relocation { rva, kind })
        })
    }
}

impl<'a> PeFile<'a> {
    /// The blocks of the base relocation table; none when the file has no such table.
    ///
    /// # Errors
    /// When the directory does not lie in the file.
    pub fn relocation_blocks(&self) -> Result<Blocks<'a>> {
        let Some(directory) = self.headers().directory(DirectoryKind::BaseRelocation) else {
            return Ok(Blocks::new(&[], Rva(0)));
        };
        let bytes = self.bytes_at(directory.rva, directory.size, "base relocation table")?;
        Ok(Blocks::new(bytes, directory.rva))
    }
}

#[cfg(test)]
mod tests;
