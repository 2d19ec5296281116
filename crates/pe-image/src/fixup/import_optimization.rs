//! Import call sites, byte for byte. A site has 12 bytes; `slot` is what the 32-bit displacement leads to, counted from
//! the seventh byte on.
//!
//! ```text
//!                      0  1  2  3        7
//! as linked, call:    48 FF 15 disp32   0F 1F 44 00 00      rex.w call [slot]; 5-byte nop
//! as linked, jump:    48 FF 25 disp32   CC CC CC CC CC      rex.w jmp [slot]
//! optimized:          4C 8B 15 disp32   E8|E9 rel32         mov r10,[slot]; call|jmp target
//! through r10:        4C 8B 15 disp32   4D FF D2 90 90      mov r10,[slot]; call r10; nop; nop
//!                                       4D FF E2 CC CC      mov r10,[slot]; jmp r10
//! ```

use std::ops::Range;

use crate::addr::Rva;
use crate::dvrt::SITE_SIZE;

/// Bytes of the instruction at the start of an import call site, which reads the slot. It is as long in every form, and
/// its displacement counts from its end.
pub const SLOT_INSTRUCTION: u32 = 7;

pub(super) const MOV_R10: [u8; 3] = [0x4c, 0x8b, 0x15];
pub(super) const CALL: u8 = 0xe8;
pub(super) const JUMP: u8 = 0xe9;
pub(super) const CALL_R10: [u8; 5] = [0x4d, 0xff, 0xd2, 0x90, 0x90];
pub(super) const JUMP_R10: [u8; 5] = [0x4d, 0xff, 0xe2, 0xcc, 0xcc];

/// An import call site as a linker writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LinkedImport {
    /// True for a call, false for a jump.
    pub call: bool,
    /// The distance from the seventh byte on to the slot.
    pub displacement: i32,
}

impl LinkedImport {
    /// Where the 32-bit distance to the target lies in the site's [direct](Self::direct) form.
    pub const DIRECT_DISTANCE: Range<usize> = 8..12;

    /// Reads the 12 bytes of a site; `None` when a linker has not written them.
    #[inline]
    pub fn parse(bytes: &[u8; SITE_SIZE]) -> Option<Self> {
        // Sites are as many as 14,000 to the MiB, so they are compared and made in two numbers: bytes 0 to 7, of which
        // 3 to 6 are the displacement, and bytes 8 to 11.
        let (head, tail) = halves(bytes);
        let call = match (head & !DISPLACEMENT, tail) {
            CALL_SLOT => true,
            JUMP_SLOT => false,
            _ => return None,
        };
        Some(Self { call, displacement: (head >> 24) as i32 })
    }

    /// The slot that the site at `site` reads; `None` when the displacement leads below the image or past 4 GiB.
    pub fn slot(&self, site: Rva) -> Option<Rva> {
        let slot = i64::from(site.0) + i64::from(SLOT_INSTRUCTION) + i64::from(self.displacement);
        u32::try_from(slot).ok().map(Rva)
    }

    /// The site as a direct call or jump: `distance` counts from the site's end to the target, an imported function or
    /// the import stub.
    #[inline]
    pub fn direct(&self, distance: i32) -> [u8; SITE_SIZE] {
        let [a, b, c] = MOV_R10;
        let opcode = if self.call { CALL } else { JUMP };
        let head = u64::from_le_bytes([a, b, c, 0, 0, 0, 0, opcode]) | u64::from(self.displacement as u32) << 24;
        let mut out = [0; SITE_SIZE];
        out[..8].copy_from_slice(&head.to_le_bytes());
        out[Self::DIRECT_DISTANCE].copy_from_slice(&distance.to_le_bytes());
        out
    }

    /// The site as a call or jump through r10, the form of Driver Verifier.
    pub fn through_register(&self) -> [u8; SITE_SIZE] {
        let mut out = self.direct(0);
        out[7..].copy_from_slice(if self.call { &CALL_R10 } else { &JUMP_R10 });
        out
    }
}

/// `48 FF 15 disp32 0F` and `1F 44 00 00`, in the order of a little-endian number.
const CALL_SLOT: (u64, u32) = (0x0f00_0000_0015_ff48, 0x0000_441f);
/// `48 FF 25 disp32 CC` and `CC CC CC CC`.
const JUMP_SLOT: (u64, u32) = (0xcc00_0000_0025_ff48, 0xcccc_cccc);
/// Where the displacement lies in the first number.
const DISPLACEMENT: u64 = 0x00ff_ffff_ff00_0000;

fn halves(bytes: &[u8; SITE_SIZE]) -> (u64, u32) {
    let [a, b, c, d, e, f, g, h, tail @ ..] = *bytes;
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes(tail))
}
