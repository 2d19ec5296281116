//! Symbols that are addresses: constants in code and data that hold one of the kernel's randomised bases.

use crate::error::Result;
use crate::relocate::{Blocks, Relocation};

/// The places that hold an address constant. The kernel adds to each the difference between the base it chose and the
/// one that the symbol names, as base relocations do.
#[derive(Clone, Debug)]
pub struct AddressConstants<'a> {
    blocks: Blocks<'a>,
}

impl<'a> AddressConstants<'a> {
    pub(crate) fn new(blocks: Blocks<'a>) -> Self {
        Self { blocks }
    }

    /// The page blocks, undecoded.
    pub fn blocks(&self) -> Blocks<'a> {
        self.blocks.clone()
    }

    /// The places, in table order.
    pub fn iter(&self) -> impl Iterator<Item = Result<Relocation>> + use<'a> {
        self.blocks.clone().flat_map(|block| {
            let (relocations, error) = match block {
                Ok(block) => (Some(block.relocations().map(Ok)), None),
                Err(error) => (None, Some(Err(error))),
            };
            relocations.into_iter().flatten().chain(error)
        })
    }
}
