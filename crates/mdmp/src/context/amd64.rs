//! `CONTEXT` of x64 (winnt.h), 1232 bytes.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// `CONTEXT_AMD64`.
pub const CONTEXT_AMD64: u32 = 0x0010_0000;
/// `CONTEXT_CONTROL`: SegSs, Rsp, SegCs, Rip, EFlags.
pub const CONTEXT_CONTROL: u32 = CONTEXT_AMD64 | 1;
/// `CONTEXT_INTEGER`: Rax to R15 but Rsp.
pub const CONTEXT_INTEGER: u32 = CONTEXT_AMD64 | 2;
/// `CONTEXT_SEGMENTS`: SegDs, SegEs, SegFs, SegGs.
pub const CONTEXT_SEGMENTS: u32 = CONTEXT_AMD64 | 4;
/// `CONTEXT_FLOATING_POINT`: Xmm0 to Xmm15 and the x87 state.
pub const CONTEXT_FLOATING_POINT: u32 = CONTEXT_AMD64 | 8;
/// `CONTEXT_DEBUG_REGISTERS`: Dr0 to Dr3, Dr6, Dr7.
pub const CONTEXT_DEBUG_REGISTERS: u32 = CONTEXT_AMD64 | 0x10;
/// `CONTEXT_ALL`: everything above.
pub const CONTEXT_ALL: u32 = CONTEXT_AMD64 | 0x1f;

/// MXCSR and x87 control word after a reset of the floating-point state, as Windows starts threads.
const MX_CSR: u32 = 0x1f80;
const CONTROL_WORD: u16 = 0x27f;

/// The registers of an x64 thread. Field names as in winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the fields are the processor's registers under their own names")]
pub struct Context {
    pub p_home: [U64; 6],
    pub context_flags: U32,
    pub mx_csr: U32,
    pub seg_cs: U16,
    pub seg_ds: U16,
    pub seg_es: U16,
    pub seg_fs: U16,
    pub seg_gs: U16,
    pub seg_ss: U16,
    pub e_flags: U32,
    pub dr0: U64,
    pub dr1: U64,
    pub dr2: U64,
    pub dr3: U64,
    pub dr6: U64,
    pub dr7: U64,
    pub rax: U64,
    pub rcx: U64,
    pub rdx: U64,
    pub rbx: U64,
    pub rsp: U64,
    pub rbp: U64,
    pub rsi: U64,
    pub rdi: U64,
    pub r8: U64,
    pub r9: U64,
    pub r10: U64,
    pub r11: U64,
    pub r12: U64,
    pub r13: U64,
    pub r14: U64,
    pub r15: U64,
    pub rip: U64,
    pub flt_save: XsaveFormat,
    pub vector_register: [U128; 26],
    pub vector_control: U64,
    pub debug_control: U64,
    pub last_branch_to_rip: U64,
    pub last_branch_from_rip: U64,
    pub last_exception_to_rip: U64,
    pub last_exception_from_rip: U64,
}

/// `XSAVE_FORMAT`: what FXSAVE stores.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(missing_docs, reason = "the fields are the processor's registers under their own names")]
pub struct XsaveFormat {
    pub control_word: U16,
    pub status_word: U16,
    pub tag_word: u8,
    pub reserved1: u8,
    pub error_opcode: U16,
    pub error_offset: U32,
    pub error_selector: U16,
    pub reserved2: U16,
    pub data_offset: U32,
    pub data_selector: U16,
    pub reserved3: U16,
    pub mx_csr: U32,
    pub mx_csr_mask: U32,
    pub float_registers: [U128; 8],
    pub xmm_registers: [U128; 16],
    pub reserved4: [u8; 96],
}

const _: () = assert!(size_of::<Context>() == 1232 && size_of::<XsaveFormat>() == 512);
const _: () = assert!(std::mem::offset_of!(Context, rip) == 0xf8 && std::mem::offset_of!(Context, flt_save) == 0x100);
const _: () = assert!(std::mem::offset_of!(Context, vector_control) == 0x4a0);

impl Context {
    /// A context with every register group marked valid, the segment selectors of 64-bit Windows user mode and a clean
    /// floating-point state; all other registers 0.
    pub fn user(rip: u64, rsp: u64) -> Context {
        let mut context = Context::clean(rip, rsp);
        context.seg_cs = 0x33.into();
        context.seg_ds = 0x2b.into();
        context.seg_es = 0x2b.into();
        context.seg_fs = 0x53.into();
        context.seg_gs = 0x2b.into();
        context.seg_ss = 0x2b.into();
        context
    }

    /// As [`Context::user`], with the segment selectors of kernel mode.
    pub fn kernel(rip: u64, rsp: u64) -> Context {
        let mut context = Context::clean(rip, rsp);
        context.seg_cs = 0x10.into();
        context.seg_ds = 0x2b.into();
        context.seg_es = 0x2b.into();
        context.seg_fs = 0x53.into();
        context.seg_gs = 0x2b.into();
        context.seg_ss = 0x18.into();
        context
    }

    fn clean(rip: u64, rsp: u64) -> Context {
        let mut context = Context::new_zeroed();
        context.context_flags = CONTEXT_ALL.into();
        context.rip = rip.into();
        context.rsp = rsp.into();
        context.e_flags = 0x202.into();
        // kdmp-parser compares the two copies of MXCSR and refuses a dump in which they differ (measured).
        context.mx_csr = MX_CSR.into();
        context.flt_save.mx_csr = MX_CSR.into();
        context.flt_save.mx_csr_mask = 0xffff.into();
        context.flt_save.control_word = CONTROL_WORD.into();
        context
    }
}
