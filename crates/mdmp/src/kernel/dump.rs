//! A triage dump as plain values, and its layout.

use std::borrow::Cow;

use zerocopy::IntoBytes;

use super::drivers::{encode_list, encode_names, encode_unloaded};
use super::header::{self, Values};
use super::raw::{self, DriverEntry64, Triage64};
use super::{Anchors, Bugcheck, DebuggerData, Driver, Exception, Machine, Parts, System, UnloadedDriver};
use crate::memory::check_disjoint;
use crate::{Blob, BlobId, Error, Layout, MemoryRange, Plan};

/// Everything that a triage dump says.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Dump<'a> {
    /// The machine.
    pub system: System,
    /// Why it stopped.
    pub bugcheck: Bugcheck,
    /// Where a debugger sets out.
    pub anchors: Anchors,
    /// The exception; its address is where the debugger says it happened.
    pub exception: Exception,
    /// `CONTEXT` of the dump, as [`crate::Context::as_bytes`] or another dump gives it; at most 3000 bytes. dbgeng 6.3 takes the
    /// registers from here, dbgeng 10 from the processor block (measured).
    pub context: Vec<u8>,
    /// Text for people; at most 127 bytes.
    pub comment: String,
    /// Processor, process, thread and stack.
    pub state: State<'a>,
    /// Loaded modules, the kernel first. At least one.
    pub drivers: Vec<Driver>,
    /// Drivers that were unloaded.
    pub unloaded: Vec<UnloadedDriver>,
    /// Name of the driver to blame.
    pub broken_driver: Option<String>,
    /// Virtual memory: any ranges, without overlap, each of less than 4 GiB, as are all of them together.
    pub memory: Vec<MemoryRange<'a>>,
    /// What stands after the dump proper: a chain of "DumpBlob" structures that drivers left. Copied as it is.
    pub secondary: Cow<'a, [u8]>,
}

/// Blocks of the kernel's state that have their own place in a triage dump. dbgeng wants all of them, but for the data
/// page; an empty one is written as zeros of its usual size.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct State<'a> {
    /// The memory manager's facts (`TRIAGE_DUMP64.MmOffset`).
    pub mm: Cow<'a, [u8]>,
    /// `KPRCB` of the current processor.
    pub prcb: Cow<'a, [u8]>,
    /// The current `EPROCESS`.
    pub process: Cow<'a, [u8]>,
    /// The current `ETHREAD`.
    pub thread: Cow<'a, [u8]>,
    /// The current kernel stack.
    pub call_stack: CallStack<'a>,
    /// A page that matters to the bugcheck.
    pub data_page: Option<DataPage<'a>>,
    /// `KDDEBUGGER_DATA64`.
    pub debugger_data: Option<DebuggerData>,
    /// `TRIAGE_DUMP64.TriageOptions`; 0xFFFFFFFF in Windows' own.
    pub options: u32,
}

/// Bytes of the current kernel stack.
#[derive(Clone, Debug, Default)]
pub struct CallStack<'a> {
    /// Address of the first byte, the lowest.
    pub address: u64,
    /// From there upwards.
    pub bytes: Cow<'a, [u8]>,
}

/// `TRIAGE_DUMP64.DataPage`.
#[derive(Clone, Debug, Default)]
pub struct DataPage<'a> {
    /// Address of the first byte.
    pub address: u64,
    /// Its bytes.
    pub bytes: Cow<'a, [u8]>,
}

/// Sizes that Windows 10 19041 uses, for blocks that the caller did not give (measured).
const MM_SIZE: usize = 0x50;
const PRCB_SIZE: usize = 0xaf00;
const PROCESS_SIZE: usize = 0xa40;
const THREAD_SIZE: usize = 0x898;
const STACK_SIZE: usize = 0x1000;

/// The offset of a field of `TRIAGE_DUMP64`.
macro_rules! at {
    ($field:ident) => {
        std::mem::offset_of!(Triage64, $field)
    };
}

impl<'a> Dump<'a> {
    /// Lays the dump out. The memory is not read yet.
    ///
    /// # Errors
    /// [`ErrorKind::Rule`](crate::ErrorKind::Rule) for what debuggers refuse,
    /// [`ErrorKind::Overlap`](crate::ErrorKind::Overlap) for ranges that share addresses, and
    /// [`ErrorKind::TooBig`](crate::ErrorKind::TooBig) when the file would need offsets of more than 32 bits.
    pub fn plan(&self) -> Result<Plan<'a>, Error> {
        self.check()?;
        let mut layout = Layout::new();
        // Reserved here, so that both come first in the file; TRIAGE_DUMP64 is complete only at the end.
        let (header, triage) = (layout.reserve(), layout.reserve());
        layout.place(header, self.header()?);

