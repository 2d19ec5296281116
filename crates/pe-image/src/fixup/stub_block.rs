//! The pages of code that the kernel maps after images: retpoline stubs up to Windows 11 23H2, the kernel shared code from
//! 24H2 on.
//!
//! ```text
//! section RETPOL:  u32 unknown | 16 x u32 switch stubs | u32 CFG, u32 rax, u32 import stub | … | stubs
//! section KSCP:    u32 unwind data | the same 19 | u32 unknown | u32, u32 guarded call with SMEP, without
//!                  | 15 x u32 further functions (in later kernels) | … | stubs and functions
//! ```
//!
//! All are offsets within the block.

use std::sync::Arc;

use crate::addr::{PAGE_SIZE, Rva, Va};
use crate::bytes;
use crate::capabilities::Capabilities;
use crate::error::{Error, Place, Result};
use crate::fixup::import_optimization::JUMP;
use crate::fixup::retpoline::{Stub, StubOffsets};

/// Dwords of the header that every kernel has; dword 0 is no stub's.
const HEADER_DWORDS: usize = 20;
/// Dwords of the shared code's header: the two functions for guarded calls, then those of later kernels.
const GUARDED_CALLS: [usize; 2] = [21, 22];
const FURTHER: std::ops::Range<usize> = 23..38;
/// The capability whose override is the guarded call, and the first of those whose overrides are the further functions.
pub(crate) const GUARDED_CALL: u32 = Capabilities::GUARDED_CALL;
const FIRST_FURTHER: u32 = 0x14b;
/// What a guarded call's function begins with in the file: `jmp rax`, and room for what the kernel may put there.
const GUARDED_CALL_BYTES: [u8; 10] = [0x48, 0xff, 0xe0, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc];
/// What kernel CFG makes of them, as far as is known: `mov r11, imm64`, the address of the bitmap that the code behind it asks.
/// The address is the machine's, and is not known; it does not say where calls go.
pub(crate) const CHECKED_CALL: [u8; 10] = [0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0];

/// A function of the kernel shared code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SharedFunction {
    /// The guarded call on processors with SMEP: `KscpCfgDispatchUserCallTargetEsSmep`.
    GuardedCall,
    /// The guarded call on processors without SMEP: `KscpCfgDispatchUserCallTargetEsNoSmep`.
    GuardedCallNoSmep,
    /// A function of later kernels of which only its number is known: the dword of the header that names it, from 23 on.
    Further(u8),
}

/// The retpoline stubs and the kernel shared code: the pages of the kernel's section RETPOL or KSCP, which the kernel maps
/// once more after every image. A clone shares the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StubBlock {
    bytes: Arc<[u8]>,
    offsets: StubOffsets,
    /// The functions of the shared code, and where each lies in the block. Empty for a section RETPOL.
    functions: Arc<[(SharedFunction, u32)]>,
    /// Where the kernel has the section.
    address: Option<Va>,
    reserve: u32,
    /// False when there is no room for a copy after the image.
    is_copied: bool,
}

impl StubBlock {
    /// Takes the stubs as they lie in memory: the kernel's section, or its copy after an image. `rva` says where that is,
    /// for the error's text. A block that was made so has no shared functions.
    ///
    /// # Errors
    /// When the header does not lie in the bytes or an offset in it leads out of them.
    pub fn from_pages(bytes: Vec<u8>, rva: Rva) -> Result<Self> {
        let dword = |number: usize| {
            let offset = bytes::u32_at(&bytes, 4 * number).ok_or_else(|| {
                let need = 4 * HEADER_DWORDS as u64;
                Error::truncated(Place::Rva(rva), "retpoline stub header", need, bytes.len() as u64)
            })?;
            // The stubs lie after the header.
            if (offset as usize) < 4 * HEADER_DWORDS || offset as usize >= bytes.len() {
                let place = Place::Rva(Rva(rva.0.saturating_add(4 * number as u32)));
                let allowed = format!("{:#x} to {:#x}", 4 * HEADER_DWORDS, bytes.len().saturating_sub(1));
                return Err(Error::field(place, "retpoline stub header", "stub offset", offset, allowed));
            }
            Ok(offset)
        };
        let mut switch = [0; 16];
        for (register, offset) in switch.iter_mut().enumerate() {
            *offset = dword(1 + register)?;
        }
        let offsets = StubOffsets { switch, indirect_cfg: dword(17)?, indirect: dword(18)?, import: dword(19)? };
        let functions = [].into();
        Ok(Self { bytes: bytes.into(), offsets, functions, address: None, reserve: 0, is_copied: true })
    }

    /// The block of a kernel that has it at `address`, as shared code or as stubs alone.
    pub(crate) fn in_kernel(bytes: Vec<u8>, rva: Rva, address: Va, is_shared: bool) -> Result<Self> {
        let mut block = Self::from_pages(bytes, rva)?;
        block.address = Some(address);
        if is_shared {
            block.functions = shared_functions(&block.bytes, &block.offsets).into();
        }
        Ok(block)
    }

    /// The same block on a machine whose kernel keeps so many bytes free between an image and the copy: the sum of
    /// HotPatchReserveSize and DriverProxyReserveSize of the loader block, in whole pages. No file says how many they are.
    pub fn with_reserve(mut self, bytes: u32) -> Self {
        self.reserve = bytes.checked_next_multiple_of(PAGE_SIZE).unwrap_or(bytes);
        self
    }

