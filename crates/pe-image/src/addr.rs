//! Addresses: absolute ones, those relative to an image, and the numbers of import slots.

use std::fmt;
use std::ops::Range;

/// Bytes of one page: the unit in which the kernel maps images, and in which all the tables of this crate are divided.
pub const PAGE_SIZE: u32 = 0x1000;

/// An address relative to the image base ("relative virtual address"). A file offset is never one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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

impl From<u32> for Rva {
    fn from(rva: u32) -> Self {
        Self(rva)
    }
}

impl From<Rva> for u32 {
    fn from(rva: Rva) -> Self {
        rva.0
    }
}

/// An absolute address in the kernel's address space ("virtual address"). Those of x86 are sign-extended: see
/// [`Va::from_x86`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Va(pub u64);

impl Va {
    /// A 32-bit address as debuggers write it in 64 bits: bit 31 is copied into the upper half, so that an x86 kernel
    /// address such as 0x81234000 becomes 0xFFFFFFFF81234000. (dbgeng keeps x86 addresses in this form, and finds no
    /// memory at the zero-extended address.)
    pub fn from_x86(address: u32) -> Self {
        Self(i64::from(address as i32) as u64)
    }

    /// The address `by` bytes further on, wrapping at 2^64.
    pub fn wrapping_add(self, by: u64) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// The distance to another address as the operand of a near branch, if it is within ±2 GiB.
    pub(crate) fn rel32_to(self, target: Self) -> Option<i32> {
        i32::try_from(target.0.wrapping_sub(self.0) as i64).ok()
    }

    /// `size` bytes from here on; fewer where they would end past 2^64 - 1.
    pub(crate) fn range(self, size: u64) -> Range<u64> {
        self.0..self.0.saturating_add(size)
    }
}

impl From<u64> for Va {
    fn from(address: u64) -> Self {
        Self(address)
    }
}

impl From<Va> for u64 {
    fn from(address: Va) -> Self {
        address.0
    }
}

/// The number of a slot in the import address table ([`crate::DirectoryKind::Iat`]), counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IatIndex(pub u32);

impl fmt::Display for IatIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Both kinds of address are written in hexadecimal.
macro_rules! hexadecimal {
    ($($address:ty),*) => {$(
        impl fmt::Display for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $address {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    )*};
}

hexadecimal!(Rva, Va);
