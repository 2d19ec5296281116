//! A triage dump as plain values, and its layout.

use std::borrow::Cow;

use super::drivers::{encode_list, encode_names, encode_unloaded};
use super::header::{self, Values};
use super::raw::{self, DriverEntry64, Triage64};
use super::{Anchors, Bugcheck, DebuggerData, Driver, Exception, Machine, Parts, System, UnloadedDriver};
use crate::{AddressRange, Blob, Error, Layout, MemoryRange, Plan};
use zerocopy::IntoBytes;

/// Everything that a triage dump says.
#[derive(Clone, Debug, Default)]
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
    /// What stands behind the dump proper: a chain of "DumpBlob" structures that drivers left. Copied as it is.
    pub secondary: Cow<'a, [u8]>,
}

/// Blocks of the kernel's state that have their own place in a triage dump. dbgeng wants all of them, but for the data
/// page; an empty one is written as zeros of its usual size.
#[derive(Clone, Debug, Default)]
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

/// Sizes that Windows 10 19041 uses, for blocks that nobody gave (measured).
const MM_SIZE: usize = 0x50;
const PRCB_SIZE: usize = 0xaf00;
const PROCESS_SIZE: usize = 0xa40;
const THREAD_SIZE: usize = 0x898;
const STACK_SIZE: usize = 0x1000;

impl<'a> Dump<'a> {
    /// Lays the dump out. Nothing is read from the memory's sources yet.
    ///
    /// # Errors
    /// [`Error::Rule`] for what debuggers refuse, [`Error::Overlap`] for ranges that share addresses and
    /// [`Error::TooBig`] when the file would need offsets of more than 32 bits.
    pub fn plan(&self) -> Result<Plan<'a>, Error> {
        self.check()?;
        let mut layout = Layout::new();
        let (header, triage) = (layout.reserve(), layout.reserve());
        let (valid, end) = (layout.declare(), layout.declare());

        let mut parts = Parts::REQUIRED;
        let mut triage_blob = Blob::new("TRIAGE_DUMP64");
        triage_blob.zeros(size_of::<Triage64>());
        let field = |blob: &mut Blob, at: usize, value: u32| {
            blob.put(at, &value.to_le_bytes());
        };

        // The header must be the file's first bytes, and the fields that it holds depend on the parts below.
        if self.state.debugger_data.is_some() {
            parts = parts | Parts::DEBUGGER_DATA;
        }
        if self.state.data_page.is_some() {
            parts = parts | Parts::DATA_PAGE;
        }
        let header_bytes = header::encode(&Values {
            system: &self.system,
            bugcheck: &self.bugcheck,
            anchors: &self.anchors,
            exception: &self.exception,
            context: &self.context,
            comment: &self.comment,
            parts,
        })?;
        let mut header_blob = Blob::new("DUMP_HEADER64");
        header_blob.bytes(header_bytes.as_bytes());
        header_blob.put_file_size64(std::mem::offset_of!(raw::Header64, required_dump_space));
        layout.place(header, header_blob);

