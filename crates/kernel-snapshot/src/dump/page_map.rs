//! Which physical pages a full or bitmap dump holds, and where: kdmp-parser's map, contained.
//!
//! kdmp-parser 0.7 knows every form of page map. Given a hostile or only a cut file it may also allocate without bound
//! (a run of 2^60 pages), never return (a module list that does not lead back to its head) and panic (arithmetic in
//! debug builds). So it never sees the file: it gets a copy of the header and the page map alone, in which
//!
//! - the counts are cut to what the file can hold (and that is a warning),
//! - page numbers above the architecture's 2^40 and pages named twice are refused beforehand,
//! - the page table root is a page that cannot be there, so that no list is walked when it opens.
//!
//! Its map is then folded into runs, and the parser dropped: what reads the pages is in `pages.rs`.

use std::io::Cursor;

use kdmp_parser::KernelDumpParser;
use mdmp::kernel::DumpType;

use super::DumpError;

/// Physical pages that follow each other in memory and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Number of the first page.
    pub(super) first: u64,
    /// How many.
    pub(super) pages: u64,
    /// File offset of the first.
    pub(super) offset: u64,
}

pub(super) const PAGE: u64 = 0x1000;
/// x64 and ARM64 have physical addresses of at most 52 bits.
const MAX_PAGE: u64 = 1 << 40;

const HEADER: usize = 0x2000;
const DUMP_TYPE: usize = 0xf98;
const DIRECTORY_TABLE_BASE: usize = 0x10;
/// `PHYSICAL_MEMORY_DESCRIPTOR64`: count of runs, pages, runs of {first, pages}.
const RUNS: usize = 0x88;
const FIRST_RUN: usize = 0x98;
/// 700 bytes hold the count and 42 runs.
const MAX_RUNS: u32 = 42;
/// Bitmap header after the dump header: FirstPage, TotalPresentPages, Pages, the bitmap.
const BITMAP_FIRST_PAGE: usize = 0x2020;
const BITMAP_BITS: usize = 0x2030;
const BITMAP: usize = 0x2038;
/// Header of the newest kinds (8 to 10): MetadataSize, FirstPageOffset, then ranges of {first, pages}.
const RANGES_METADATA: usize = 0x2010;
const RANGES_FIRST_PAGE: usize = 0x2018;
const RANGES: usize = 0x2030;

/// The runs of a dump, lowest page first, with what had to be cut.
pub(super) fn read(file: &[u8], dump_type: DumpType) -> Result<(Vec<Run>, Vec<String>), DumpError> {
    let mut warnings = Vec::new();
    let mut map = match dump_type {
        DumpType::FULL => full(file, &mut warnings)?,
        DumpType::BITMAP_FULL | DumpType::BITMAP_KERNEL | DumpType::AUTOMATIC => bitmap(file, &mut warnings)?,
        DumpType(8..=10) => ranges(file)?,
        other => {
            let allowed = "full, bitmap or triage dumps";
            return Err(malformed(DUMP_TYPE, "DUMP_HEADER64.DumpType", other.to_string(), allowed));
        }
    };
    if dump_type == DumpType::AUTOMATIC {
        // An automatic dump is laid out as a kernel bitmap; the parser does not know its number.
        put(&mut map, DUMP_TYPE, u64::from(DumpType::BITMAP_KERNEL.0), 4);
    }
    put(&mut map, DIRECTORY_TABLE_BASE, MAX_PAGE * PAGE, 8);

    let parser = KernelDumpParser::with_reader(Cursor::new(map))?;
    let mut runs: Vec<Run> = Vec::new();
    for (address, offset) in parser.physmem() {
        let first = u64::from(address) / PAGE;
        match runs.last_mut() {
            Some(run) if run.first + run.pages == first && run.offset + run.pages * PAGE == offset => run.pages += 1,
            _ => runs.push(Run { first, pages: 1, offset }),
        }
    }
    Ok((runs, warnings))
}

fn full(file: &[u8], warnings: &mut Vec<String>) -> Result<Vec<u8>, DumpError> {
    let mut map = copy(file, HEADER)?;
    let count = get(&map, RUNS, 4) as u32;
    if count > MAX_RUNS {
        return Err(malformed(RUNS, "PHYSICAL_MEMORY_DESCRIPTOR64.NumberOfRuns", count.to_string(), "at most 42"));
    }
    let mut room = (file.len() - HEADER) as u64 / PAGE;
    let mut seen = Vec::new();
    for index in 0..count as usize {
        let at = FIRST_RUN + 16 * index;
        let (first, pages) = (get(&map, at, 8), get(&map, at + 8, 8));
        if pages > room {
            warnings.push(format!(
                "PHYSICAL_MEMORY_RUN64 at file offset {at:#x}: found {pages:#x} pages, the file holds {room:#x} of them"
            ));
            put(&mut map, at + 8, room, 8);
        }
        let pages = pages.min(room);
        room -= pages;
        seen.push((at, first, pages));
    }
    check_pages(seen)?;
    Ok(map)
}

