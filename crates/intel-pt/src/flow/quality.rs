//! How far the result of a walk can be relied on, in numbers.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// How much of a trace a walk followed, up to its current position. Values of several walks can be added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Quality {
    /// Bytes of the trace up to the walk's position: all of them at the end.
    pub bytes: u64,
    /// Of these, bytes before the first PSB, which nothing can be known about.
    pub before_sync: u64,
    /// Of these, bytes between an error and the packet at which the walk went on.
    pub skipped: u64,
    /// Times that the walk lost its place.
    pub lost: u64,
    /// Of these, times at which nothing was wrong: the image does not have the code, or the caller gave up the place
    /// ([`Walker::lose`](super::Walker::lose)).
    pub missing: u64,
    /// What confirmed the walk, over all of its stretches together: see [`Walker::evidence`](super::Walker::evidence) for the
    /// present one.
    pub confirmed: Evidence,
}

impl Quality {
    /// Bytes whose packets fit the code, or that were read while tracing was off.
    pub fn followed(&self) -> u64 {
        self.bytes.saturating_sub(self.before_sync).saturating_sub(self.skipped)
    }

    /// The share of the bytes after the first PSB that was followed, 0 to 1. `None` when there are no such bytes.
    pub fn share_followed(&self) -> Option<f64> {
        let bytes = self.bytes.saturating_sub(self.before_sync);
        (bytes > 0).then(|| self.followed() as f64 / bytes as f64)
    }

    /// Times that packets and code contradicted each other, or the packets were damaged.
    pub fn out_of_step(&self) -> u64 {
        self.lost.saturating_sub(self.missing)
    }

    /// Times that the walk lost its place for each MiB of trace after the first PSB. `None` when there are no such bytes.
    pub fn lost_per_mib(&self) -> Option<f64> {
        self.per_mib(self.lost)
    }

    /// [`Quality::out_of_step`] for each MiB of trace after the first PSB. `None` when there are no such bytes.
    pub fn out_of_step_per_mib(&self) -> Option<f64> {
        self.per_mib(self.out_of_step())
    }

    fn per_mib(&self, times: u64) -> Option<f64> {
        let bytes = self.bytes.saturating_sub(self.before_sync);
        (bytes > 0).then(|| times as f64 * f64::from(1 << 20) / bytes as f64)
    }
}

impl Add for Quality {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            before_sync: self.before_sync.saturating_add(other.before_sync),
            skipped: self.skipped.saturating_add(other.skipped),
            lost: self.lost.saturating_add(other.lost),
            missing: self.missing.saturating_add(other.missing),
            confirmed: self.confirmed + other.confirmed,
        }
    }
}

impl AddAssign for Quality {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Quality {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What confirmed the walk since its place was last in doubt: since it began, lost its place, met an overflow, or tracing
/// was off.
///
/// Packets that do not fit the code are an error. Packets that fit by chance are not, so a wrong image may pass for a
/// while without one. Each number here counts packets that a wrong walk would have failed at with some probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Evidence {
    /// Compressed returns. The TNT bit of each had to be 1, and a call had to be remembered.
    pub returns: u64,
    /// Indirect branches that found a TIP where a TNT might have been.
    pub branches: u64,
    /// Addresses that the trace named (by a FUP, alone or in a PSB+) and that the code had led to, or led to without
    /// another branch.
    pub addresses: u64,
}

impl Add for Evidence {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            returns: self.returns.saturating_add(other.returns),
            branches: self.branches.saturating_add(other.branches),
            addresses: self.addresses.saturating_add(other.addresses),
        }
    }
}

impl Evidence {
    /// Bits that an address counts for: the shortest form in which packets write one.
    pub const ADDRESS_BITS: u64 = 16;

    /// A lower bound for how unlikely the same packets are over wrong code, as the negative binary logarithm: one bit for
    /// a return, one for an indirect branch, 16 for an address.
    pub fn bits(&self) -> u64 {
        self.addresses.saturating_mul(Self::ADDRESS_BITS).saturating_add(self.returns).saturating_add(self.branches)
    }
}
