//! `CONTEXT` of 32-bit x86 (winnt.h; `WOW64_CONTEXT` is the same), 716 bytes.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `CONTEXT_i386`.
pub const CONTEXT_I386: u32 = 0x0001_0000;
/// `CONTEXT_FULL`: control, integer and segment registers.
pub const CONTEXT_FULL: u32 = CONTEXT_I386 | 7;

/// The registers of an x86 thread. Field names as in winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the fields are the processor's registers under their own names")]
pub struct Context {
    pub context_flags: U32,
    pub dr0: U32,
    pub dr1: U32,
    pub dr2: U32,
    pub dr3: U32,
    pub dr6: U32,
    pub dr7: U32,
    /// `FLOATING_SAVE_AREA`: what FNSAVE stores, and Cr0NpxState.
    pub float_save: [u8; 112],
    pub seg_gs: U32,
    pub seg_fs: U32,
    pub seg_es: U32,
    pub seg_ds: U32,
    pub edi: U32,
    pub esi: U32,
    pub ebx: U32,
    pub edx: U32,
    pub ecx: U32,
    pub eax: U32,
    pub ebp: U32,
    pub eip: U32,
    pub seg_cs: U32,
    pub e_flags: U32,
    pub esp: U32,
    pub seg_ss: U32,
    pub extended_registers: [u8; 512],
}

const _: () = assert!(size_of::<Context>() == 716);
const _: () = assert!(std::mem::offset_of!(Context, eip) == 184 && std::mem::offset_of!(Context, esp) == 196);

impl Context {
    /// A context with control, integer and segment registers marked valid and the selectors of Windows user mode; all
    /// other registers 0.
    pub fn new(eip: u32, esp: u32) -> Context {
        let mut context = Context::new_zeroed();
        context.context_flags = CONTEXT_FULL.into();
        context.eip = eip.into();
        context.esp = esp.into();
        context.seg_cs = 0x1b.into();
        context.seg_ds = 0x23.into();
        context.seg_es = 0x23.into();
        context.seg_fs = 0x3b.into();
        context.seg_ss = 0x23.into();
        context.e_flags = 0x202.into();
        context
    }
}

/// An x86 address as dumps keep it: sign-extended to 64 bit.
pub fn extend(address: u32) -> u64 {
    i64::from(address.cast_signed()).cast_unsigned()
}
