//! Which page blocks have to do with a range of the image.

use crate::addr::PAGE_SIZE;
use crate::error::Diagnostic;
use crate::relocate::{Block, Blocks};

/// The page blocks of one kind of fixup, ascending by page.
#[derive(Clone, Debug, Default)]
pub(super) struct PageIndex<'a> {
    blocks: Vec<Block<'a>>,
}

/// The last byte that a record of a block can reach, from the block's page on: an import call site that starts on the
/// page's last byte.
pub(super) const REACH: u32 = PAGE_SIZE - 1 + 12;

impl<'a> PageIndex<'a> {
    /// Takes in the blocks of one table, up to the first that is malformed, which becomes a warning.
    pub(super) fn add(&mut self, blocks: Blocks<'a>, warnings: &mut Vec<Diagnostic>) {
        for block in blocks {
            match block {
                Ok(block) => self.blocks.push(block),
                Err(error) => warnings.push(error.into()),
            }
        }
    }

    /// To be called when all blocks are in. Blocks of one page stay in table order.
    pub(super) fn sort(&mut self) {
        self.blocks.sort_by_key(|block| block.page);
        self.blocks.shrink_to_fit();
    }

    /// All blocks.
    pub(super) fn blocks(&self) -> &[Block<'a>] {
        &self.blocks
    }

    /// The blocks that may change bytes of `start..end`, in the order in which all of them are applied: so that what one
    /// byte becomes does not depend on which range is asked for.
    pub(super) fn touching(&self, start: u64, end: u64) -> &[Block<'a>] {
        let from = self.blocks.partition_point(|block| u64::from(block.page.0) + u64::from(REACH) < start);
        let to = self.blocks.partition_point(|block| u64::from(block.page.0) < end);
        &self.blocks[from..to.max(from)]
    }
}

#[cfg(test)]
mod tests;
