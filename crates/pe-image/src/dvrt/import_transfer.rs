//! Symbol 3: calls and jumps through the import address table.

use crate::addr::{IatIndex, Rva};
use crate::dvrt::PageRecord;

/// Bytes of an import call site.
pub const SITE_SIZE: usize = 12;

/// IMAGE_IMPORT_CONTROL_TRANSFER_DYNAMIC_RELOCATION: `PageRelativeOffset:12, IndirectCall:1, IATIndex:19`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ImportTransfer {
    /// First byte of the site, which has 12.
    pub rva: Rva,
    /// IndirectCall: true for a call, false for a jump.
    pub call: bool,
    /// IATIndex: the slot's number in the IAT directory, or [`NO_INDEX`](Self::NO_INDEX).
    pub raw_index: u32,
}

impl ImportTransfer {
    /// Says that the site reads no slot of the IAT directory. All 19 bits are set; some published headers have 15.
    pub const NO_INDEX: u32 = 0x7_ffff;

    /// The slot's number in the IAT directory, if the site has one.
    pub fn index(&self) -> Option<IatIndex> {
        (self.raw_index != Self::NO_INDEX).then_some(IatIndex(self.raw_index))
    }
}

impl PageRecord for ImportTransfer {
    const SIZE: usize = 4;
    const NAME: &'static str = "IMAGE_IMPORT_CONTROL_TRANSFER_DYNAMIC_RELOCATION";

    fn decode(rva: Rva, raw: u32) -> Self {
        Self { rva, call: raw >> 12 & 1 == 1, raw_index: raw >> 13 }
    }

    fn rva(&self) -> Rva {
        self.rva
    }

    fn size(&self) -> u32 {
        SITE_SIZE as u32
    }
}
