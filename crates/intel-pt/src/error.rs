//! What can be wrong with a packet stream, and where.

use core::fmt;

/// A part of a trace that could not be read: where, why, and where reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Error {
    pub(crate) offset: usize,
    pub(crate) resume: usize,
    pub(crate) reason: Reason,
}

impl Error {
    /// Offset of the first byte that could not be read, from the start of the bytes given.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Offset at which reading goes on: that of the next PSB, or the number of bytes when there is none. Up to 15 bytes
    /// before [`offset`](Self::offset) when a PSB begins inside bytes that were taken for another packet.
    pub fn resume(&self) -> usize {
        self.resume
    }

    /// Bytes between the two that were skipped.
    pub fn skipped(&self) -> usize {
        self.resume.saturating_sub(self.offset)
    }

    /// What is wrong at [`offset`](Self::offset).
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {:#x}: {}; {} bytes skipped", self.offset, self.reason, self.skipped())
    }
}

impl core::error::Error for Error {}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Reason {
    /// Bytes before the first PSB. They are the end of a stream whose beginning was overwritten: not damage, but no
    /// packet boundary is known there.
    BeforeSync,
    /// No packet begins with these bytes (1 to 3 of them; the rest is zero).
    UnknownOpcode {
        /// The bytes found.
        found: [u8; 3],
        /// How many of them were looked at.
        len: u8,
    },
    /// The bytes end inside a packet.
    Truncated {
        /// The packet's name.
        packet: &'static str,
        /// Bytes that the packet has, as far as the bytes at hand tell.
        needs: usize,
        /// Bytes that are there.
        has: usize,
    },
    /// A field of a packet has a value that the packet does not allow.
    BadField {
        /// The packet's name.
        packet: &'static str,
        /// The field's name.
        field: &'static str,
        /// The value found.
        found: u64,
        /// The values allowed.
        allowed: &'static str,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeSync => f.write_str("before the first PSB"),
            Self::UnknownOpcode { found, len } => {
                f.write_str("no packet begins with")?;
                found.iter().take(usize::from(*len)).try_for_each(|byte| write!(f, " {byte:02x}"))
            }
            Self::Truncated { packet, needs, has } => {
                write!(f, "packet {packet} has {needs} bytes, {has} are left")
            }
            Self::BadField { packet, field, found, allowed } => {
                write!(f, "packet {packet}: {field} is {found:#x}, allowed: {allowed}")
            }
        }
    }
}

impl core::error::Error for Reason {}

/// A packet value that has no encoding: one of its fields is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unencodable {
    pub(crate) packet: &'static str,
    pub(crate) field: &'static str,
    pub(crate) found: u64,
    pub(crate) allowed: &'static str,
}

impl fmt::Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packet, field, found, allowed } = self;
        write!(f, "packet {packet} cannot hold {field} {found:#x}, allowed: {allowed}")
    }
}

impl core::error::Error for Unencodable {}
