//! The work that a walk may do for the bytes that it was given.

use super::error::ErrorKind;

/// Counts steps: blocks that are passed without a packet, and stops at breaks. Everything else that a walk does is bounded by
/// the packets that it takes, but code between two packets may be as long as the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    steps: u64,
    /// Steps up to which [`Work::step`] need not ask how far the packets were read.
    granted: u64,
    /// Never more than this, however many bytes were read.
    most: u64,
}

impl Work {
    /// Steps that every walk may take.
    pub const FIRST: u64 = 1 << 16;
    /// Steps that each byte read allows besides.
    pub const PER_BYTE: u64 = 512;

    pub fn new() -> Self {
        Self { steps: 0, granted: Self::FIRST, most: u64::MAX }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Allows so many more steps and no others, whatever was read or is read later.
    pub fn limit(&mut self, more: u64) {
        self.most = self.steps.saturating_add(more);
        self.granted = self.most;
    }

    /// One step, with the packets read up to `offset`.
    #[inline]
    pub fn step(&mut self, offset: usize) -> Result<(), ErrorKind> {
        if self.steps >= self.granted {
            self.grant(offset)?;
        }
        self.steps += 1;
        Ok(())
    }

    #[cold]
    fn grant(&mut self, offset: usize) -> Result<(), ErrorKind> {
        let earned = (offset as u64).saturating_mul(Self::PER_BYTE).saturating_add(Self::FIRST);
        self.granted = earned.min(self.most);
        if self.steps < self.granted { Ok(()) } else { Err(ErrorKind::TooFewPackets { steps: self.steps }) }
    }
}
