//! Memory lists and the list of page kinds.

use std::collections::HashSet;

use super::subject::Dump;
use crate::AddressRange;
use crate::user::StreamType;
use crate::validate::rules;

/// The memory of the dump, sorted by address.
#[derive(Debug, Default)]
pub(super) struct Memory {
    ranges: Vec<Range>,
    /// In a Memory64List.
    full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    addresses: AddressRange,
    /// File offset of the descriptor.
    at: u64,
    /// File offset of the bytes, inside the file.
    data: u64,
}

impl Memory {
    pub(super) fn read(dump: &mut Dump<'_, '_>) -> Memory {
        let mut memory = Memory::default();
        if dump.directory.find(StreamType::MEMORY64_LIST).is_some() {
            memory.full = true;
            memory.read_list64(dump);
        } else {
            memory.read_list32(dump);
        }
        memory.ranges.sort_unstable_by_key(|range| (range.addresses.start(), range.at));
        memory.check_overlap(dump);
        memory
    }

    fn read_list32(&mut self, dump: &mut Dump<'_, '_>) -> Option<()> {
        let entry = dump.stream(StreamType::MEMORY_LIST, 4)?;
        let table = dump.list(entry, 16, "MemoryList", &rules::MEMORY_LIST_PADDING)?;
        self.ranges.reserve_exact(table.len());
        for at in table {
            let start = dump.bytes.u64(at, "MemoryList: StartOfMemoryRange").ok()?;
            let size = dump.bytes.u32(at + 8, "MemoryList: DataSize").ok()?;
            let data = dump.bytes.u32(at + 12, "MemoryList: Rva").ok()?;
            self.add(dump, at, start, size.into(), data.into());
        }
        Some(())
    }

    fn read_list64(&mut self, dump: &mut Dump<'_, '_>) -> Option<()> {
        let entry = dump.stream(StreamType::MEMORY64_LIST, 16)?;
        let at = u64::from(entry.offset);
        let count = dump.bytes.u64(at, "Memory64List: NumberOfMemoryRanges").ok()?;
        let wanted = count.checked_add(1).and_then(|count| count.checked_mul(16));
        if wanted != Some(entry.size.into()) {
            dump.findings.add(&rules::MEMORY64_SIZE, entry.at, || {
                format!("directory: DataSize of Memory64List is {:#x} for {count} ranges", entry.size)
            });
        }
        let mut data = dump.bytes.u64(at + 8, "Memory64List: BaseRva").ok()?;
        let table = dump.bytes.table(at + 16, count, 16, "Memory64List");
        let table = dump.findings.take(&rules::FORMAT, table)?;
        self.ranges.reserve_exact(table.len());
        for at in table {
            let start = dump.bytes.u64(at, "Memory64List: StartOfMemoryRange").ok()?;
            let size = dump.bytes.u64(at + 8, "Memory64List: DataSize").ok()?;
            self.add(dump, at, start, size, data);
            data = data.saturating_add(size);
        }
        Some(())
    }

    fn add(&mut self, dump: &mut Dump<'_, '_>, at: u64, start: u64, size: u64, data: u64) {
        dump.check_address(at, start);
        let Some(addresses) = AddressRange::new(start, size).filter(|range| range.size() > 0) else {
            let message = || format!("memory range {start:#x}+{size:#x}: empty, or past the last address");
            dump.findings.add(&rules::MEMORY_ADDRESS, at, message);
            return;
        };
        if dump.bytes.get(data, size).is_none() {
            let end = dump.bytes.len();
            dump.findings.add(&rules::MEMORY_BOUNDS, at, || {
                format!("bytes of memory {start:#x}+{size:#x} lie at {data:#x}, the file ends at {end:#x}")
            });
            return;
        }
        self.ranges.push(Range { addresses, at, data });
    }

