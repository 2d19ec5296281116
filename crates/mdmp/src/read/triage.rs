//! A triage dump: `TRIAGE_DUMP64` and what its offsets point to.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U16;

use super::{Header, Origin, Segment, Segments};
use crate::Error;
use crate::bytes::Bytes;
use crate::kernel;
use crate::kernel::raw::{self, DataBlock, DriverEntry64, Triage64, UnloadedDriver64};
use crate::kernel::{CallStack, DataPage, DebuggerData, Driver, DumpType, FieldOffset, UnloadedDriver, Variable};

/// An open triage dump. It borrows the file and copies nothing but the table of its data blocks.
pub struct Triage<'a> {
    file: Bytes<'a>,
    header: Header<'a>,
    raw: Triage64,
    memory: Segments<'a>,
    debugger_data: Option<DebuggerData>,
    warnings: Vec<Error>,
}

/// A processor that KiProcessorBlock names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Processor<'a> {
    /// Index in KiProcessorBlock.
    pub number: u32,
    /// Address of its `KPRCB`.
    pub prcb: u64,
    /// Address of the thread that ran; 0 when the field was not captured.
    pub thread: u64,
    /// Its registers as the bugcheck found them (`CONTEXT` of the machine), when they were captured.
    pub context: Option<&'a [u8]>,
}

/// No Windows has more processors; a wild count in the header must not cost time.
pub(crate) const MAX_PROCESSORS: u32 = 2048;
/// Bytes of a driver's path. Every entry may point to the same string, so that a long one would multiply.
const MAX_NAME: u64 = 2 * kernel::MAX_NAME as u64;
/// Windows remembers 50 unloaded drivers.
const MAX_UNLOADED: u64 = 4096;
/// The block of the newest Windows has under 0x400 bytes; a wild size must not be copied.
const MAX_DEBUGGER_DATA: u32 = 0x1000;

impl<'a> Triage<'a> {
    /// Parses a triage dump.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) when the file is not a kernel dump, not of triage type, or ends inside `TRIAGE_DUMP64`. All
    /// other damage is reported by [`Triage::warnings`] and by the parts themselves.
    pub fn parse(file: &'a [u8]) -> Result<Triage<'a>, Error> {
        let header = Header::parse(file)?;
        if header.dump_type() != DumpType::TRIAGE {
            let found = header.dump_type().to_string();
            return Err(Error::malformed(0xf98, "DUMP_HEADER64.DumpType", found, "4, a triage dump"));
        }
        let file = Bytes::new(file);
        let bytes = file.slice(raw::TRIAGE_OFFSET, size_of::<Triage64>() as u64, "TRIAGE_DUMP64")?;
        let raw = *Triage64::ref_from_bytes(bytes).expect("the slice has the structure's size and alignment is 1");
        let (memory, warnings) = (Segments::default(), Vec::new());
        let mut dump = Triage { file, header, raw, memory, debugger_data: None, warnings };
        dump.check_end();
        dump.check_tables();
        dump.debugger_data = dump.find_debugger_data();
        dump.index_blocks();
        dump.index_state();
        Ok(dump)
    }

    /// The header.
    pub fn header(&self) -> Header<'a> {
        self.header
    }

    /// `TRIAGE_DUMP64` as it lies in the file.
    pub fn raw(&self) -> &Triage64 {
        &self.raw
    }

    /// Damage that did not keep the dump from being opened.
    pub fn warnings(&self) -> &[Error] {
        &self.warnings
    }

    /// `KDDEBUGGER_DATA64`, if the dump has it.
    pub fn debugger_data(&self) -> Option<&DebuggerData> {
        self.debugger_data.as_ref()
    }