        let mut table = self.triage();
        for (field, blob) in self.parts() {
            let id = layout.push(blob);
            table.put_rva32(field, id);
        }
        self.push_drivers(&mut layout, &mut table)?;
        self.push_memory(&mut layout, &mut table);
        let mut mark = Blob::new("TRGD");
        mark.u32(raw::TRIAGE_VALID);
        table.put_rva32(at!(valid_offset), layout.push(mark));
        // Pushed even when it is empty: the dump proper ends where it begins.
        let mut secondary = Blob::new("secondary data").align(1);
        secondary.bytes(&self.secondary);
        table.put_rva32(at!(size_of_dump), layout.push(secondary));
        layout.place(triage, table);
        layout.plan()
    }

    fn header(&self) -> Result<Blob, Error> {
        let mut parts = Parts::REQUIRED;
        if self.state.debugger_data.is_some() {
            parts = parts | Parts::DEBUGGER_DATA;
        }
        if self.state.data_page.is_some() {
            parts = parts | Parts::DATA_PAGE;
        }
        let header = header::encode(&Values {
            system: &self.system,
            bugcheck: &self.bugcheck,
            anchors: &self.anchors,
            exception: &self.exception,
            context: &self.context,
            comment: &self.comment,
            parts,
        })?;
        let mut blob = Blob::new("DUMP_HEADER64");
        blob.bytes(header.as_bytes());
        blob.put_file_size64(std::mem::offset_of!(raw::Header64, required_dump_space));
        Ok(blob)
    }

    /// `TRIAGE_DUMP64` with every field that is not the file offset of a part.
    fn triage(&self) -> Blob {
        let state = &self.state;
        let mut table = Blob::new("TRIAGE_DUMP64");
        table.zeros(size_of::<Triage64>());
        let mut field = |at: usize, value: u32| {
            table.put(at, &value.to_le_bytes());
        };
        field(at!(context_offset), raw::CONTEXT_OFFSET);
        field(at!(exception_offset), raw::EXCEPTION_OFFSET);
        field(at!(size_of_call_stack), size_or(&state.call_stack.bytes, STACK_SIZE));
        field(at!(driver_count), self.drivers.len() as u32);
        field(at!(triage_options), state.options);
        if let Some(page) = &state.data_page {
            field(at!(data_page_size), page.bytes.len() as u32);
        }
        if let Some(data) = &state.debugger_data {
            field(at!(debugger_data_size), data.as_bytes().len() as u32);
        }
        field(at!(data_blocks_count), self.memory.len() as u32);
        table.put(at!(top_of_stack), &state.call_stack.address.to_le_bytes());
        if let Some(page) = &state.data_page {
            table.put(at!(data_page_address), &page.address.to_le_bytes());
        }
        table
    }

    /// The parts that have a field of `TRIAGE_DUMP64` each, in file order, with the offset of that field.
    fn parts(&self) -> Vec<(usize, Blob)> {
        let state = &self.state;
        let mut parts = vec![
            (at!(mm_offset), block("Mm block", &state.mm, MM_SIZE)),
            (at!(unloaded_drivers_offset), encode_unloaded(&self.unloaded)),
            (at!(prcb_offset), block("KPRCB", &state.prcb, PRCB_SIZE)),
            (at!(process_offset), block("EPROCESS", &state.process, PROCESS_SIZE)),
            (at!(thread_offset), block("ETHREAD", &state.thread, THREAD_SIZE)),
            (at!(call_stack_offset), block("call stack", &state.call_stack.bytes, STACK_SIZE)),
        ];
        parts.extend(state.data_page.iter().map(|page| (at!(data_page_offset), block("data page", &page.bytes, 0))));
        let data = state.debugger_data.iter();
        parts.extend(data.map(|data| (at!(debugger_data_offset), block("KDDEBUGGER_DATA64", data.as_bytes(), 0))));
        parts
    }

    /// The driver list, the driver to blame and the names.
    fn push_drivers(&self, layout: &mut Layout<'a>, table: &mut Blob) -> Result<(), Error> {
        let (names, offsets) = encode_names(self.drivers.iter().map(|driver| driver.name.as_str()))?;
        let pool = layout.declare();
        table.put_rva32(at!(driver_list_offset), layout.push(encode_list(&self.drivers, pool, &offsets)));
        if let Some(name) = &self.broken_driver {
            let (blob, _) = encode_names([name.as_str()].into_iter())?;
            table.put_rva32(at!(broken_driver_offset), layout.push(blob));
        }
        table.put(at!(string_pool_size), &(names.len() as u32).to_le_bytes());
        layout.place(pool, names);
        table.put_rva32(at!(string_pool_offset), pool);
        Ok(())
    }

    /// The table of data blocks and their bytes. The table comes first, so that the reader of a truncated file still
    /// learns what there was.
    fn push_memory(&self, layout: &mut Layout<'a>, table: &mut Blob) {
        let mut blocks = Blob::new("data block table").align(8);
        let ids: Vec<BlobId> = self.memory.iter().map(|_| layout.declare()).collect();
        for (range, &id) in self.memory.iter().zip(&ids) {
            blocks.u64(range.address).rva32(id).u32(range.size as u32);
        }
        table.put_rva32(at!(data_blocks_offset), layout.push(blocks));
        for (range, id) in self.memory.iter().zip(ids) {
            layout.place_memory(id, range.clone(), 8);
        }
    }

    /// Finds what debuggers refuse, before anything is laid out.
    fn check(&self) -> Result<(), Error> {
        let rule = |structure: &str, found: String, allowed: &str| Error::rule(structure, found, allowed, "dbgeng");
        if self.drivers.is_empty() {
            return Err(rule("TRIAGE_DUMP64.DriverCount", "0".into(), "at least 1, the kernel first"));
        }
        if ![Machine::AMD64, Machine::ARM64].contains(&self.system.machine) {
            let found = format!("{:#x}", self.system.machine.0);
            return Err(rule("DUMP_HEADER64.MachineImageType", found, "0x8664 (x64) or 0xaa64 (ARM64)"));
        }
        if self.system.processors == 0 {
            return Err(rule("DUMP_HEADER64.NumberProcessors", "0".into(), "at least 1"));
        }
        check_count("TRIAGE_DUMP64.DriverCount", self.drivers.len(), size_of::<DriverEntry64>())?;
        check_count("TRIAGE_DUMP64.DataBlocksCount", self.memory.len(), size_of::<raw::DataBlock>())?;
        check_count("TRIAGE_DUMP64.SizeOfCallStack", self.state.call_stack.bytes.len(), 1)?;
        self.check_memory()
    }

    fn check_memory(&self) -> Result<(), Error> {
        for range in &self.memory {
            let structure = || format!("TRIAGE_DATA_BLOCK.Size of {:#x}", range.address);
            if range.size == 0 {
                return Err(Error::rule(structure(), "0", "at least 1", "dbgeng"));
            }
            if range.size > MAX_SIZE {
                return Err(Error::too_big(structure(), 0, range.size, MAX_SIZE));
            }
        }
        let mut sorted: Vec<&MemoryRange<'_>> = self.memory.iter().collect();
        sorted.sort_by_key(|range| range.address);
        check_disjoint(&sorted).map(drop)
    }
}