    /// The same block for an image after which there is no room for a copy.
    pub fn without_copy(mut self) -> Self {
        self.is_copied = false;
        self
    }

    /// The pages.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the stubs lie in the pages.
    pub fn offsets(&self) -> StubOffsets {
        self.offsets
    }

    /// The functions of the shared code, and where each lies in the pages. Empty for a kernel before Windows 11 24H2.
    pub fn shared_functions(&self) -> &[(SharedFunction, u32)] {
        &self.functions
    }

    /// Where the kernel has the section; `None` for a block that was not taken from a kernel's image.
    pub fn address(&self) -> Option<Va> {
        self.address
    }

    /// Bytes between an image and the copy after it.
    pub fn reserve(&self) -> u32 {
        self.reserve
    }

    /// False when there is no room for a copy after the image.
    pub(crate) fn is_copied(&self) -> bool {
        self.is_copied
    }

    /// Where the kernel's own function for a capability lies in the pages, if it has one. Every processor with Intel PT has
    /// SMEP, so that the guarded call is the one for it.
    pub(crate) fn system_function(&self, capability: u32) -> Option<u32> {
        let function = match capability {
            GUARDED_CALL => SharedFunction::GuardedCall,
            _ => {
                let further = usize::try_from(capability.checked_sub(FIRST_FURTHER)?).ok()?;
                SharedFunction::Further(u8::try_from(FURTHER.start + further).ok()?)
            }
        };
        self.functions.iter().find(|(known, _)| *known == function).map(|&(_, offset)| offset)
    }

    /// Bytes at the start of a guarded call that kernel CFG replaces: the check of the bitmap lies behind them.
    pub const GUARDED_CALL_SIZE: u32 = GUARDED_CALL_BYTES.len() as u32;

    /// Where the guarded calls lie in the pages. Nothing where the file has other bytes than are known.
    pub fn guarded_calls(&self) -> impl Iterator<Item = u32> {
        let guarded = |function| matches!(function, SharedFunction::GuardedCall | SharedFunction::GuardedCallNoSmep);
        let functions = self.functions.iter().filter(move |&&(function, _)| guarded(function));
        let known = |at: u32| bytes::array_at::<10>(&self.bytes, at as usize) == Some(GUARDED_CALL_BYTES);
        functions.map(|&(_, offset)| offset).filter(move |&offset| known(offset))
    }

    /// What the retpoline pass writes over the guarded calls: a jump to the stub with CFG check, and where.
    pub(crate) fn guarded_calls_with_retpoline(&self) -> impl Iterator<Item = (u32, [u8; 5])> {
        self.guarded_calls().map(|offset| {
            let distance = self.offsets.indirect_cfg.wrapping_sub(offset + 5).to_le_bytes();
            (offset, [JUMP, distance[0], distance[1], distance[2], distance[3]])
        })
    }

    /// The name of what starts `offset` bytes into the pages, as the kernel's symbols have it where that is known.
    pub fn name_at(&self, offset: u32) -> Option<String> {
        let function = self.functions.iter().find(|&&(_, at)| at == offset).map(|(function, _)| *function);
        if let Some(function) = function {
            return Some(match function {
                SharedFunction::GuardedCall => "KscpCfgDispatchUserCallTargetEsSmep".to_owned(),
                SharedFunction::GuardedCallNoSmep => "KscpCfgDispatchUserCallTargetEsNoSmep".to_owned(),
                SharedFunction::Further(dword) => format!("shared function {dword}"),
            });
        }
        Some(match self.offsets.stub_at(offset)? {
            Stub::Switch(register) => format!("switch stub of register {register}"),
            Stub::IndirectCfg => "stub for guarded indirect branches".to_owned(),
            Stub::Indirect => "stub for indirect branches".to_owned(),
            Stub::Import => "_guard_retpoline_import_r10".to_owned(),
        })
    }
}

/// The functions that a shared code's header names. It has no length: a dword belongs to it that lies in front of everything
/// that its dwords name.
fn shared_functions(bytes: &[u8], offsets: &StubOffsets) -> Vec<(SharedFunction, u32)> {
    let dword = |number: usize| {
        let offset = bytes::u32_at(bytes, 4 * number)?;
        (offset as usize >= 4 * (GUARDED_CALLS[1] + 1) && (offset as usize) < bytes.len()).then_some(offset)
    };
    let guarded = GUARDED_CALLS.map(dword);
    let stubs = offsets.switch.into_iter().chain([offsets.indirect_cfg, offsets.indirect, offsets.import]);
    let mut first = stubs.chain(guarded.into_iter().flatten()).min().unwrap_or(0);
    let kinds = [SharedFunction::GuardedCall, SharedFunction::GuardedCallNoSmep];
    let mut out: Vec<_> = kinds.into_iter().zip(guarded).filter_map(|(kind, at)| Some((kind, at?))).collect();
    for number in FURTHER {
        if 4 * (number as u32 + 1) > first {
            break;
        }
        if let Some(offset) = dword(number) {
            first = first.min(offset);
            out.push((SharedFunction::Further(number as u8), offset));
        }
    }
    out
}
