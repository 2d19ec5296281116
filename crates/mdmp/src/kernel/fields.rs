//! Vendor names of the numbers in a kernel dump's header. Unknown values survive and print.

use std::fmt;

/// `DUMP_HEADER64.DumpType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DumpType(pub u32);

impl DumpType {
    /// All physical memory, in runs.
    pub const FULL: DumpType = DumpType(1);
    /// Kernel memory by a summary header (up to Windows 7).
    pub const SUMMARY: DumpType = DumpType(2);
    /// Triage ("small memory") dump: data blocks instead of pages.
    pub const TRIAGE: DumpType = DumpType(4);
    /// All physical memory, pages by a bitmap.
    pub const BITMAP_FULL: DumpType = DumpType(5);
    /// Kernel memory, pages by a bitmap.
    pub const BITMAP_KERNEL: DumpType = DumpType(6);
    /// "Automatic" memory dump: kernel memory, pages by a bitmap.
    pub const AUTOMATIC: DumpType = DumpType(7);

    /// The name for people; unknown numbers show as themselves.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            DumpType::FULL => "full memory",
            DumpType::SUMMARY => "kernel summary",
            DumpType::TRIAGE => "triage",
            DumpType::BITMAP_FULL => "full memory bitmap",
            DumpType::BITMAP_KERNEL => "kernel memory bitmap",
            DumpType::AUTOMATIC => "automatic memory bitmap",
            _ => return None,
        })
    }
}

impl fmt::Display for DumpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "dump type {:#x}", self.0),
        }
    }
}

/// `DUMP_HEADER64.MachineImageType`: `IMAGE_FILE_MACHINE_*` of winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Machine(pub u32);

impl Machine {
    /// 32-bit x86, whose dumps have another header ("PAGEDUMP") and are not written.
    pub const I386: Machine = Machine(0x14c);
    /// x64.
    pub const AMD64: Machine = Machine(0x8664);
    /// ARM64.
    pub const ARM64: Machine = Machine(0xaa64);
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Machine::I386 => f.write_str("x86"),
            Machine::AMD64 => f.write_str("AMD64"),
            Machine::ARM64 => f.write_str("ARM64"),
            Machine(other) => write!(f, "machine {other:#x}"),
        }
    }
}

/// `DUMP_HEADER64.MiniDumpFields`: the parts that a triage dump has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parts(pub u32);

impl Parts {
    /// `TRIAGE_DUMP_CONTEXT`.
    pub const CONTEXT: Parts = Parts(0x1);
    /// `TRIAGE_DUMP_EXCEPTION`.
    pub const EXCEPTION: Parts = Parts(0x2);
    /// `TRIAGE_DUMP_PRCB`.
    pub const PRCB: Parts = Parts(0x4);
    /// `TRIAGE_DUMP_PROCESS`.
    pub const PROCESS: Parts = Parts(0x8);
    /// `TRIAGE_DUMP_THREAD`.
    pub const THREAD: Parts = Parts(0x10);
    /// `TRIAGE_DUMP_STACK`.
    pub const STACK: Parts = Parts(0x20);
    /// `TRIAGE_DUMP_DRIVER_LIST`.
    pub const DRIVER_LIST: Parts = Parts(0x40);
    /// `TRIAGE_DUMP_BROKEN_DRIVER`.
    pub const BROKEN_DRIVER: Parts = Parts(0x80);
    /// `TRIAGE_DUMP_DATA_PAGE`.
    pub const DATA_PAGE: Parts = Parts(0x200);
    /// `TRIAGE_DUMP_DEBUGGER_DATA`.
    pub const DEBUGGER_DATA: Parts = Parts(0x400);
    /// `TRIAGE_DUMP_DATA_BLOCKS`.
    pub const DATA_BLOCKS: Parts = Parts(0x800);

    /// dbgeng reads data blocks only when these are all set, the broken driver's bit included, whether there is one or
    /// not (measured).
    pub const REQUIRED: Parts = Parts(0xff | Parts::DATA_BLOCKS.0);

    /// True when all of `parts` are here.
    pub fn contains(self, parts: Parts) -> bool {
        self.0 & parts.0 == parts.0
    }
}

impl std::ops::BitOr for Parts {
    type Output = Parts;

    fn bitor(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }
}
