//! Processor contexts: the `CONTEXT` structure of winnt.h for each architecture, as it lies in a dump.

pub mod amd64;
pub mod arm64;
pub mod x86;

use zerocopy::IntoBytes;

/// The registers of a thread, for one of the architectures.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Context {
    /// x64, 1232 bytes.
    Amd64(Box<amd64::Context>),
    /// ARM64, 912 bytes.
    Arm64(Box<arm64::Context>),
    /// 32-bit x86, 716 bytes.
    X86(Box<x86::Context>),
}

impl Context {
    /// The bytes as they lie in a dump.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Context::Amd64(context) => context.as_bytes(),
            Context::Arm64(context) => context.as_bytes(),
            Context::X86(context) => context.as_bytes(),
        }
    }

    /// Address of the next instruction; x86 ones sign-extended, as dumps keep them.
    pub fn instruction_pointer(&self) -> u64 {
        match self {
            Context::Amd64(context) => context.rip.get(),
            Context::Arm64(context) => context.pc.get(),
            Context::X86(context) => x86::extend(context.eip.get()),
        }
    }

    /// The stack pointer; x86 ones sign-extended, as dumps keep them.
    pub fn stack_pointer(&self) -> u64 {
        match self {
            Context::Amd64(context) => context.rsp.get(),
            Context::Arm64(context) => context.sp.get(),
            Context::X86(context) => x86::extend(context.esp.get()),
        }
    }
}

impl From<amd64::Context> for Context {
    fn from(context: amd64::Context) -> Context {
        Context::Amd64(Box::new(context))
    }
}

impl From<arm64::Context> for Context {
    fn from(context: arm64::Context) -> Context {
        Context::Arm64(Box::new(context))
    }
}

impl From<x86::Context> for Context {
    fn from(context: x86::Context) -> Context {
        Context::X86(Box::new(context))
    }
}
