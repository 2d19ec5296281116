//! Recognising sites in memory of a running kernel, from nothing but bytes.

use crate::addr::Va;
use crate::bytes;
use crate::dvrt::SITE_SIZE;
use crate::fixup::import_optimization::{CALL, CALL_R10, JUMP, JUMP_R10, LinkedImport, MOV_R10, SLOT_INSTRUCTION};

/// A site as it stands in memory. Addresses are absolute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SiteForm {
    /// An import call as linked: `call [slot]`, 12 bytes.
    ImportLinked {
        /// True for a call, false for a jump.
        call: bool,
        /// The slot it reads.
        slot: Va,
    },
    /// An optimized import call: `mov r10,[slot]; call target`, 12 bytes. The target is the imported function, or the
    /// import stub after the site's own image.
    ImportDirect {
        /// True for a call, false for a jump.
        call: bool,
        /// The slot it reads.
        slot: Va,
        /// Where it goes.
        target: Va,
    },
    /// `mov r10,[slot]; call r10`, 12 bytes.
    ImportRegister {
        /// True for a call, false for a jump.
        call: bool,
        /// The slot it reads.
        slot: Va,
    },
    /// `call target; nop` or `jmp target; int3`, 6 bytes: a retpolined call through the CFG pointer, if the target is a
    /// stub after the image. Any code may hold these bytes; the target decides.
    Indirect {
        /// True for a call, false for a jump.
        call: bool,
        /// Where it goes.
        target: Va,
    },
    /// `call target; int3`, 6 bytes: a retpolined switch, if the target is a stub after the image. A call of a function
    /// that never returns looks the same; the target decides.
    Switch {
        /// Where it goes.
        target: Va,
    },
    /// `call target` or `jmp target` without a known filling, 5 bytes: a retpolined call through rax, if the target is a
    /// stub after the image.
    Branch {
        /// True for a call, false for a jump.
        call: bool,
        /// Where it goes.
        target: Va,
    },
}

impl SiteForm {
    /// The bytes that belong to the site.
    pub fn size(&self) -> usize {
        match self {
            Self::ImportLinked { .. } | Self::ImportDirect { .. } | Self::ImportRegister { .. } => SITE_SIZE,
            Self::Indirect { .. } | Self::Switch { .. } => 6,
            Self::Branch { .. } => 5,
        }
    }

    /// True for a call, false for a jump. A retpolined switch is a call, although it never returns.
    pub fn is_call(&self) -> bool {
        match *self {
            Self::ImportLinked { call, .. }
            | Self::ImportDirect { call, .. }
            | Self::ImportRegister { call, .. }
            | Self::Indirect { call, .. }
            | Self::Branch { call, .. } => call,
            Self::Switch { .. } => true,
        }
    }

    /// Where a direct branch goes.
    pub fn target(&self) -> Option<Va> {
        match *self {
            Self::ImportDirect { target, .. }
            | Self::Indirect { target, .. }
            | Self::Switch { target }
            | Self::Branch { target, .. } => Some(target),
            Self::ImportLinked { .. } | Self::ImportRegister { .. } => None,
        }
    }

    /// The import slot that the site reads.
    pub fn slot(&self) -> Option<Va> {
        match *self {
            Self::ImportLinked { slot, .. } | Self::ImportDirect { slot, .. } | Self::ImportRegister { slot, .. } => {
                Some(slot)
            }
            _ => None,
        }
    }
}

/// The form of the site that starts with `bytes` at `address`, if they can be one. 12 bytes are enough; with fewer only
/// the shorter forms are found.
pub fn recognise(bytes: &[u8], address: impl Into<Va>) -> Option<SiteForm> {
    let address = address.into();
    import(bytes, address).or_else(|| {
        let call = match *bytes.first()? {
            CALL => true,
            JUMP => false,
            _ => return None,
        };
        let target = branch_target(bytes, address)?;
        Some(match (call, bytes.get(5)) {
            (true, Some(0x90)) | (false, Some(0xcc)) => SiteForm::Indirect { call, target },
            (true, Some(0xcc)) => SiteForm::Switch { target },
            _ => SiteForm::Branch { call, target },
        })
    })
}

fn import(bytes: &[u8], address: Va) -> Option<SiteForm> {
    let site: &[u8; SITE_SIZE] = bytes.get(..SITE_SIZE)?.try_into().ok()?;
    let slot =
        |displacement: i32| address.wrapping_add(SLOT_INSTRUCTION.into()).wrapping_add(i64::from(displacement) as u64);
    if let Some(LinkedImport { call, displacement }) = LinkedImport::parse(site) {
        return Some(SiteForm::ImportLinked { call, slot: slot(displacement) });
    }
    if site[..3] != MOV_R10 {
        return None;
    }
    let slot = slot(bytes::u32_at(site, 3)? as i32);
    match site[7..] {
        [opcode @ (CALL | JUMP), ..] => {
            let target = branch_target(&site[7..], address.wrapping_add(7))?;
            Some(SiteForm::ImportDirect { call: opcode == CALL, slot, target })
        }
        _ if site[7..] == CALL_R10 => Some(SiteForm::ImportRegister { call: true, slot }),
        _ if site[7..] == JUMP_R10 => Some(SiteForm::ImportRegister { call: false, slot }),
        _ => None,
    }
}

/// Where the branch of opcode and 32-bit distance at `address` goes.
fn branch_target(bytes: &[u8], address: Va) -> Option<Va> {
    let distance = bytes::u32_at(bytes, 1)? as i32;
    Some(address.wrapping_add(5).wrapping_add(i64::from(distance) as u64))
}
