//! Symbol 6: ARM64X fixups. Not used by kernel images that run on x64; decoded so that nothing in a table is opaque.

use crate::addr::Rva;
use crate::bytes;
use crate::error::{Error, Result};
use crate::relocate::{Block, Blocks};

/// One ARM64X fixup: IMAGE_DVRT_ARM64X_FIXUP_RECORD, `Offset:12, Type:2, Size:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        self.blocks.clone().flat_map(|block| match block {
            Ok(block) => block_fixups(&block),
            Err(error) => vec![Err(error)],
        })
    }
}

fn block_fixups(block: &Block<'_>) -> Vec<Result<Arm64xFixup>> {
    const STRUCTURE: &str = "IMAGE_DVRT_ARM64X_FIXUP_RECORD";
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(raw) = bytes::u16_at(block.records, at) {
        if raw == 0 && at != 0 {
            // Padding to 4 bytes, under the same rule as elsewhere in the table.
            at += 2;
            continue;
        }
        let Some(rva) = block.page.checked_add(u32::from(raw & 0xfff)) else {
            out.push(Err(Error::field(block.place, STRUCTURE, "page", block.page.0, "an address below 4 GiB")));
            return out;
        };
        at += 2;
        let size = 1_u8 << (raw >> 14);
        match raw >> 12 & 3 {
            0 => out.push(Ok(Arm64xFixup::Zero { rva, size })),
            1 => {
                let Some(value) = block.records.get(at..at + usize::from(size)) else {
                    let have = block.records.len() - at;
                    out.push(Err(Error::truncated(block.place, STRUCTURE, size.into(), have as u64)));
                    return out;
                };
                let mut wide = [0; 8];
                wide[..value.len()].copy_from_slice(value);
                out.push(Ok(Arm64xFixup::Value { rva, size, value: u64::from_le_bytes(wide) }));
                // A value of one byte is padded to two.
                at += usize::from(size).next_multiple_of(2);
            }
            2 => {
                let Some(count) = bytes::u16_at(block.records, at) else {
                    out.push(Err(Error::truncated(block.place, STRUCTURE, 2, 0)));
                    return out;
                };
                at += 2;
                // The two bits of Size are Sign and Scale here.
                let scale = if raw >> 15 == 1 { 8 } else { 4 };
                let delta = i64::from(count) * scale;
                out.push(Ok(Arm64xFixup::Delta { rva, delta: if raw >> 14 & 1 == 1 { -delta } else { delta } }));
            }
            _ => {
                // Nothing says how long it is.
                out.push(Ok(Arm64xFixup::Unknown { rva, raw }));
                return out;
            }
        }
    }
    out
}
