//! Symbol 8: import calls of ARM64 kernel images.

use crate::addr::Rva;
use crate::dvrt::PageRecord;

/// IMAGE_IMPORT_CONTROL_TRANSFER_ARM64_RELOCATION: `PageRelativeOffset:10` (in units of 4 bytes), `IndirectCall:1,
/// RegisterIndex:5, ImportType:1, IATIndex:15`.
///
/// As linked, the site is the `blr` or `br` of `adrp xN; ldr xN,[xN,#lo12]; …; blr xN`. What the kernel writes there is
/// not known from public evidence, so this crate leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Arm64ImportTransfer {
    /// The branch instruction.
    pub rva: Rva,
    /// IndirectCall: true for `blr`, false for `br`.
    pub call: bool,
    /// RegisterIndex: N of xN.
    pub register: u8,
    /// ImportType: true for a delay import.
    pub delayed: bool,
    /// IATIndex: the slot's number in the IAT directory, or [`NO_INDEX`](Self::NO_INDEX).
    pub raw_index: u16,
}

impl Arm64ImportTransfer {
    /// Says that the site reads no slot of the IAT directory.
    pub const NO_INDEX: u16 = 0x7fff;
}

impl PageRecord for Arm64ImportTransfer {
    const SIZE: usize = 4;
    const NAME: &'static str = "IMAGE_IMPORT_CONTROL_TRANSFER_ARM64_RELOCATION";

    fn offset(raw: u32) -> u32 {
        (raw & 0x3ff) * 4
    }

    fn decode(rva: Rva, raw: u32) -> Self {
        Self {
            rva,
            call: raw >> 10 & 1 == 1,
            register: (raw >> 11 & 0x1f) as u8,
            delayed: raw >> 16 & 1 == 1,
            raw_index: (raw >> 17) as u16,
        }
    }

    fn rva(&self) -> Rva {
        self.rva
    }

    fn size(&self) -> u32 {
        4
    }
}
