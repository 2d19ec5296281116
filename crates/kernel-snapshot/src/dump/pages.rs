//! A full or bitmap kernel dump as a source: page tables, and the kernel's own list of modules.

use std::collections::HashSet;

use mdmp::kernel::DumpType;
use mdmp::read::Header;

use super::page_map::{self, PAGE, Run};
use super::{Content, Dump, DumpError, Kind, ReadMemory, file_name, identity, triage};
use crate::snapshot::{Module, Snapshot};

/// Virtual memory through the page tables of the system process.
#[derive(Debug)]
pub struct Pages<'a> {
    pub(super) file: &'a [u8],
    runs: Vec<Run>,
    /// Address of `KdDebuggerDataBlock`; 0 when unknown.
    pub(super) debugger_data: u64,
    /// Physical address of the top table.
    root: u64,
    /// Stack pointer of the processor that wrote the dump, on x64.
    pub(super) stack_pointer: Option<u64>,
}

/// More modules than any kernel has loaded; a longer list is damaged.
const MAX_MODULES: usize = 20_000;
/// `UNICODE_STRING.Length` of a path, bytes.
const MAX_NAME: usize = 2048;

pub(super) fn open<'a>(file: &'a [u8], header: Header<'a>) -> Result<Dump<'a>, DumpError> {
    let (runs, mut warnings) = page_map::read(file, header.dump_type())?;
    let anchors = header.anchors();
    let pages = Pages {
        file,
        runs,
        debugger_data: anchors.debugger_data_block,
        root: anchors.directory_table_base,
        stack_pointer: stack_pointer(&header),
    };
    let modules = modules(&pages, anchors.ps_loaded_module_list, &mut warnings);
    let kernel_base = modules.first().map(|module| module.base);
    let mut snapshot =
        Snapshot { machine: triage::machine(&header.system()), time: Some(header.system().time), kernel_base, modules };
    snapshot.modules.sort_by_key(|module| module.base);
    let kind = if header.dump_type() == DumpType::FULL { Kind::KernelFull } else { Kind::KernelBitmap };
    Ok(Dump { kind, snapshot, warnings, content: Content::Pages(pages) })
}

/// `CONTEXT.Rsp` of x64.
fn stack_pointer(header: &Header<'_>) -> Option<u64> {
    let is_x64 = header.system().machine != mdmp::kernel::Machine::ARM64;
    let rsp = header.context().get(0x98..0xa0).filter(|_| is_x64)?;
    Some(u64::from_le_bytes(rsp.try_into().ok()?)).filter(|&rsp| rsp != 0)
}

/// Walks PsLoadedModuleList forwards; where that breaks off, backwards from the head for the rest.
fn modules(pages: &Pages<'_>, head: u64, warnings: &mut Vec<String>) -> Vec<Module> {
    let mut seen = HashSet::from([head]);
    let mut modules = Vec::new();
    let mut walk = |link: u64, direction: &str, modules: &mut Vec<Module>| -> bool {
        let mut from = head;
        loop {
            let next = from.checked_add(link).and_then(|at| pages.pointer(at));
            let why = match next {
                Some(entry) if entry == head => return true,
                Some(_) if modules.len() >= MAX_MODULES => "it does not end",
                Some(entry) if !seen.insert(entry) => "it leads back to an entry that was seen",
                Some(entry) => match module(pages, entry) {
                    Some(module) => {
                        modules.push(module);
                        from = entry;
                        continue;
                    }
                    None => "an entry lies in a page that the dump does not hold",
                },
                None => "a link lies in a page that the dump does not hold",
            };
            let count = modules.len();
            warnings.push(format!("PsLoadedModuleList at {head:#x}, {direction}: after {count} modules {why}"));
            return false;
        }
    };
    if !walk(0, "forwards", &mut modules) {
        walk(8, "backwards", &mut modules);
    }
    modules
}

