//! Physical memory with page tables: full and bitmap dumps.

use std::collections::BTreeMap;

use super::{KDBG, MODULE_LIST, Machine};
use crate::Asm;

const PAGE: u64 = 0x1000;
/// Physical address of the page table root, CR3.
pub(super) const ROOT: u64 = 0x5000;
/// Present, writable, accessed, dirty.
const ENTRY: u64 = 0x63;

/// Physical pages by number.
struct Physical {
    pages: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

impl Physical {
    fn new() -> Physical {
        // Numbers 5 and up, with a hole before the tables' successors: two runs.
        Physical { pages: BTreeMap::from([(ROOT / PAGE, vec![0; PAGE as usize])]), next: 0x20 }
    }

    fn allocate(&mut self) -> u64 {
        // Every eighth page stays absent, so that runs and bitmaps have holes.
        if self.next.is_multiple_of(8) {
            self.next += 1;
        }
        self.pages.insert(self.next, vec![0; PAGE as usize]);
        self.next += 1;
        self.next - 1
    }

    /// The page that backs a virtual address, mapped when it is not yet.
    fn page(&mut self, address: u64) -> u64 {
        let mut table = ROOT / PAGE;
        for level in (0..4).rev() {
            let at = ((address >> (12 + 9 * level)) & 0x1ff) as usize * 8;
            let entry = u64::from_le_bytes(self.pages[&table][at..at + 8].try_into().unwrap());
            table = if entry == 0 {
                let page = self.allocate();
                let bytes = self.pages.get_mut(&table).unwrap();
                bytes[at..at + 8].copy_from_slice(&((page * PAGE) | ENTRY).to_le_bytes());
                page
            } else {
                entry / PAGE
            };
        }
        table
    }

    fn write(&mut self, address: u64, bytes: &[u8]) {
        for (index, &byte) in bytes.iter().enumerate() {
            let at = address.wrapping_add(index as u64);
            let page = self.page(at);
            self.pages.get_mut(&page).unwrap()[(at % PAGE) as usize] = byte;
        }
    }

    /// Numbers of first page and count, of pages that follow each other.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &page in self.pages.keys() {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == page => *count += 1,
                _ => runs.push((page, 1)),
            }
        }
        runs
    }
}

impl Machine {
    /// A full dump, DumpType 1: runs of pages in the header.
    pub fn full(&self) -> Vec<u8> {
        let physical = self.physical();
        let mut asm = self.header(1, u32::from_le_bytes(*b"PAGE"));
        let runs = physical.runs();
        asm.put(0x88, &(runs.len() as u32).to_le_bytes());
        asm.put(0x90, &(physical.pages.len() as u64).to_le_bytes());
        for (index, (first, count)) in runs.into_iter().enumerate() {
            asm.put(0x98 + 16 * index, &first.to_le_bytes()).put(0xa0 + 16 * index, &count.to_le_bytes());
        }
        for page in physical.pages.values() {
            asm.bytes(page);
        }
        asm.finish()
    }

    /// A bitmap dump, DumpType 5.
    pub fn bitmap(&self) -> Vec<u8> {
        let physical = self.physical();
        let mut asm = self.header(5, u32::from_le_bytes(*b"PAGE"));
        let highest = *physical.pages.keys().last().unwrap();
        let bits = highest + 3;
        let first_page = (0x2038 + bits.div_ceil(8)).next_multiple_of(PAGE);
        asm.bytes(b"FDMPDUMP").pad_to(0x2020, 0).u64(first_page).u64(physical.pages.len() as u64).u64(bits);
        let mut bitmap = vec![0u8; bits.div_ceil(8) as usize];
        for page in physical.pages.keys() {
            bitmap[(page / 8) as usize] |= 1 << (page % 8);
        }
        asm.bytes(&bitmap).pad_to(first_page as usize, 0);
        for page in physical.pages.values() {
            asm.bytes(page);
        }
        asm.finish()
    }

    /// All of the machine's memory, with the structures that a full dump needs.
    fn physical(&self) -> Physical {
        let mut physical = Physical::new();
        for (address, bytes) in self.blocks() {
            physical.write(address, &bytes);
        }
        let current = &self.threads[0];
        physical.write(current.address, &self.thread(current));
        physical.write(current.kernel_stack, &current.stack);
        physical.write(self.process, &self.process());
        physical.write(KDBG, &self.debugger_data());
        physical.write(MODULE_LIST, &self.module_list());
        physical
    }

    /// The list head and its ring of `KLDR_DATA_TABLE_ENTRY`, with the names behind each.
    fn module_list(&self) -> Vec<u8> {
        let mut asm = Asm::new();
        let head = asm.here();
        let entries: Vec<_> = self.modules.iter().map(|_| asm.label()).collect();
        let ring: Vec<_> = [head].into_iter().chain(entries.iter().copied()).chain([head]).collect();
        asm.u64_of_plus(ring[1], MODULE_LIST).u64_of_plus(ring[ring.len() - 2], MODULE_LIST);
        for (index, module) in self.modules.iter().enumerate() {
            let (full, base) = (asm.label(), asm.label());
            let file = module.name.rsplit('\\').next().unwrap_or_default();
            asm.align(16, 0).bind(entries[index]);
            let at = asm.len();
            asm.u64_of_plus(ring[index + 2], MODULE_LIST).u64_of_plus(ring[index], MODULE_LIST);
            asm.pad_to(at + 0x30, 0).u64(module.base).u64(0).u32(module.size).u32(0);
            for (text, place) in [(module.name.as_str(), full), (file, base)] {
                let bytes = 2 * text.encode_utf16().count() as u16;
                asm.u16(bytes).u16(bytes + 2).u32(0).u64_of_plus(place, MODULE_LIST);
            }
            asm.u32(0x4900_4000).pad_to(at + 0x78, 0).u32(module.checksum).u32(0);
            asm.pad_to(at + 0x9c, 0).u32(module.timestamp).bind(full).utf16z(&module.name).bind(base).utf16z(file);
        }
        asm.finish()
    }
}