        // TRIAGE_DUMP64 is placed second, so that every offset below is one of the layout.
        let mut pieces = Vec::new();
        let mut small = |layout: &mut Layout<'a>, at: usize, blob: Blob| {
            let id = layout.declare();
            triage_blob.put_rva32(at, id);
            pieces.push((id, blob));
        };
        macro_rules! at {
            ($field:ident) => {
                std::mem::offset_of!(Triage64, $field)
            };
        }
        let state = &self.state;
        small(&mut layout, at!(mm_offset), block("Mm block", &state.mm, MM_SIZE));
        small(&mut layout, at!(unloaded_drivers_offset), encode_unloaded(&self.unloaded));
        small(&mut layout, at!(prcb_offset), block("KPRCB", &state.prcb, PRCB_SIZE));
        small(&mut layout, at!(process_offset), block("EPROCESS", &state.process, PROCESS_SIZE));
        small(&mut layout, at!(thread_offset), block("ETHREAD", &state.thread, THREAD_SIZE));
        let stack = block("call stack", &state.call_stack.bytes, STACK_SIZE);
        let stack_size = stack.len() as u32;
        small(&mut layout, at!(call_stack_offset), stack);
        if let Some(page) = &state.data_page {
            small(&mut layout, at!(data_page_offset), block("data page", &page.bytes, 0));
        }
        if let Some(data) = &state.debugger_data {
            small(&mut layout, at!(debugger_data_offset), block("KDDEBUGGER_DATA64", data.as_bytes(), 0));
        }

        let (pool, offsets) = encode_names(self.drivers.iter().map(|driver| driver.name.as_str()))?;
        let (pool_id, pool_size) = (layout.declare(), pool.len() as u32);
        small(&mut layout, at!(driver_list_offset), encode_list(&self.drivers, pool_id, &offsets));
        if let Some(name) = &self.broken_driver {
            let (blob, _) = encode_names([name.as_str()].into_iter())?;
            small(&mut layout, at!(broken_driver_offset), blob);
        }
        pieces.push((pool_id, pool));

        let (blocks_id, mut blocks) = (layout.declare(), Blob::new("data block table").align(8));
        triage_blob.put_rva32(at!(data_blocks_offset), blocks_id);
        triage_blob.put_rva32(at!(string_pool_offset), pool_id);
        triage_blob.put_rva32(at!(valid_offset), valid);
        field(&mut triage_blob, at!(context_offset), raw::CONTEXT_OFFSET);
        field(&mut triage_blob, at!(exception_offset), raw::EXCEPTION_OFFSET);
        field(&mut triage_blob, at!(size_of_call_stack), stack_size);
        field(&mut triage_blob, at!(driver_count), self.drivers.len() as u32);
        field(&mut triage_blob, at!(string_pool_size), pool_size);
        field(&mut triage_blob, at!(triage_options), state.options);
        triage_blob.put(at!(top_of_stack), &state.call_stack.address.to_le_bytes());
        if let Some(page) = &state.data_page {
            triage_blob.put(at!(data_page_address), &page.address.to_le_bytes());
            field(&mut triage_blob, at!(data_page_size), page.bytes.len() as u32);
        }
        if let Some(data) = &state.debugger_data {
            field(&mut triage_blob, at!(debugger_data_size), data.as_bytes().len() as u32);
        }
        field(&mut triage_blob, at!(data_blocks_count), self.memory.len() as u32);
        triage_blob.put_rva32(at!(size_of_dump), end);
        layout.place(triage, triage_blob);
        for (id, blob) in pieces {
            layout.place(id, blob);
        }

        // The table stands before the data it points to: whoever reads a cut file still knows what there was.
        let mut data = Vec::with_capacity(self.memory.len());
        for range in &self.memory {
            let id = layout.declare();
            blocks.u64(range.address).rva32(id).u32(range.size as u32);
            data.push((id, range.clone()));
        }
        layout.place(blocks_id, blocks);
        for (id, range) in data {
            layout.place_memory(id, range, 8);
        }
        let mut mark = Blob::new("TRGD");
        mark.u32(raw::TRIAGE_VALID);
        layout.place(valid, mark);
        // Placed even when it is empty: the dump proper ends where it begins.
        let mut secondary = Blob::new("secondary data").align(1);
        secondary.bytes(&self.secondary);
        layout.place(end, secondary);
        layout.plan()
    }

    /// What debuggers refuse, before anything is laid out.
    fn check(&self) -> Result<(), Error> {
        let rule =
            |structure: &str, found: String, allowed: &str| Err(Error::rule(structure, found, allowed, "dbgeng"));
        if self.drivers.is_empty() {
            return rule("TRIAGE_DUMP64.DriverCount", "0".into(), "at least 1, the kernel first");
        }
        if ![Machine::AMD64, Machine::ARM64].contains(&self.system.machine) {
            let found = format!("{:#x}", self.system.machine.0);
            return rule("DUMP_HEADER64.MachineImageType", found, "0x8664 (x64) or 0xaa64 (ARM64)");
        }
        if self.system.processors == 0 {
            return rule("DUMP_HEADER64.NumberProcessors", "0".into(), "at least 1");
        }
        let limit = u64::from(u32::MAX);
        let many = |what: &str, count: usize, size: usize| match (count as u64).checked_mul(size as u64) {
            Some(bytes) if bytes <= limit => Ok(()),
            _ => Err(Error::TooBig {
                structure: what.into(),
                offset: 0,
                found: count as u64,
                limit: limit / size as u64,
            }),
        };
        many("TRIAGE_DUMP64.DriverCount", self.drivers.len(), size_of::<DriverEntry64>())?;
        many("TRIAGE_DUMP64.DataBlocksCount", self.memory.len(), size_of::<raw::DataBlock>())?;
        many("TRIAGE_DUMP64.SizeOfCallStack", self.state.call_stack.bytes.len(), 1)?;

        let mut ranges = Vec::with_capacity(self.memory.len());
        for range in &self.memory {
            if range.size == 0 || range.size > limit {
                let found = Error::TooBig {
                    structure: format!("TRIAGE_DATA_BLOCK.Size of {:#x}", range.address),
                    offset: 0,
                    found: range.size,
                    limit,
                };
                return if range.size == 0 {
                    rule(&format!("TRIAGE_DATA_BLOCK.Size of {:#x}", range.address), "0".into(), "at least 1")
                } else {
                    Err(found)
                };
            }
            let Some(addresses) = AddressRange::new(range.address, range.size) else {
                let found = format!("{:#x}+{:#x}", range.address, range.size);
                return rule("TRIAGE_DATA_BLOCK", found, "addresses up to 0xffffffffffffffff");
            };
            ranges.push(addresses);
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            if pair[0].overlaps(pair[1]) {
                return Err(Error::Overlap {
                    first_start: pair[0].start(),
                    first_size: pair[0].size(),
                    second_start: pair[1].start(),
                    second_size: pair[1].size(),
                });
            }
        }
        Ok(())
    }
}

/// A block's bytes, or zeros where there are none.
fn block(name: &'static str, bytes: &[u8], size: usize) -> Blob {
    let mut blob = Blob::new(name).align(8);
    if bytes.is_empty() {
        blob.zeros(size);
    } else {
        blob.bytes(bytes);
    }
    blob
}
