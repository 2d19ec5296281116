//! SystemInfo (stream 7), `MINIDUMP_SYSTEM_INFO`, 56 bytes: dbgeng and lldb open nothing without it (measured).

use super::streams::{self, Stream, StreamType};
use super::string;
use crate::{BlobId, Context, Error, Layout};

/// `PROCESSOR_ARCHITECTURE_*` (winnt.h).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Architecture(pub u16);

impl Architecture {
    /// 32-bit x86.
    pub const X86: Architecture = Architecture(0);
    /// 32-bit ARM.
    pub const ARM: Architecture = Architecture(5);
    /// x64.
    pub const AMD64: Architecture = Architecture(9);
    /// ARM64; dbgeng 6.3 refuses it, 10.0 takes it (measured).
    pub const ARM64: Architecture = Architecture(12);
    /// Not known. lldb refuses the dump.
    pub const UNKNOWN: Architecture = Architecture(0xffff);

    /// True when `address` is an address as dumps keep it: on x86 sign-extended to 64 bit, elsewhere any. Of an x86
    /// module at zero-extended 0x81230000, dbgeng shows `??` for every byte (measured).
    pub fn has_address(self, address: u64) -> bool {
        self != Architecture::X86 || crate::x86::extend(address as u32) == address
    }

    /// The architecture whose registers `context` holds.
    pub fn of(context: &Context) -> Architecture {
        match context {
            Context::Amd64(_) => Architecture::AMD64,
            Context::Arm64(_) => Architecture::ARM64,
            Context::X86(_) => Architecture::X86,
        }
    }
}

impl std::fmt::Debug for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Architecture::X86 => f.write_str("x86"),
            Architecture::ARM => f.write_str("ARM"),
            Architecture::AMD64 => f.write_str("AMD64"),
            Architecture::ARM64 => f.write_str("ARM64"),
            Architecture(other) => write!(f, "architecture {other:#x}"),
        }
    }
}

/// `VER_NT_*` (winnt.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProductType(pub u8);

impl ProductType {
    /// `VER_NT_WORKSTATION`.
    pub const WORKSTATION: ProductType = ProductType(1);
    /// `VER_NT_DOMAIN_CONTROLLER`.
    pub const DOMAIN_CONTROLLER: ProductType = ProductType(2);
    /// `VER_NT_SERVER`.
    pub const SERVER: ProductType = ProductType(3);
}

impl std::fmt::Display for ProductType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            ProductType::WORKSTATION => f.write_str("workstation"),
            ProductType::DOMAIN_CONTROLLER => f.write_str("domain controller"),
            ProductType::SERVER => f.write_str("server"),
            ProductType(other) => write!(f, "product type {other:#x}"),
        }
    }
}

/// `CPU_INFORMATION`, a union in the file: x86 has CPUID values, all others two words of feature bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Cpu {
    /// Only for [`Architecture::X86`].
    X86 {
        /// CPUID 0: ebx, edx, ecx; for example `GenuineIntel`.
        vendor_id: [u8; 12],
        /// CPUID 1: eax.
        version_information: u32,
        /// CPUID 1: edx.
        feature_information: u32,
        /// CPUID 0x80000001: ebx; AMD only.
        amd_extended_features: u32,
    },
    /// All other architectures: `IsProcessorFeaturePresent` by bit, 128 bits.
    Other {
        /// Bit n of word n / 64.
        features: [u64; 2],
    },
}

/// What the dump says about the machine and its system.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SystemInfo {
    /// Decides how readers take contexts and code.
    pub architecture: Architecture,
    /// Family of the processor.
    pub processor_level: u16,
    /// Model in the high byte, stepping in the low one.
    pub processor_revision: u16,
    /// Logical processors; more than 255 are written as 255 by Windows too, the field has 8 bits.
    pub processors: u8,
    /// Workstation, domain controller, server.
    pub product_type: ProductType,
    /// For example 10.
    pub major: u32,
    /// For example 0.
    pub minor: u32,
    /// For example 19041.
    pub build: u32,
    /// Service pack; dbgeng prints it in brackets after the version. May be empty.
    pub csd_version: String,
    /// `VER_SUITE_*` bits.
    pub suite_mask: u16,
    /// Processor identification.
    pub cpu: Cpu,
}

impl SystemInfo {
    /// A workstation with one processor, and nothing else known.
    pub fn new(architecture: Architecture, major: u32, minor: u32, build: u32) -> SystemInfo {
        let cpu = if architecture == Architecture::X86 {
            Cpu::X86 { vendor_id: [0; 12], version_information: 0, feature_information: 0, amd_extended_features: 0 }
        } else {
            Cpu::Other { features: [0; 2] }
        };
        SystemInfo {
            architecture,
            processor_level: 0,
            processor_revision: 0,
            processors: 1,
            product_type: ProductType::WORKSTATION,
            major,
            minor,
            build,
            csd_version: String::new(),
            suite_mask: 0,
            cpu,
        }
    }
}

/// `VER_PLATFORM_WIN32_NT`. With 0, dbgeng says "64-bit machine not using 64-bit API" (measured), so the writer knows no
/// other value.
const PLATFORM_NT: u32 = 2;

impl<'a> Stream<'a> for SystemInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::SYSTEM_INFO
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        if matches!(self.cpu, Cpu::X86 { .. }) != (self.architecture == Architecture::X86) {
            let found = format!("{:?} on {:?}", self.cpu, self.architecture);
            return Err(Error::rule("SystemInfo: CPU", found, "Cpu::X86 on x86 and only there", "rust-minidump"));
        }
        let id = layout.reserve();
        let mut blob = streams::blob(self.stream_type());
        blob.u16(self.architecture.0).u16(self.processor_level).u16(self.processor_revision);
        blob.u8(self.processors).u8(self.product_type.0);
        blob.u32(self.major).u32(self.minor).u32(self.build).u32(PLATFORM_NT);
        let csd_version = string::place(layout, "SystemInfo: CSDVersion", &self.csd_version)?;
        blob.rva32(csd_version).u16(self.suite_mask).u16(0);
        match self.cpu {
            Cpu::X86 { vendor_id, version_information, feature_information, amd_extended_features } => {
                blob.bytes(&vendor_id).u32(version_information).u32(feature_information).u32(amd_extended_features)
            }
            Cpu::Other { features: [low, high] } => blob.u64(low).u64(high).u64(0),
        };
        layout.place(id, blob);
        Ok(id)
    }
}
