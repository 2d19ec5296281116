//! Symbol 5: the jumps of switch tables.

use crate::addr::Rva;
use crate::dvrt::PageRecord;

/// IMAGE_SWITCHTABLE_BRANCH_DYNAMIC_RELOCATION: `PageRelativeOffset:12, RegisterNumber:4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SwitchBranch {
    /// First byte of the site, which has 6.
    pub rva: Rva,
    /// The register that holds the destination: 0 rax, 1 rcx, 2 rdx, 3 rbx, 4 rsp, 5 rbp, 6 rsi, 7 rdi, 8 to 15.
    pub register: u8,
}

impl PageRecord for SwitchBranch {
    const SIZE: usize = 2;
    const NAME: &'static str = "IMAGE_SWITCHTABLE_BRANCH_DYNAMIC_RELOCATION";

    fn decode(rva: Rva, raw: u32) -> Self {
        Self { rva, register: (raw >> 12 & 0xf) as u8 }
    }

    fn rva(&self) -> Rva {
        self.rva
    }

    fn size(&self) -> u32 {
        6
    }
}