/// A `KLDR_DATA_TABLE_ENTRY` (offsets of 64-bit systems; that of the time stamp is Windows 10's, after the public symbols).
fn module(pages: &Pages<'_>, entry: u64) -> Option<Module> {
    let mut bytes = [0; 0xa0];
    if pages.read(entry, &mut bytes) < bytes.len() {
        return None;
    }
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let text = |at: usize| {
        let length = usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]])) & !1;
        let mut name = vec![0; length.min(MAX_NAME)];
        let held = pages.read(long(at + 8), &mut name);
        let units: Vec<u16> = name[..held].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    let (base, path, file) = (long(0x30), text(0x48), text(0x58));
    let headers = identity::at(pages, base);
    Some(Module {
        name: if file.is_empty() { file_name(&path) } else { file },
        path,
        process: 0,
        kernel: true,
        base,
        size: word(0x40).into(),
        // The image's own header is the truth; the list has a copy for when that page is not in the dump.
        timestamp: headers.timestamp.or(Some(word(0x9c))),
        checksum: headers.checksum.or(Some(word(0x78))),
        pdb: headers.pdb.as_ref().and_then(identity::pdb),
        loaded: None,
        unloaded: None,
    })
}

impl<'a> Pages<'a> {
    /// What lies behind the last page, and where.
    pub(super) fn behind(&self) -> (u64, &'a [u8]) {
        let end = self.runs.iter().map(|run| run.offset.saturating_add(run.pages.saturating_mul(PAGE))).max();
        let end = end.unwrap_or(u64::MAX);
        let rest = usize::try_from(end).ok().and_then(|end| self.file.get(end..)).unwrap_or_default();
        (end, rest)
    }
}

impl Pages<'_> {
    /// File offset of a physical address, when its page is in the dump.
    fn physical(&self, address: u64) -> Option<u64> {
        let page = address / PAGE;
        let index = self.runs.partition_point(|run| run.first <= page).checked_sub(1)?;
        let run = self.runs[index];
        let ahead = page - run.first;
        (ahead < run.pages).then(|| run.offset + ahead * PAGE + address % PAGE)
    }

    /// A table entry at a physical address.
    fn entry(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(self.physical(address)?).ok()?;
        let bytes = self.file.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
    }

    /// Physical address of a virtual one: four levels of 9 bits, 4 KiB pages at the end, 2 MiB and 1 GiB ones before.
    ///
    /// ```text
    ///  47      39 38      30 29      21 20      12 11        0
    /// +----------+----------+----------+----------+-----------+
    /// |   PML4   |   PDPT   |    PD    |    PT    |  offset   |
    /// +----------+----------+----------+----------+-----------+
    /// ```
    ///
    /// A page in transition (on its way out of a working set) still holds its bytes and counts as present.
    pub(super) fn translate(&self, address: u64) -> Option<u64> {
        const FRAME: u64 = 0x000f_ffff_ffff_f000;
        const PRESENT: u64 = 1;
        const LARGE: u64 = 1 << 7;
        const PROTOTYPE: u64 = 1 << 10;
        const TRANSITION: u64 = 1 << 11;
        let mut table = self.root & FRAME;
        for level in (0..4).rev() {
            let shift = 12 + 9 * level;
            let entry = self.entry(table + 8 * ((address >> shift) & 0x1ff))?;
            let in_transition = level == 0 && entry & (TRANSITION | PROTOTYPE) == TRANSITION;
            if entry & PRESENT == 0 && !in_transition {
                return None;
            }
            if level == 0 || (level < 3 && entry & LARGE != 0 && entry & PRESENT != 0) {
                let inside = (1u64 << shift) - 1;
                return Some((entry & FRAME & !inside) | (address & inside));
            }
            table = entry & FRAME;
        }
        None
    }
}

impl ReadMemory for Pages<'_> {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(at) = address.checked_add(done as u64) else { break };
            let Some(offset) = self.translate(at).and_then(|physical| self.physical(physical)) else { break };
            let count = (out.len() - done).min((PAGE - at % PAGE) as usize);
            let Some(bytes) =
                usize::try_from(offset).ok().and_then(|from| self.file.get(from..from.checked_add(count)?))
            else {
                break;
            };
            out[done..done + count].copy_from_slice(bytes);
            done += count;
        }
        done
    }
}
