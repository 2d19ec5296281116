//! A kernel that a compiler and a linker made, mapped where it runs: full and bitmap dumps of its memory.

use std::collections::{BTreeMap, BTreeSet};

use super::pages::{FILLER, Physical, ROOT};
use super::{DumpHeader, context};

/// Memory by virtual address, and what the dump's header says. What follows in virtual memory lies in descending
/// physical pages, so no reader finds it without the page tables.
#[derive(Clone, Debug, Default)]
pub struct Mapped {
    /// Build of Windows.
    pub build: u32,
    /// Processors.
    pub processors: u32,
    /// FILETIME of the dump.
    pub time: u64,
    /// Time since boot, 100 ns.
    pub up_time: u64,
    /// Instruction and stack pointer of the context.
    pub rip: u64,
    /// See `rip`.
    pub rsp: u64,
    /// Address of `PsLoadedModuleList`.
    pub module_list: u64,
    /// Address of `KdDebuggerDataBlock`.
    pub debugger_data: u64,
    /// Bytes by address.
    pub memory: BTreeMap<u64, Vec<u8>>,
    /// Addresses of pages that hold no code.
    pub no_execute: BTreeSet<u64>,
    /// Addresses of pages that are mapped, and not in the dump.
    pub absent: BTreeSet<u64>,
}

/// The bit of a page table entry that forbids to run what the page holds.
const NO_EXECUTE: u64 = 1 << 63;
/// The entry of the root that maps the tables themselves, as kernels of Windows have one.
const SELF_MAP: usize = 0x1ed;

impl Mapped {
    /// A full dump, DumpType 1.
    pub fn full(&self) -> Vec<u8> {
        self.physical().full(self.header().write(1, FILLER))
    }

    /// A bitmap dump of the kernel's memory, DumpType 6.
    pub fn bitmap(&self) -> Vec<u8> {
        self.physical().bitmap(self.header().write(6, FILLER), b"SDMPDUMP")
    }

    fn header(&self) -> DumpHeader {
        DumpHeader {
            build: self.build,
            processors: self.processors,
            bugcheck: (0x133, [1, 0x1e00, 0, 0]),
            time: self.time,
            up_time: self.up_time,
            rip: self.rip,
            module_list: self.module_list,
            debugger_data: self.debugger_data,
            context: context(self.rip, self.rsp),
        }
    }

    fn physical(&self) -> Physical {
        let mut physical = Physical::descending();
        for (address, bytes) in &self.memory {
            physical.write(*address, bytes);
        }
        for page in &self.no_execute {
            physical.change_entry(*page, 0, |entry| entry | NO_EXECUTE);
        }
        for page in &self.absent {
            let number = physical.page(*page);
            physical.pages.remove(&number);
        }
        let root = physical.pages.get_mut(&(ROOT / 0x1000)).unwrap();
        root[8 * SELF_MAP..8 * SELF_MAP + 8].copy_from_slice(&(ROOT | 0x63).to_le_bytes());
        physical
    }
}