    /// Loaded modules, the kernel first. An entry whose name lies outside the file is an error of its own; entries that
    /// the file does not hold are left out, with one warning.
    pub fn drivers(&self) -> impl Iterator<Item = Result<Driver, Error>> + '_ {
        let offset = u64::from(self.raw.driver_list_offset.get());
        let stride = size_of::<DriverEntry64>() as u64;
        let held = self.file.len().saturating_sub(offset) / stride;
        let count = u64::from(self.raw.driver_count.get()).min(held);
        (0..count).map(move |index| self.driver(offset + index * stride))
    }

    fn driver(&self, offset: u64) -> Result<Driver, Error> {
        let bytes = self.file.slice(offset, size_of::<DriverEntry64>() as u64, "DUMP_DRIVER_ENTRY64")?;
        let entry = DriverEntry64::ref_from_bytes(bytes).expect("the slice has the structure's size");
        Ok(Driver {
            name: self.string(entry.name_offset.get(), "DUMP_DRIVER_ENTRY64.DriverName")?,
            base: entry.base.get(),
            size: entry.size_of_image.get(),
            timestamp: entry.timestamp.get(),
            checksum: entry.checksum.get(),
            entry_point: entry.entry_point.get(),
            flags: entry.flags.get(),
        })
    }

    /// A `DUMP_STRING`. Windows counts characters; writers that count bytes exist, and are told apart by the terminator
    /// that must follow.
    fn string(&self, offset: u32, structure: &str) -> Result<String, Error> {
        let offset = u64::from(offset);
        let length = u64::from(self.file.u32(offset, structure)?);
        let text = offset + 4;
        let ends = |size: u64| self.file.get(text + size, 2) == Some(&[0, 0]);
        let counts_bytes = !ends(length * 2) && length.is_multiple_of(2) && ends(length);
        let size = if counts_bytes { length } else { length * 2 };
        if size > MAX_NAME {
            let allowed = format!("at most {} characters", MAX_NAME / 2);
            return Err(Error::malformed(offset, structure, format!("{length} characters"), allowed));
        }
        let bytes = self.file.slice(text, size, structure)?;
        let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        let end = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
        Ok(String::from_utf16_lossy(&units[..end]))
    }

    /// Drivers that were unloaded; none when the dump has no such list.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) when the list lies outside the file.
    pub fn unloaded(&self) -> Result<Vec<UnloadedDriver>, Error> {
        let offset = u64::from(self.raw.unloaded_drivers_offset.get());
        if offset == 0 {
            return Ok(Vec::new());
        }
        let structure = "DUMP_UNLOADED_DRIVERS64";
        let count = self.file.u64(offset, structure)?;
        if count > MAX_UNLOADED {
            let (found, allowed) = (format!("{count} entries"), format!("at most {MAX_UNLOADED}"));
            return Err(Error::malformed(offset, structure, found, allowed));
        }
        let table = self.file.table(offset + 8, count, size_of::<UnloadedDriver64>() as u64, structure)?;
        let read = |at| {
            let bytes = self.file.slice(at, size_of::<UnloadedDriver64>() as u64, structure)?;
            let entry = UnloadedDriver64::ref_from_bytes(bytes).expect("the slice has the structure's size");
            let length = usize::from(entry.name_length.get() / 2).min(entry.name.len());
            let units = entry.name.map(U16::get);
            let name = String::from_utf16_lossy(&units[..length]);
            Ok(UnloadedDriver { name, start: entry.start.get(), end: entry.end.get() })
        };
        table.map(read).collect()
    }

    /// The driver to blame, if the dump names one.
    pub fn broken_driver(&self) -> Option<Result<String, Error>> {
        let offset = self.raw.broken_driver_offset.get();
        (offset != 0).then(|| self.string(offset, "TRIAGE_DUMP64.BrokenDriver"))
    }

    /// `KPRCB` of the current processor, as far as the file holds it.
    pub fn prcb(&self) -> Option<&'a [u8]> {
        self.part(self.raw.prcb_offset.get(), self.field(FieldOffset::SIZE_PRCB))
    }

    /// The current `EPROCESS`, as far as the file holds it.
    pub fn process(&self) -> Option<&'a [u8]> {
        self.part(self.raw.process_offset.get(), self.field(FieldOffset::SIZE_EPROCESS))
    }

    /// The current `ETHREAD`, as far as the file holds it.
    pub fn thread(&self) -> Option<&'a [u8]> {
        self.part(self.raw.thread_offset.get(), self.field(FieldOffset::SIZE_ETHREAD))
    }

    /// The memory manager's facts.
    pub fn mm(&self) -> Option<&'a [u8]> {
        self.part(self.raw.mm_offset.get(), None)
    }

    /// The current kernel stack, from the stack pointer upwards.
    pub fn call_stack(&self) -> Option<CallStack<'a>> {
        let bytes = self.part(self.raw.call_stack_offset.get(), Some(self.raw.size_of_call_stack.get()))?;
        Some(CallStack { address: self.raw.top_of_stack.get(), bytes: bytes.into() })
    }

    /// The page that the dump says matters.
    pub fn data_page(&self) -> Option<DataPage<'a>> {
        let bytes = self.part(self.raw.data_page_offset.get(), Some(self.raw.data_page_size.get()))?;
        Some(DataPage { address: self.raw.data_page_address.get(), bytes: bytes.into() })
    }

    /// Address of the current thread, from the processor block.
    pub fn current_thread(&self) -> Option<u64> {
        pointer(self.prcb()?, self.field(FieldOffset::PRCB_CURRENT_THREAD)?)
    }

    /// Address of the current thread's process, from the thread.
    pub fn current_process(&self) -> Option<u64> {
        pointer(self.thread()?, self.field(FieldOffset::KTHREAD_APC_PROCESS)?)
    }

    /// Number of the processor whose `KPRCB` the dump has in its own place; 0 when unknown.
    pub fn current_processor(&self) -> u32 {
        let number = || {
            let at = usize::try_from(self.field(FieldOffset::PRCB_NUMBER)?).ok()?;
            let bytes = self.prcb()?.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(bytes.try_into().expect("the slice has 4 bytes")))
        };
        number().unwrap_or(0)
    }

    /// The processors that KiProcessorBlock names and whose blocks were captured.
    pub fn processors(&self) -> impl Iterator<Item = Processor<'a>> + '_ {
        let count = self.header.system().processors.min(MAX_PROCESSORS);
        let context_size = self.header.context().len();
        (0..count).filter_map(move |number| {
            let block = self.debugger_data()?.variable(Variable::KI_PROCESSOR_BLOCK);
            let prcb = self.memory.pointer_at(block.checked_add(u64::from(number) * 8)?)?;
            let field = |field| self.memory.pointer_at(prcb.checked_add(self.field(field)?.into())?);
            let context = field(FieldOffset::PRCB_CONTEXT)
                .and_then(|address| self.memory.at(address))
                .and_then(|segment| segment.bytes.get(..context_size));
            let thread = field(FieldOffset::PRCB_CURRENT_THREAD).unwrap_or(0);
            Some(Processor { number, prcb, thread, context })
        })
    }

    /// The data blocks' table entries with their file offsets, also those that point outside the file.
    pub fn data_blocks(&self) -> impl Iterator<Item = (u64, DataBlock)> + '_ {
        let offset = u64::from(self.raw.data_blocks_offset.get());
        let stride = size_of::<DataBlock>() as u64;
        let held = self.file.len().saturating_sub(offset) / stride;
        let count = u64::from(self.raw.data_blocks_count.get()).min(held);
        (0..count).filter_map(move |index| {
            let at = offset + index * stride;
            Some((at, DataBlock::read_from_bytes(self.file.get(at, stride)?).ok()?))
        })
    }

    /// All captured memory. Where data blocks share addresses the one that starts lower wins; data blocks win over
    /// thread, process and stack.
    pub fn memory(&self) -> &Segments<'a> {
        &self.memory
    }

    /// What stands after the dump proper: a chain of "DumpBlob" structures, usually.
    pub fn secondary(&self) -> &'a [u8] {
        let size = u64::from(self.raw.size_of_dump.get());
        self.file.get(size, self.file.len().saturating_sub(size)).unwrap_or(&[])
    }

    /// A field of the debugger data, when it says something.
    fn field(&self, field: FieldOffset) -> Option<u32> {
        match self.debugger_data.as_ref()?.offset(field) {
            0 => None,
            value => Some(value.into()),
        }
    }

    /// A part of known size, or one that reaches to where the next part begins; cut at the end of the file.
    fn part(&self, offset: u32, size: Option<u32>) -> Option<&'a [u8]> {
        if offset == 0 {
            return None;
        }
        let raw = &self.raw;
        let parts = [
            raw.valid_offset,
            raw.mm_offset,
            raw.unloaded_drivers_offset,
            raw.prcb_offset,
            raw.process_offset,
            raw.thread_offset,
            raw.call_stack_offset,
            raw.driver_list_offset,
            raw.string_pool_offset,
            raw.broken_driver_offset,
            raw.data_page_offset,
            raw.debugger_data_offset,
            raw.data_blocks_offset,
        ];
        let start = u64::from(offset);
        let later = parts.into_iter().map(|part| u64::from(part.get())).filter(|&part| part > start);
        let room = later.fold(self.file.len(), u64::min).saturating_sub(start);
        self.file.get(start, size.map_or(room, |size| room.min(size.into()))).filter(|bytes| !bytes.is_empty())
    }

    fn check_end(&mut self) {
        let at = u64::from(self.raw.valid_offset.get());
        let damage = match self.file.u32(at, "TRIAGE_DUMP64.ValidOffset") {
            Ok(raw::TRIAGE_VALID) => return,
            Ok(other) => {
                let allowed = "\"TRGD\"; dbgeng refuses the file";
                Error::malformed(at, "TRIAGE_DUMP64.ValidOffset", format!("{other:#010x}"), allowed)
            }
            Err(error) => error,
        };
        self.warnings.push(damage);
    }

    fn find_debugger_data(&mut self) -> Option<DebuggerData> {
        let (offset, size) = (self.raw.debugger_data_offset.get(), self.raw.debugger_data_size.get());
        if offset == 0 || size == 0 {
            return None;
        }
        match self.file.slice(offset.into(), size.min(MAX_DEBUGGER_DATA).into(), "KDDEBUGGER_DATA64") {
            Ok(bytes) => Some(DebuggerData::from_bytes(bytes)),
            Err(error) => {
                self.warnings.push(error);
                None
            }
        }
    }

    /// Both tables are as long as they say.
    fn check_tables(&mut self) {
        let raw = &self.raw;
        for (offset, count, stride, structure) in [
            (raw.driver_list_offset, raw.driver_count, size_of::<DriverEntry64>(), "driver list"),
            (raw.data_blocks_offset, raw.data_blocks_count, size_of::<DataBlock>(), "data block table"),
        ] {
            let table = self.file.table(offset.get().into(), count.get().into(), stride as u64, structure).map(drop);
            self.warnings.extend(table.err());
        }
    }

    fn index_blocks(&mut self) {
        let mut segments = Vec::new();
        let (mut cut, mut first_cut) = (0u32, None);
        for (at, block) in self.data_blocks() {
            let (from, size) = (u64::from(block.offset.get()), u64::from(block.size.get()));
            let held = size.min(self.file.len().saturating_sub(from));
            if held < size {
                cut += 1;
                first_cut.get_or_insert(at);
            }
            if let Some(bytes) = self.file.get(from, held) {
                segments.push(Segment { address: block.address.get(), bytes, origin: Origin::DataBlock });
            }
        }
        if let Some(at) = first_cut {
            let found = format!("{cut} blocks with bytes past the end of the file, this one first");
            let allowed = format!("offset and size inside {:#x} bytes", self.file.len());
            self.warnings.push(Error::malformed(at, "TRIAGE_DATA_BLOCK", found, allowed));
        }
        self.memory = Segments::new(segments);
    }

    /// Stack, thread, process, data page and debugger data are not data blocks, but the address of each is known.
    fn index_state(&mut self) {
        let raw = self.raw;
        let sized = |offset: zerocopy::little_endian::U32, size: zerocopy::little_endian::U32| {
            self.part(offset.get(), Some(size.get()))
        };
        let parts = [
            (Some(raw.top_of_stack.get()), sized(raw.call_stack_offset, raw.size_of_call_stack), Origin::CallStack),
            (self.current_thread(), self.thread(), Origin::Thread),
            (self.current_process(), self.process(), Origin::Process),
            (Some(raw.data_page_address.get()), sized(raw.data_page_offset, raw.data_page_size), Origin::DataPage),
            (
                Some(self.header.anchors().debugger_data_block),
                sized(raw.debugger_data_offset, raw.debugger_data_size),
                Origin::DebuggerData,
            ),
        ];
        let known = parts.into_iter().filter_map(|(address, bytes, origin)| {
            let address = address.filter(|&address| address != 0)?;
            Some(Segment { address, bytes: bytes?, origin })
        });
        self.memory.fill(&Segments::new(known.collect()));
    }
}

impl std::fmt::Debug for Triage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Triage")
            .field("header", &self.header)
            .field("drivers", &self.raw.driver_count.get())
            .field("segments", &self.memory.all().len())
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// The pointer at an offset of a structure.
fn pointer(bytes: &[u8], at: u32) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().expect("the slice has 8 bytes")))
}
