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

    /// Where the record's site starts.
    fn rva(&self) -> Rva;

    /// The bytes of the site: what a loader may change there.
    fn size(&self) -> u32;
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

/// The record at `at` in a block, if it is one: `None` for padding. What is left over at the block's end, less than a
/// record, is padding too.
#[inline]
fn record_at<T: PageRecord>(page: Rva, raw: &[u8], is_first: bool) -> Option<Option<T>> {
    let raw = if T::SIZE == 2 { bytes::u16_at(raw, 0)?.into() } else { bytes::u32_at(raw, 0)? };
    let offset = T::offset(raw);
    (is_first || offset != 0).then(|| Some(T::decode(page.checked_add(offset)?, raw)))
}

/// The records of one block that lie in the address space.
pub(crate) fn block_records<'a, T: PageRecord>(block: &Block<'a>) -> impl Iterator<Item = T> + use<'a, T> {
    let page = block.page;
    let raw = block.records.chunks_exact(T::SIZE).enumerate();
    raw.filter_map(move |(number, raw)| record_at(page, raw, number == 0).flatten())
}

impl<T: PageRecord> Iterator for Records<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(block) = self.block {
                while let Some(raw) = block.records.get(self.at..self.at + T::SIZE) {
                    let is_first = self.at == 0;
                    self.at += T::SIZE;
                    match record_at(block.page, raw, is_first) {
                        None => {}
                        Some(Some(record)) => return Some(Ok(record)),
                        Some(None) => {
                            let (found, allowed) = (block.page.0, "an address below 4 GiB");
                            return Some(Err(Error::field(block.place, T::NAME, "VirtualAddress", found, allowed)));
                        }
                    }
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