    fn check_overlap(&self, dump: &mut Dump<'_, '_>) {
        // Of hostile files, whose ranges may all lie on the same bytes, no more is compared than twice the file.
        let mut budget = 2 * dump.bytes.len();
        let mut furthest: Option<Range> = None;
        for &range in &self.ranges {
            if let Some(before) = furthest.filter(|before| before.addresses.overlaps(range.addresses)) {
                let rule = if self.full {
                    &rules::MEMORY64_OVERLAP
                } else if same_bytes(dump, before, range, &mut budget) {
                    &rules::MEMORY_OVERLAP_SAME
                } else {
                    &rules::MEMORY_OVERLAP
                };
                dump.findings.add(rule, range.at, || {
                    let (a, b) = (before.addresses, range.addresses);
                    format!("memory {:#x}+{:#x} overlaps {:#x}+{:#x}", b.start(), b.size(), a.start(), a.size())
                });
            }
            if furthest.is_none_or(|before| before.addresses.last() < range.addresses.last()) {
                furthest = Some(range);
            }
        }
    }

    /// True when the whole of `wanted` lies in one range.
    pub(super) fn contains(&self, wanted: AddressRange) -> bool {
        let after = self.ranges.partition_point(|range| range.addresses.start() <= wanted.start());
        self.ranges[..after].iter().next_back().is_some_and(|range| range.addresses.contains(wanted))
    }

    /// True when a range begins at `address`.
    pub(super) fn begins_at(&self, address: u64) -> bool {
        self.ranges.binary_search_by_key(&address, |range| range.addresses.start()).is_ok()
    }

    /// MemoryInfoList, and what the modules want of the memory.
    pub(super) fn check_info(&self, dump: &mut Dump<'_, '_>, modules: &[(u64, AddressRange)]) -> Option<()> {
        for &(at, module) in modules {
            if !self.ranges.is_empty() && !self.begins_at(module.start()) {
                let message = || format!("no memory range begins at module base {:#x}", module.start());
                dump.findings.add(&rules::MODULE_HEADER, at, message);
            }
        }
        if dump.directory.find(StreamType::MEMORY_INFO_LIST).is_none() {
            let rule = if self.full { &rules::MEMORY_INFO_ABSENT_64 } else { &rules::MEMORY_INFO };
            dump.findings.add(rule, 0, || "there is no MemoryInfoList stream".into());
            return None;
        }
        let at = u64::from(dump.stream(StreamType::MEMORY_INFO_LIST, 16)?.offset);
        let header = dump.bytes.u32(at, "MemoryInfoList: SizeOfHeader").ok()?;
        let stride = dump.bytes.u32(at + 4, "MemoryInfoList: SizeOfEntry").ok()?;
        let count = dump.bytes.u64(at + 8, "MemoryInfoList: NumberOfEntries").ok()?;
        if header < 16 || stride < 48 {
            let message = || format!("MemoryInfoList: sizes {header} and {stride}, allowed are at least 16 and 48");
            dump.findings.add(&rules::FORMAT, at, message);
            return None;
        }
        let table = dump.bytes.table(at + u64::from(header), count, stride.into(), "MemoryInfoList");
        let mut starts = HashSet::new();
        for entry in dump.findings.take(&rules::FORMAT, table)? {
            starts.insert(dump.bytes.u64(entry, "MemoryInfoList: BaseAddress").ok()?);
        }
        if self.full {
            for range in self.ranges.iter().filter(|range| !starts.contains(&range.addresses.start())) {
                dump.findings.add(&rules::MEMORY_INFO_START, range.at, || {
                    format!("no MemoryInfoList entry begins at memory {:#x}", range.addresses.start())
                });
            }
        }
        Some(())
    }
}

/// True when the addresses that both ranges have hold the same bytes in both.
fn same_bytes(dump: &Dump<'_, '_>, first: Range, second: Range, budget: &mut u64) -> bool {
    let start = second.addresses.start();
    let end = first.addresses.last().min(second.addresses.last());
    let Some(size) = end.and_then(|end| (end - start).checked_add(1)).filter(|size| size <= budget) else {
        return false;
    };
    *budget -= size;
    // Both ranges lie inside the file, so the sums do too.
    let inside = start - first.addresses.start();
    dump.bytes.get(first.data + inside, size) == dump.bytes.get(second.data, size)
}
