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

/// Bytes of an import call site.
pub const SITE_SIZE: usize = 12;

const CALL_SLOT: [u8; 3] = [0x48, 0xff, 0x15];
const JUMP_SLOT: [u8; 3] = [0x48, 0xff, 0x25];
const AFTER_CALL: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
const AFTER_JUMP: [u8; 5] = [0xcc; 5];
pub(super) const MOV_R10: [u8; 3] = [0x4c, 0x8b, 0x15];
pub(super) const CALL: u8 = 0xe8;
pub(super) const JUMP: u8 = 0xe9;
pub(super) const CALL_R10: [u8; 5] = [0x4d, 0xff, 0xd2, 0x90, 0x90];
pub(super) const JUMP_R10: [u8; 5] = [0x4d, 0xff, 0xe2, 0xcc, 0xcc];

/// An import call site as a linker writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkedImport {
    /// True for a call, false for a jump.
    pub call: bool,
    /// The distance from the seventh byte on to the slot.
    pub displacement: i32,
}

impl LinkedImport {
    /// Reads the 12 bytes of a site; `None` when a linker has not written them.
    #[inline]
    pub fn parse(bytes: &[u8; SITE_SIZE]) -> Option<Self> {
        let [a, b, c, d0, d1, d2, d3, tail @ ..] = *bytes;
        let call = match ([a, b, c], tail) {
            (CALL_SLOT, AFTER_CALL) => true,
            (JUMP_SLOT, AFTER_JUMP) => false,
            _ => return None,
        };
        Some(Self { call, displacement: i32::from_le_bytes([d0, d1, d2, d3]) })
    }
}

/// The site as a direct call: `distance` counts from the site's end to the target.
#[inline]
pub(crate) fn direct(linked: LinkedImport, distance: i32) -> [u8; SITE_SIZE] {
    let [r0, r1, r2, r3] = distance.to_le_bytes();
    with_tail(linked, [if linked.call { CALL } else { JUMP }, r0, r1, r2, r3])
}

/// The site as a call of the retpoline stub for imports, which finds the target in r10.
pub(crate) fn through_stub(linked: LinkedImport, distance: i32) -> [u8; SITE_SIZE] {
    direct(linked, distance)
}

/// The site as a call of r10.
pub(crate) fn through_register(linked: LinkedImport) -> [u8; SITE_SIZE] {
    with_tail(linked, if linked.call { CALL_R10 } else { JUMP_R10 })
}

#[inline]
fn with_tail(linked: LinkedImport, tail: [u8; 5]) -> [u8; SITE_SIZE] {
    let mut out = [0; SITE_SIZE];
    out[..3].copy_from_slice(&MOV_R10);
    out[3..7].copy_from_slice(&linked.displacement.to_le_bytes());
    out[7..].copy_from_slice(&tail);
    out
}
