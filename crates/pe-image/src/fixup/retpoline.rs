//! Retpoline: indirect branches become calls of stubs that lie after the image.
//!
//! | site | as linked | rewritten |
//! | --- | --- | --- |
//! | call through rax | `FF D0` or `48 FF D0`, nop | `E8 rel32` (5 bytes) |
//! | jump through rax | `FF E0` or `48 FF E0`, `CC`… | `E9 rel32` (5 bytes) |
//! | call through the CFG pointer | `[48] FF 15 disp32` | `E8 rel32`, `90` to the end (6 or 7 bytes) |
//! | jump through the CFG pointer | `[48] FF 25 disp32` | `E9 rel32`, `CC` to the end (6 or 7 bytes) |
//! | switch | `FF E0+r` or `41 FF E0+r`, `CC`… | `E8 rel32 CC` (6 bytes): a call whose return address the stub drops |

use std::ops::Range;

use crate::addr::{PAGE_SIZE, Rva, Va};
use crate::bytes;
use crate::dvrt::{IndirectTransfer, PageRecord, SwitchBranch};
use crate::fixup::import_optimization::{CALL, JUMP};

/// Where the stubs lie in the stub block: the dwords at the block's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct StubOffsets {
    /// Dwords 1 to 16: the switch stub of each register.
    pub switch: [u32; 16],
    /// Dword 17: indirect through rax, with CFG check.
    pub indirect_cfg: u32,
    /// Dword 18: indirect through rax.
    pub indirect: u32,
    /// Dword 19: import through r10.
    pub import: u32,
}

/// One of the stubs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Stub {
    /// For a switch's jump through this register: 0 rax, 1 rcx, … 15 r15.
    Switch(u8),
    /// For an indirect call or jump through rax, with CFG check.
    IndirectCfg,
    /// For an indirect call or jump through rax.
    Indirect,
    /// For an import call that is not direct: `_guard_retpoline_import_r10`.
    Import,
}

impl StubOffsets {
    /// The stub that starts `offset` bytes into the block.
    pub fn stub_at(&self, offset: u32) -> Option<Stub> {
        let others =
            [(self.indirect_cfg, Stub::IndirectCfg), (self.indirect, Stub::Indirect), (self.import, Stub::Import)];
        let other = others.into_iter().find(|(at, _)| *at == offset).map(|(_, stub)| stub);
        let register = || self.switch.iter().position(|&at| at == offset);
        other.or_else(|| register().map(|register| Stub::Switch(register as u8)))
    }
}

/// How far after an image a branch may lead that is taken for one into the stubs: the highest offset that was seen is
/// 0x420, and modules lie further apart than that.
const STUBS_REACH: u64 = 2 * PAGE_SIZE as u64;

/// The offset in the stub block of a branch that leaves an image of `size_of_image` bytes at `base` for the pages right
/// after it; `None` for any other target. Nothing but the addresses is looked at.
pub fn stub_offset(base: impl Into<Va>, size_of_image: u32, target: impl Into<Va>) -> Option<u32> {
    let start = base.into().wrapping_add(u64::from(size_of_image).next_multiple_of(PAGE_SIZE.into()));
    let offset = target.into().0.wrapping_sub(start.0);
    (offset < STUBS_REACH).then_some(offset as u32)
}

/// A branch to a stub as it stands at a rewritten site: 5 bytes, and what fills the rest of the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StubBranch {
    bytes: [u8; 7],
    len: u8,
}

impl StubBranch {
    /// Bytes of the branch instruction, which its distance counts from the end of.
    pub const INSTRUCTION: usize = 5;
    /// Where the 32-bit distance to the stub lies in the site.
    pub const DISTANCE: Range<usize> = 1..5;

    fn new(opcode: u8, distance: i32, fill: u8, len: u32) -> Self {
        let mut bytes = [fill; 7];
        bytes[0] = opcode;
        bytes[Self::DISTANCE].copy_from_slice(&distance.to_le_bytes());
        Self { bytes, len: len as u8 }
    }

