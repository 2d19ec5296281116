//! The iterator over a stream's packets.

use crate::decode::{BlockContext, decode};
use crate::error::{Error, Reason};
use crate::packet::Packet;
use crate::sync::{resync, sync_forward};
use core::iter::FusedIterator;

/// The packets of a trace with their offsets. Bytes that are not packets come as one [`Error`], after which the iterator
/// goes on at the next PSB. That may begin up to 15 bytes before the error, when damaged bytes were read as a packet that
/// reaches into it.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    bytes: &'a [u8],
    /// No packet begins before this offset.
    start: usize,
    at: usize,
    block: BlockContext,
    /// The next packet must be looked for at the first PSB.
    unsynced: bool,
}

impl<'a> Packets<'a> {
    /// From the first PSB on; what lies before it comes first, as an error with [`Reason::BeforeSync`].
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, start: 0, at: 0, block: BlockContext::Outside, unsynced: true }
    }

    /// From `offset` on, which is known to be the start of a packet outside a block.
    pub fn at(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, start: offset, at: offset, block: BlockContext::Outside, unsynced: false }
    }

    /// The offset of the next packet, or the number of bytes at the end.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Gives up on the bytes up to the next PSB at or after the current offset, and returns its offset.
    pub fn resync(&mut self) -> Option<usize> {
        self.go_on_at(sync_forward(self.bytes, self.at))
    }

    fn go_on_at(&mut self, psb: Option<usize>) -> Option<usize> {
        self.at = psb.unwrap_or(self.bytes.len());
        self.block = BlockContext::Outside;
        self.unsynced = false;
        psb
    }
}

impl Iterator for Packets<'_> {
    type Item = Result<(usize, Packet), Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.at;
        if self.unsynced {
            self.resync();
            if self.at > offset {
                return Some(Err(Error { offset, resume: self.at, reason: Reason::BeforeSync }));
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
                self.go_on_at(resync(self.bytes, self.start, offset));
                Err(Error { offset, resume: self.at, reason })
            }
        })
    }
}

impl FusedIterator for Packets<'_> {}
