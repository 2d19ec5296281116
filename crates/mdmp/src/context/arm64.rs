//! `ARM64_NT_CONTEXT` (winnt.h), 912 bytes.

use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `CONTEXT_ARM64`.
pub const CONTEXT_ARM64: u32 = 0x0040_0000;
/// `CONTEXT_CONTROL`: Fp, Lr, Sp, Pc, Cpsr.
pub const CONTEXT_CONTROL: u32 = CONTEXT_ARM64 | 1;
/// `CONTEXT_INTEGER`: X0 to X28.
pub const CONTEXT_INTEGER: u32 = CONTEXT_ARM64 | 2;
/// `CONTEXT_FLOATING_POINT`: V0 to V31, Fpcr, Fpsr.
pub const CONTEXT_FLOATING_POINT: u32 = CONTEXT_ARM64 | 4;
/// `CONTEXT_DEBUG_REGISTERS`.
pub const CONTEXT_DEBUG_REGISTERS: u32 = CONTEXT_ARM64 | 8;
/// `CONTEXT_FULL`: control, integer and floating point.
pub const CONTEXT_FULL: u32 = CONTEXT_ARM64 | 7;

/// The registers of an ARM64 thread. Field names as in winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the fields are the processor's registers under their own names")]
pub struct Context {
    pub context_flags: U32,
    pub cpsr: U32,
    pub x: [U64; 29],
    pub fp: U64,
    pub lr: U64,
    pub sp: U64,
    pub pc: U64,
    pub v: [U128; 32],
    pub fpcr: U32,
    pub fpsr: U32,
    pub bcr: [U32; 8],
    pub bvr: [U64; 8],
    pub wcr: [U32; 2],
    pub wvr: [U64; 2],
}

const _: () = assert!(size_of::<Context>() == 912);
const _: () = assert!(std::mem::offset_of!(Context, sp) == 0x100 && std::mem::offset_of!(Context, v) == 0x110);

impl Context {
    /// A context with control, integer and floating-point registers marked valid; all registers but these 0.
    pub fn new(pc: u64, sp: u64) -> Context {
        let mut context = Context::new_zeroed();
        context.context_flags = CONTEXT_FULL.into();
        context.pc = pc.into();
        context.sp = sp.into();
        context
    }
}
