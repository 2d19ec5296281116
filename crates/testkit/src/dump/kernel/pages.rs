//! Physical memory with page tables: full and bitmap dumps.

use std::collections::BTreeMap;

use super::{KDBG, MODULE_LIST, Machine};
use crate::Asm;

const PAGE: u64 = 0x1000;
/// Physical address of the page table root, CR3.
pub(super) const ROOT: u64 = 0x5000;
/// Present, writable, accessed, dirty.
const ENTRY: u64 = 0x63;

/// Which physical page is taken next.
enum Order {
    /// The next higher number; every eighth page stays absent, so that runs and bitmaps have holes.
    Up,
    /// The next lower number: pages that follow each other in virtual memory never do in the dump.
    Down,
}

/// Physical pages by number.
pub(super) struct Physical {
    pub(super) pages: BTreeMap<u64, Vec<u8>>,
    next: u64,
    order: Order,
}

impl Physical {
    fn new() -> Physical {
        // Numbers 5 and up, with a hole before the tables' successors: two runs.
        Physical::starting(0x20, Order::Up)
    }

    /// Pages from number 0x3ff downwards.
    pub(super) fn descending() -> Physical {
        Physical::starting(0x3ff, Order::Down)
    }

    fn starting(next: u64, order: Order) -> Physical {
        Physical { pages: BTreeMap::from([(ROOT / PAGE, vec![0; PAGE as usize])]), next, order }
    }

    fn allocate(&mut self) -> u64 {
        let number = match self.order {
            Order::Up if self.next.is_multiple_of(8) => self.next + 1,
            _ => self.next,
        };
        self.pages.insert(number, vec![0; PAGE as usize]);
        self.next = match self.order {
            Order::Up => number + 1,
            Order::Down => number - 1,
        };
        number
    }

    /// Changes the entry of a table: `level` 3 is the root's, 0 the one that names the page itself.
    pub(super) fn change_entry(&mut self, address: u64, level: u32, change: impl Fn(u64) -> u64) {
        let mut table = ROOT / PAGE;
        for above in (0..4).rev() {
            let at = ((address >> (12 + 9 * above)) & 0x1ff) as usize * 8;
            let bytes = self.pages.get_mut(&table).unwrap();
            let entry = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            if above == level {
                bytes[at..at + 8].copy_from_slice(&change(entry).to_le_bytes());
                return;
            }
            table = (entry & 0xf_ffff_ffff_f000) / PAGE;
        }
    }

    /// The page that backs a virtual address, mapped when it is not yet.
    pub(super) fn page(&mut self, address: u64) -> u64 {
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
                (entry & 0xf_ffff_ffff_f000) / PAGE
            };
        }
        table
    }

    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) {
        let mut rest = bytes;
        let mut address = address;
        while !rest.is_empty() {
            let (page, at) = (self.page(address), (address % PAGE) as usize);
            let count = rest.len().min(PAGE as usize - at);
            self.pages.get_mut(&page).unwrap()[at..at + count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            address = address.wrapping_add(count as u64);
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

/// The fields that nobody set hold this.
pub(super) const FILLER: u32 = u32::from_le_bytes(*b"PAGE");

impl Physical {
    /// The pages behind a header of DumpType 1, which gets their runs.
    pub(super) fn full(&self, mut header: Asm) -> Vec<u8> {
        let runs = self.runs();
        header.put(0x88, &(runs.len() as u32).to_le_bytes());
        header.put(0x90, &(self.pages.len() as u64).to_le_bytes());
        for (index, (first, count)) in runs.into_iter().enumerate() {
            header.put(0x98 + 16 * index, &first.to_le_bytes()).put(0xa0 + 16 * index, &count.to_le_bytes());
        }
        for page in self.pages.values() {
            header.bytes(page);
        }
        header.finish()
    }

    /// The pages behind a header of a DumpType with a bitmap, and the bitmap's own header.
    pub(super) fn bitmap(&self, mut header: Asm, signature: &[u8; 8]) -> Vec<u8> {
        let highest = *self.pages.keys().last().unwrap();
        let bits = highest + 3;
        let first_page = (0x2038 + bits.div_ceil(8)).next_multiple_of(PAGE);
        header.bytes(signature).pad_to(0x2020, 0).u64(first_page).u64(self.pages.len() as u64).u64(bits);
        let mut bitmap = vec![0u8; bits.div_ceil(8) as usize];
        for page in self.pages.keys() {
            bitmap[(page / 8) as usize] |= 1 << (page % 8);
        }
        header.bytes(&bitmap).pad_to(first_page as usize, 0);
        for page in self.pages.values() {
            header.bytes(page);
        }
        header.finish()
    }
}

impl Machine {
    /// A full dump, DumpType 1: runs of pages in the header.
    pub fn full(&self) -> Vec<u8> {
        self.physical().full(self.header(1, FILLER))
    }

    /// A bitmap dump, DumpType 5.
    pub fn bitmap(&self) -> Vec<u8> {
        self.physical().bitmap(self.header(5, FILLER), b"FDMPDUMP")
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
