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
use crate::header::Machine;

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
    /// On 32-bit ARM, a 32-bit address in the immediates of a Thumb MOVW and the MOVT after it: 8 bytes. RISC-V uses the
    /// same number for something else.
    pub const THUMB_MOV32: Self = Self(7);
    /// A 64-bit address: 8 bytes.
    pub const DIR64: Self = Self(10);

    /// Bytes that are changed in an image for `machine`; 0 for padding, `None` for kinds that are not known there.
    pub fn size(self, machine: Machine) -> Option<u32> {
        match self {
            Self::ABSOLUTE => Some(0),
            Self::HIGH | Self::LOW => Some(2),
            Self::HIGHLOW => Some(4),
            Self::DIR64 => Some(8),
            Self::THUMB_MOV32 if machine == Machine::ARM => Some(8),
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
    /// True when the file's bytes there can be relocated. Only a pair of MOVW and MOVT has to have a certain form.
    pub(crate) fn suits(self, bytes: &[u8]) -> bool {
        self.kind != RelocationKind::THUMB_MOV32 || thumb_address(bytes).is_some()
    }

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
            (RelocationKind::THUMB_MOV32, 8) => {
                // The sum is of all 32 bits: adding to each half by itself would lose the carry.
                if let Some(value) = thumb_address(bytes) {
                    let value = value.wrapping_add(delta as u32);
                    put_thumb_immediate(&mut bytes[..4], value as u16);
                    put_thumb_immediate(&mut bytes[4..], (value >> 16) as u16);
                }
            }
            _ => {}
        }
    }
}

/// The bits of a Thumb MOVW (encoding T3) or MOVT (T1) that hold its immediate, in each half-word. The immediate is
/// imm4:i:imm3:imm8.
///
/// ```text
/// first:   1 1 1 1 0 i 1 0 0 1 0 0 imm4     MOVW; MOVT has 1 1 0 0 in front of imm4
/// second:  0 imm3 Rd imm8
/// ```
const THUMB_IMMEDIATE: (u16, u16) = (0x040f, 0x70ff);
const MOVW: u16 = 0xf240;
const MOVT: u16 = 0xf2c0;

/// The 32-bit value that a MOVW and a MOVT put into one register together; `None` for any other bytes.
fn thumb_address(bytes: &[u8]) -> Option<u32> {
    let half = |at: usize, opcode: u16| {
        let (first, second) = (bytes::u16_at(bytes, at)?, bytes::u16_at(bytes, at + 2)?);
        let immediate = (first & 0xf) << 12 | (first & 0x400) << 1 | (second & 0x7000) >> 4 | second & 0xff;
        let is_move = first & !THUMB_IMMEDIATE.0 == opcode && second & 0x8000 == 0;
        is_move.then_some((u32::from(immediate), second & 0x0f00))
    };
    let ((low, register), (high, same)) = (half(0, MOVW)?, half(4, MOVT)?);
    (register == same).then_some(high << 16 | low)
}

/// Puts an immediate into the 4 bytes of a MOVW or MOVT.
fn put_thumb_immediate(bytes: &mut [u8], immediate: u16) {
    let first = bytes::u16_at(bytes, 0).expect("4 bytes") & !THUMB_IMMEDIATE.0;
    let second = bytes::u16_at(bytes, 2).expect("4 bytes") & !THUMB_IMMEDIATE.1;
    let first = first | immediate >> 12 | (immediate & 0x0800) >> 1;
    let second = second | (immediate & 0x0700) << 4 | immediate & 0xff;
    bytes[..2].copy_from_slice(&first.to_le_bytes());
    bytes[2..].copy_from_slice(&second.to_le_bytes());
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