    /// The branch at a site of symbol 4.
    pub(crate) fn indirect(site: &IndirectTransfer, distance: i32) -> Self {
        let (opcode, fill) = if site.call { (CALL, 0x90) } else { (JUMP, 0xcc) };
        Self::new(opcode, distance, fill, site.size())
    }

    /// The branch at a site of symbol 5: a call, whose return address the stub drops.
    pub(crate) fn switch(site: &SwitchBranch, distance: i32) -> Self {
        Self::new(CALL, distance, 0xcc, site.size())
    }

    /// The bytes of the whole site.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Where it leads, when its first byte lies at `address`.
    pub fn target(&self, address: impl Into<Va>) -> Va {
        let distance = bytes::u32_at(&self.bytes, Self::DISTANCE.start).unwrap_or_default() as i32;
        address.into().wrapping_add((i64::from(distance) + Self::INSTRUCTION as i64) as u64)
    }
}

/// What a symbol 4 site becomes, given its bytes as linked and the distance from its *first byte* to each stub; `None`
/// when a linker has not written these bytes. `cfg_pointer` is where the CFG dispatch pointer lies, if that is known.
pub(crate) fn indirect_rewrite(
    site: &IndirectTransfer,
    linked: &[u8],
    cfg_pointer: Option<Rva>,
    offsets: &StubOffsets,
    to_block: i64,
) -> Option<StubBranch> {
    let prefix = usize::from(site.rex);
    if site.rex && *linked.first()? != 0x48 {
        return None;
    }
    let body = linked.get(prefix..)?;
    if site.cfg {
        let expected = [0xff, if site.call { 0x15 } else { 0x25 }];
        if body.get(..2)? != expected {
            return None;
        }
        let pointer = i64::from(site.rva.0) + prefix as i64 + 6 + i64::from(bytes::u32_at(body, 2)? as i32);
        if cfg_pointer.is_some_and(|expected| i64::from(expected.0) != pointer) {
            return None;
        }
        return Some(StubBranch::indirect(site, distance(to_block, offsets.indirect_cfg)?));
    }
    // What fills the site up to 5 bytes: a nop after the call, breakpoints after the jump. After a call with prefix a
    // nop of 3 bytes is taken too, as compilers write it; only 5 bytes are changed.
    let forms: &[&[u8]] = match (site.call, site.rex) {
        (true, false) => &[&[0xff, 0xd0, 0x0f, 0x1f, 0x00]],
        (true, true) => &[&[0xff, 0xd0, 0x66, 0x90], &[0xff, 0xd0, 0x0f, 0x1f, 0x00]],
        (false, false) => &[&[0xff, 0xe0, 0xcc, 0xcc, 0xcc]],
        (false, true) => &[&[0xff, 0xe0, 0xcc, 0xcc]],
    };
    let is_linked = forms.iter().any(|form| body.starts_with(form));
    is_linked.then_some(StubBranch::indirect(site, distance(to_block, offsets.indirect)?))
}

/// As [`indirect_rewrite`], for a switch's jump.
pub(crate) fn switch_rewrite(
    site: &SwitchBranch,
    linked: &[u8],
    offsets: &StubOffsets,
    to_block: i64,
) -> Option<StubBranch> {
    let is_linked = match (site.register, linked.get(..6)?) {
        (0..8, [0xff, register, rest @ ..]) => *register == 0xe0 + site.register && *rest == [0xcc; 4],
        (8.., [0x41, 0xff, register, rest @ ..]) => *register == 0xe0 + site.register - 8 && *rest == [0xcc; 3],
        _ => false,
    };
    let stub = offsets.switch[usize::from(site.register & 15)];
    is_linked.then_some(StubBranch::switch(site, distance(to_block, stub)?))
}

/// The distance in a branch to a stub, given that from the site's first byte to the stub block.
fn distance(to_block: i64, stub: u32) -> Option<i32> {
    i32::try_from(to_block + i64::from(stub) - StubBranch::INSTRUCTION as i64).ok()
}
