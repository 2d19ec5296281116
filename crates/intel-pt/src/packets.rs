//! The iterator over a stream's packets.

use crate::decode::{Block, decode};
use crate::error::{Error, Reason};
use crate::packet::Packet;
use crate::sync::sync_forward;
use core::iter::FusedIterator;

/// The packets of a trace with their offsets. Bytes that are no packets come as one [`Error`], after which the iterator
/// goes on at the next PSB.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    bytes: &'a [u8],
    at: usize,
    block: Block,
    /// The next packet must be looked for at the first PSB.
    unsynced: bool,
}

impl<'a> Packets<'a> {
    /// From the first PSB on; what lies before it comes first, as an error with [`Reason::BeforeSync`].
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, block: Block::Outside, unsynced: true }
    }

    /// From `offset` on, which is known to be the start of a packet outside a block.
    pub fn at(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, at: offset, block: Block::Outside, unsynced: false }
    }

    /// The offset of the next packet, or the number of bytes at the end.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Gives up on the bytes up to the next PSB after the current offset, and returns its offset.
    pub fn resync(&mut self) -> Option<usize> {
        let psb = sync_forward(self.bytes, self.at);
        self.at = psb.unwrap_or(self.bytes.len());
        self.block = Block::Outside;
        self.unsynced = false;
        psb
    }

    #[cold]
    fn gap(&mut self, offset: usize, reason: Reason) -> Error {
        self.resync();
        Error { offset, resume: self.at, reason }
    }
}

impl Iterator for Packets<'_> {
    type Item = Result<(usize, Packet), Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.at;
        if self.unsynced {
            self.unsynced = false;
            let error = self.gap(offset, Reason::BeforeSync);
            if error.skipped() > 0 {
                return Some(Err(error));
            }
        }
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        Some(match decode(rest, self.block) {
            Ok((packet, len)) => {
                self.at = offset + len;
                self.block = self.block.after(&packet);
                Ok((offset, packet))
            }
            Err(reason) => {
                self.at = offset + 1;
                Err(self.gap(offset, reason))
            }
        })
    }
}

impl FusedIterator for Packets<'_> {}
