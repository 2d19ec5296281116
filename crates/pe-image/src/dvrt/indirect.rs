//! Symbol 4: indirect calls and jumps.

use crate::addr::Rva;
use crate::dvrt::PageRecord;

/// IMAGE_INDIR_CONTROL_TRANSFER_DYNAMIC_RELOCATION: `PageRelativeOffset:12, IndirectCall:1, RexWPrefix:1, CfgCheck:1,
/// Reserved:1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IndirectTransfer {
    /// First byte of the site, which has 5 to 7.
    pub rva: Rva,
    /// IndirectCall: true for a call, false for a jump.
    pub call: bool,
    /// RexWPrefix: the instruction starts with 0x48.
    pub rex: bool,
    /// CfgCheck: the call goes through the CFG dispatch pointer, not through rax itself.
    pub cfg: bool,
}

impl PageRecord for IndirectTransfer {
    const SIZE: usize = 2;
    const NAME: &'static str = "IMAGE_INDIR_CONTROL_TRANSFER_DYNAMIC_RELOCATION";

    fn decode(rva: Rva, raw: u32) -> Self {
        Self { rva, call: raw >> 12 & 1 == 1, rex: raw >> 13 & 1 == 1, cfg: raw >> 14 & 1 == 1 }
    }

    fn rva(&self) -> Rva {
        self.rva
    }

    fn size(&self) -> u32 {
        if self.cfg { 6 + u32::from(self.rex) } else { 5 }
    }
}