/// All sizes and offsets of a triage dump have 32 bits.
const MAX_SIZE: u64 = u32::MAX as u64;

/// A table of `count` entries of `size` bytes must have a size that fits.
fn check_count(field: &str, count: usize, size: usize) -> Result<(), Error> {
    match (count as u64).checked_mul(size as u64) {
        Some(bytes) if bytes <= MAX_SIZE => Ok(()),
        _ => Err(Error::too_big(field, 0, count as u64, MAX_SIZE / size as u64)),
    }
}

/// A block's bytes, or zeros of its usual size when there are none.
fn block(name: &'static str, bytes: &[u8], size: usize) -> Blob {
    let mut blob = Blob::new(name).align(8);
    if bytes.is_empty() {
        blob.zeros(size);
    } else {
        blob.bytes(bytes);
    }
    blob
}

/// The size that [`block`] gives a block.
fn size_or(bytes: &[u8], size: usize) -> u32 {
    if bytes.is_empty() { size as u32 } else { bytes.len() as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dumps with so many entries would not fit into the memory of the machine that tests this.
    #[test]
    fn tables_have_sizes_of_32_bits() {
        for (count, size, fits) in [
            (0, 16, true),
            (0x0fff_ffff, 16, true),
            (0x1000_0000, 16, false),
            (0xffff_ffff, 1, true),
            (0x1_0000_0000, 1, false),
            (usize::MAX, 2, false),
        ] {
            let found = check_count("a table", count, size);
            assert_eq!(found.is_ok(), fits, "{count:#x} of {size}");
            if let Err(error) = found {
                let limit = format!("{:#x}", u32::MAX as usize / size);
                assert!(error.to_string().contains(&limit), "{error}");
            }
        }
    }
}
