//! Records in page blocks, and the rule for padding.

use std::marker::PhantomData;

use crate::addr::Rva;
use crate::bytes;
use crate::error::{Error, Result};
use crate::relocate::{Block, Blocks};

/// A record of fixed size in a page block: 16 or 32 bits, of which the low 12 hold the offset in the page.
pub trait PageRecord: Sized {
    /// Bytes of a record: 2 or 4.
    const SIZE: usize;
    /// The structure's winnt.h name.
    const NAME: &'static str;

    /// The offset in the page, in bytes.
    fn offset(raw: u32) -> u32 {
        raw & 0xfff
    }

    /// The record whose site starts at `rva`.
    fn decode(rva: Rva, raw: u32) -> Self;
}

/// The records of an entry, in table order.
///
/// Blocks are padded to 4 bytes with zeros. So a record whose offset is 0 counts only as the first of its block;
/// anywhere else it is padding and is passed over, as the kernel's retpoline pass does. (Its import pass ends the block
/// there; in all known files padding is the last record anyway.)
#[derive(Clone, Debug)]
pub struct Records<'a, T> {
    blocks: Blocks<'a>,
    block: Option<Block<'a>>,
    at: usize,
    kind: PhantomData<fn() -> T>,
}

impl<'a, T: PageRecord> Records<'a, T> {
    pub(crate) fn new(blocks: Blocks<'a>) -> Self {
        Self { blocks, block: None, at: 0, kind: PhantomData }
    }

    /// The page blocks, undecoded.
    pub fn blocks(&self) -> Blocks<'a> {
        self.blocks.clone()
    }
}

/// The records of one block. What is left over at the end, less than a record, is padding.
pub(crate) fn block_records<'a, T: PageRecord>(block: &Block<'a>) -> impl Iterator<Item = T> + use<'a, T> {
    let page = block.page.0;
    let mut first = true;
    block.records.chunks_exact(T::SIZE).filter_map(move |raw| {
        let raw = if T::SIZE == 2 { bytes::u16_at(raw, 0)?.into() } else { bytes::u32_at(raw, 0)? };
        let is_first = std::mem::take(&mut first);
        let offset = T::offset(raw);
        (is_first || offset != 0).then(|| T::decode(Rva(page.wrapping_add(offset)), raw))
    })
}

impl<'a, T: PageRecord> Iterator for Records<'a, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(block) = self.block {
                while let Some(raw) = block.records.get(self.at..self.at + T::SIZE) {
                    let is_first = self.at == 0;
                    self.at += T::SIZE;
                    let raw = if T::SIZE == 2 { bytes::u16_at(raw, 0)?.into() } else { bytes::u32_at(raw, 0)? };
                    let offset = T::offset(raw);
                    if !is_first && offset == 0 {
                        continue;
                    }
                    let Some(rva) = block.page.checked_add(offset) else {
                        let allowed = "an address below 4 GiB";
                        return Some(Err(Error::field(block.place, T::NAME, "VirtualAddress", block.page.0, allowed)));
                    };
                    return Some(Ok(T::decode(rva, raw)));
                }
            }
            match self.blocks.next()? {
                Ok(block) => (self.block, self.at) = (Some(block), 0),
                Err(error) => {
                    self.block = None;
                    return Some(Err(error));
                }
            }
        }
    }
}