fn bitmap(file: &[u8], warnings: &mut Vec<String>) -> Result<Vec<u8>, DumpError> {
    let fixed = copy(file, BITMAP)?;
    let bits = get(&fixed, BITMAP_BITS, 8);
    if bits > MAX_PAGE || bits.div_ceil(8) > (file.len() - BITMAP) as u64 {
        let allowed = format!("a bitmap inside {:#x} bytes", file.len());
        return Err(malformed(BITMAP_BITS, "bitmap header: Pages", format!("{bits:#x}"), &allowed));
    }
    let mut map = copy(file, BITMAP + bits.div_ceil(8) as usize)?;
    let first_page = get(&fixed, BITMAP_FIRST_PAGE, 8);
    let mut room = (file.len() as u64).saturating_sub(first_page) / PAGE;
    let mut absent = 0;
    for byte in &mut map[BITMAP..] {
        let ones = u64::from(byte.count_ones());
        if ones > room {
            // The last byte that fits loses its highest bits: pages lie in the file in the order of their numbers.
            while u64::from(byte.count_ones()) > room {
                *byte &= !(0x80 >> byte.leading_zeros());
                absent += 1;
            }
            room = 0;
        } else {
            room -= ones;
        }
    }
    if absent > 0 {
        warnings
            .push(format!("bitmap at file offset {BITMAP:#x}: {absent:#x} of its pages lie past the end of the file"));
    }
    Ok(map)
}

fn ranges(file: &[u8]) -> Result<Vec<u8>, DumpError> {
    let fixed = copy(file, RANGES)?;
    let (metadata, first_page) = (get(&fixed, RANGES_METADATA, 8), get(&fixed, RANGES_FIRST_PAGE, 8));
    let end = first_page.max(RANGES as u64).min(file.len() as u64);
    if metadata < 0x20 || first_page < 0x2040 || metadata > file.len() as u64 {
        let found = format!("MetadataSize {metadata:#x}, FirstPageOffset {first_page:#x}");
        return Err(malformed(RANGES_METADATA, "RDMP header", found, "at least 0x20 and 0x2040, inside the file"));
    }
    let map = copy(file, end as usize)?;
    let room = (file.len() as u64 - end) / PAGE;
    let mut seen = Vec::new();
    let mut total = 0u64;
    for at in (RANGES..map.len().saturating_sub(15)).step_by(16) {
        let (first, pages) = (get(&map, at, 8), get(&map, at + 8, 8));
        if first == 0 {
            break;
        }
        total = total.saturating_add(pages);
        if total > room {
            let allowed = format!("{room:#x} pages in this file");
            return Err(malformed(at, "RDMP range", format!("{total:#x} pages up to here"), &allowed));
        }
        seen.push((at, first, pages));
    }
    check_pages(seen)?;
    Ok(map)
}

/// No page number is impossible, and none is named twice.
fn check_pages(mut runs: Vec<(usize, u64, u64)>) -> Result<(), DumpError> {
    runs.retain(|&(_, _, pages)| pages > 0);
    runs.sort_unstable_by_key(|&(_, first, _)| first);
    let mut free = 0;
    for (at, first, pages) in runs {
        let end = first.checked_add(pages).filter(|&end| end <= MAX_PAGE && first >= free);
        let Some(end) = end else {
            let found = format!("pages {first:#x}+{pages:#x}");
            return Err(malformed(at, "run of physical pages", found, "numbers below 2^40, each once"));
        };
        free = end;
    }
    Ok(())
}

/// The first `size` bytes of the file.
fn copy(file: &[u8], size: usize) -> Result<Vec<u8>, DumpError> {
    match file.get(..size) {
        Some(bytes) => Ok(bytes.to_vec()),
        None => Err(malformed(0, "kernel dump", format!("{:#x} bytes", file.len()), &format!("at least {size:#x}"))),
    }
}

/// A little-endian number of `size` bytes in a copy whose size was checked.
fn get(bytes: &[u8], at: usize, size: usize) -> u64 {
    let mut value = [0; 8];
    value[..size].copy_from_slice(&bytes[at..at + size]);
    u64::from_le_bytes(value)
}

fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

fn malformed(offset: usize, structure: &'static str, found: String, allowed: &str) -> DumpError {
    DumpError::malformed(offset as u64, structure, found, allowed)
}
