//! TNT bits that were taken from the trace and not yet consumed.

use crate::Tnt;

/// A queue of up to 47 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bits {
    /// The oldest is the highest of the low `len` bits.
    bits: u64,
    len: u8,
}

impl Bits {
    /// The most bits that [`Bits::next`] gives: as many as a short TNT holds.
    const SHORT: u8 = 6;

    /// Replaces the queue, which must be empty, by the low `len` bits of `bits`.
    #[inline]
    pub fn load(&mut self, bits: u64, len: u8) {
        *self = Self { bits, len: len.min(Tnt::MAX) };
    }

    /// Replaces the queue by the bits below the stop bit of a short TNT's payload.
    #[inline]
    pub fn load_short(&mut self, payload: u8) {
        self.load(u64::from(payload), payload.ilog2() as u8);
    }

    #[inline]
    pub fn len(self) -> u8 {
        self.len
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The next bits, at most 6, below a stop bit, and how many they are.
    #[inline]
    pub fn next(self) -> (u8, u8) {
        let n = self.len.min(Self::SHORT);
        (1 << n | (self.bits >> (self.len - n)) as u8 & ((1 << n) - 1), n)
    }

    /// Drops the `n` oldest bits, of at least as many.
    #[inline]
    pub fn skip(&mut self, n: u8) {
        self.len -= n;
    }

    /// Takes the oldest bit of a queue that is not empty.
    #[inline]
    pub fn take(&mut self) -> bool {
        self.len -= 1;
        self.bits >> self.len & 1 == 1
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }
}
