//! Relative and absolute addresses.

use std::fmt;

/// Bytes of one page: the unit in which the kernel maps images and in which all the tables of this crate are cut up.
pub const PAGE_SIZE: u32 = 0x1000;

/// An address relative to the image base ("relative virtual address"). A file offset is never one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rva(pub u32);

impl Rva {
    /// The RVA `by` bytes further on; `None` past 4 GiB.
    pub fn checked_add(self, by: u32) -> Option<Self> {
        self.0.checked_add(by).map(Self)
    }

    /// The first byte of the page that holds this RVA.
    pub fn page(self) -> Self {
        Self(self.0 & !(PAGE_SIZE - 1))
    }
}

impl fmt::Display for Rva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::LowerHex for Rva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// The number of a slot in the import address table ([`crate::DirectoryKind::Iat`]), counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IatIndex(pub u32);

impl fmt::Display for IatIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A 32-bit address as debuggers write it in 64 bits: bit 31 is copied into the upper half, so that an x86 kernel
/// address such as 0x81234000 becomes 0xFFFFFFFF81234000. (dbgeng keeps x86 addresses in this form and finds no memory
/// under the zero-extended one.)
pub fn sign_extend(address: u32) -> u64 {
    i64::from(address as i32) as u64
}

/// The distance `to - from` as the operand of a near branch, if it is within ±2 GiB.
pub(crate) fn rel32(from: u64, to: u64) -> Option<i32> {
    i32::try_from(to.wrapping_sub(from) as i64).ok()
}
