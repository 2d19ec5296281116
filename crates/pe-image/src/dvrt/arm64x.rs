//! Symbol 6: ARM64X fixups. Not used by kernel images that run on x64; decoded so that nothing in a table is opaque.

use crate::addr::Rva;
use crate::bytes;
use crate::error::{Error, Result};
use crate::relocate::{Block, Blocks};

/// One ARM64X fixup: IMAGE_DVRT_ARM64X_FIXUP_RECORD, `Offset:12, Type:2, Size:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arm64xFixup {
    /// Type 0: `size` bytes become zero.
    Zero {
        /// First byte.
        rva: Rva,
        /// 1, 2, 4 or 8.
        size: u8,
    },
    /// Type 1: `size` bytes are replaced.
    Value {
        /// First byte.
        rva: Rva,
        /// 1, 2, 4 or 8.
        size: u8,
        /// The new value.
        value: u64,
    },
    /// Type 2: a number is added to the 32-bit value there.
    Delta {
        /// First byte.
        rva: Rva,
        /// What is added: a multiple of 4 or 8.
        delta: i64,
    },
    /// Type 3, which is not known.
    Unknown {
        /// First byte.
        rva: Rva,
        /// The record.
        raw: u16,
    },
}

/// The fixups of a symbol 6 entry.
#[derive(Clone, Debug)]
pub struct Arm64xFixups<'a> {
    blocks: Blocks<'a>,
}

impl<'a> Arm64xFixups<'a> {
    pub(crate) fn new(blocks: Blocks<'a>) -> Self {
        Self { blocks }
    }

    /// The fixups in table order. A record that does not fit its block ends the block with an error.
    pub fn iter(&self) -> impl Iterator<Item = Result<Arm64xFixup>> + use<'a> {
        self.blocks.clone().flat_map(|block| {
            let (fixups, error) = match block {
                Ok(block) => (Some(BlockFixups { block, at: 0 }), None),
                Err(error) => (None, Some(Err(error))),
            };
            fixups.into_iter().flatten().chain(error)
        })
    }
}

/// The fixups of one block.
struct BlockFixups<'a> {
    block: Block<'a>,
    /// The next record, in bytes; after the block's end once nothing more can be read.
    at: usize,
}

const STRUCTURE: &str = "IMAGE_DVRT_ARM64X_FIXUP_RECORD";

impl Iterator for BlockFixups<'_> {
    type Item = Result<Arm64xFixup>;

    fn next(&mut self) -> Option<Self::Item> {
        let Block { page, records, place } = self.block;
        let raw = loop {
            let raw = bytes::u16_at(records, self.at)?;
            if raw != 0 || self.at == 0 {
                break raw;
            }
            // Padding to 4 bytes, under the same rule as elsewhere in the table.
            self.at += 2;
        };
        let at = self.at + 2;
        // An error, or a record of unknown size, is the block's last.
        self.at = records.len();
        let Some(rva) = page.checked_add(u32::from(raw & 0xfff)) else {
            return Some(Err(Error::field(place, STRUCTURE, "page", page.0, "an address below 4 GiB")));
        };
        let size = 1_u8 << (raw >> 14);
        let (fixup, next) = match raw >> 12 & 3 {
            0 => (Arm64xFixup::Zero { rva, size }, at),
            1 => {
                let Some(value) = records.get(at..at + usize::from(size)) else {
                    let have = records.len() - at;
                    return Some(Err(Error::truncated(place, STRUCTURE, size.into(), have as u64)));
                };
                let mut wide = [0; 8];
                wide[..value.len()].copy_from_slice(value);
                // A value of one byte is padded to two.
                let next = at + usize::from(size).next_multiple_of(2);
                (Arm64xFixup::Value { rva, size, value: u64::from_le_bytes(wide) }, next)
            }
            2 => {
                let Some(count) = bytes::u16_at(records, at) else {
                    return Some(Err(Error::truncated(place, STRUCTURE, 2, 0)));
                };
                // The two bits of Size are Sign and Scale here.
                let scale = if raw >> 15 == 1 { 8 } else { 4 };
                let delta = i64::from(count) * scale;
                (Arm64xFixup::Delta { rva, delta: if raw >> 14 & 1 == 1 { -delta } else { delta } }, at + 2)
            }
            _ => (Arm64xFixup::Unknown { rva, raw }, records.len()),
        };
        self.at = next;
        Some(Ok(fixup))
    }
}
