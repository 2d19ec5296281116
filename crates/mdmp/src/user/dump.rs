//! The dump as plain values, and its layout.
//!
//! Order in the file: header, directory, the small streams with what they point to, the memory lists, the memory.
//! Metadata comes early and bulk late, so a truncated file loses the least; and a list comes before its memory, so that
//! nothing has to be known that has not been read.

use std::collections::HashSet;
use std::fmt;

use super::exception::ExceptionStream;
use super::memory_list::{MemoryIndex, MemoryList};
use super::memory64::Memory64List;
use super::streams::count32;
use super::thread_names::ThreadNames;
use super::threads::ThreadList;
use super::{
    Comment, Exception, Handle, IptTrace, MemoryInfo, MiscInfo, Module, Region, Stream, StreamType, SystemInfo,
    SystemMemoryInfo, Thread, UnloadedModule,
};
use crate::{Blob, BlobId, Error, Layout, MemoryRange, Plan};

/// `MINIDUMP_TYPE` (minidumpapiset.h): what the dump says it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Flags(pub u64);

impl Flags {
    /// `MiniDumpWithFullMemory`: the one bit that changes how dbgeng reads (measured). Set means Memory64List and
    /// forbids MemoryList; clear means MemoryList and forbids Memory64List. The writer sets it to fit the list.
    pub const FULL_MEMORY: Flags = Flags(0x2);
    /// `MiniDumpWithHandleData`.
    pub const HANDLE_DATA: Flags = Flags(0x4);
    /// `MiniDumpWithUnloadedModules`.
    pub const UNLOADED_MODULES: Flags = Flags(0x20);
    /// `MiniDumpWithFullMemoryInfo`.
    pub const FULL_MEMORY_INFO: Flags = Flags(0x800);
    /// `MiniDumpWithThreadInfo`.
    pub const THREAD_INFO: Flags = Flags(0x1000);
    /// `MiniDumpWithCodeSegs`.
    pub const CODE_SEGS: Flags = Flags(0x2000);
    /// `MiniDumpWithoutAuxiliaryState`.
    pub const WITHOUT_AUXILIARY_STATE: Flags = Flags(0x4000);

    /// True when all bits of `other` are set.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// Which memory list a dump has. dbgeng takes one of them per file, never both (measured).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MemoryListKind {
    /// `List32` while the memory is at most [`Dump::LIST32_LIMIT`], else `List64`.
    #[default]
    Auto,
    /// MemoryList, readable by all readers but udmp-parser; the file ends below 4 GiB.
    List32,
    /// Memory64List, readable by all readers but breakpad.
    List64,
}

/// A user minidump.
///
/// Two profiles come out, after [`MemoryListKind`]: Flags 0x6000 with MemoryList, or Flags 0x6002 with Memory64List
/// last in the file (`flags` given as the default). Both have a MemoryInfoList.
#[non_exhaustive]
pub struct Dump<'a> {
    /// Seconds since 1970 UTC; shown as "Debug session time". Take it from the source of the data, not from the clock,
    /// and the same values give the same bytes.
    pub timestamp: u32,
    /// [`Flags::FULL_MEMORY`] is set or cleared to fit the memory list; the others are written as they are.
    pub flags: Flags,
    /// Which memory list.
    pub memory_list: MemoryListKind,
    /// Machine and system.
    pub system_info: SystemInfo,
    /// Process id and more.
    pub misc_info: Option<MiscInfo>,
    /// Loaded images.
    pub modules: Vec<Module>,
    /// Images that were loaded before.
    pub unloaded_modules: Vec<UnloadedModule>,
    /// At least one. See [`Dump::add_placeholder`].
    pub threads: Vec<Thread>,
    /// What stopped the process.
    pub exception: Option<Exception>,
    /// Disjoint ranges, in any order; they lie in the file in this order.
    pub memory: Vec<MemoryRange<'a>>,
    /// What the pages are.
    pub memory_info: MemoryInfo,
    /// Open handles.
    pub handles: Vec<Handle>,
    /// At most one of each encoding.
    pub comments: Vec<Comment>,
    /// Memory of the whole system.
    pub system_memory: Option<SystemMemoryInfo>,
    /// Intel PT data.
    pub ipt: Option<IptTrace<'a>>,
    /// Streams of one's own.
    pub streams: Vec<Box<dyn Stream<'a> + 'a>>,
}

/// Magic and format version; dbgeng checks both (measured).
const SIGNATURE: &[u8; 4] = b"MDMP";
const VERSION: u16 = 0xa793;

impl<'a> Dump<'a> {
    /// Most bytes of memory for which [`MemoryListKind::Auto`] takes the 32-bit list: 3.9 GiB, which leaves 100 MiB for
    /// everything else; dbgeng reads such a file right at the far end (measured).
    pub const LIST32_LIMIT: u64 = 4_187_593_113;

    /// A dump with nothing in it but the system.
    pub fn new(system_info: SystemInfo) -> Dump<'a> {
        Dump {
            timestamp: 0,
            flags: Flags::CODE_SEGS | Flags::WITHOUT_AUXILIARY_STATE,
            memory_list: MemoryListKind::Auto,
            system_info,
            misc_info: None,
            modules: Vec::new(),
            unloaded_modules: Vec::new(),
            threads: Vec::new(),
            exception: None,
            memory: Vec::new(),
            memory_info: MemoryInfo::FromMemory,
            handles: Vec::new(),
            comments: Vec::new(),
            system_memory: None,
            ipt: None,
            streams: Vec::new(),
        }
    }

    /// The memory list that will be written: never `Auto`.
    pub fn memory_list_kind(&self) -> MemoryListKind {
        match self.memory_list {
            MemoryListKind::Auto => {
                let total = self.memory.iter().fold(0u64, |sum, range| sum.saturating_add(range.size));
                if total <= Self::LIST32_LIMIT { MemoryListKind::List32 } else { MemoryListKind::List64 }
            }
            kind => kind,
        }
    }

    /// Freezes the dump and lays it out. The memory is not read; the plan keeps a handle on each source.
    ///
    /// # Errors
    /// A value that a reader refuses, ranges that overlap, a file too big for its list.
    pub fn plan(&self) -> Result<Plan<'a>, Error> {
        let kind = self.memory_list_kind();
        let mut layout = Layout::new();
        let (header, directory) = (layout.reserve(), layout.reserve());
        let (index, ids) = MemoryIndex::declare(&mut layout, &self.memory)?;
        let architecture = self.system_info.architecture;
        self.check_addresses()?;

        let threads = ThreadList { threads: &self.threads, architecture, memory: &index };
        let names = ThreadNames(&self.threads);
        let exception = self.exception.as_ref();
        let exception = exception.map(|exception| ExceptionStream { exception, threads: &self.threads, architecture });
        let regions = match &self.memory_info {
            MemoryInfo::FromMemory => Some(Region::of_ranges(&self.memory, &self.modules)),
            MemoryInfo::Regions(regions) => Some(regions.clone()),
            MemoryInfo::Absent => None,
        };
        let (list32, list64) =
            (MemoryList { memory: &self.memory, ids: &ids }, Memory64List { memory: &self.memory, ids: &ids });

        let mut streams: Vec<&dyn Stream<'a>> = vec![&self.system_info];
        streams.extend(self.misc_info.iter().map(|stream| stream as &dyn Stream<'a>));
        streams.extend(self.comments.iter().map(|stream| stream as &dyn Stream<'a>));
        streams.push(&threads);
        if !names.is_empty() {
            streams.push(&names);
        }
        streams.extend(exception.iter().map(|stream| stream as &dyn Stream<'a>));
        let modules = List(self.modules.as_slice());
        streams.push(&modules);
        let unloaded = List(self.unloaded_modules.as_slice());
        if !self.unloaded_modules.is_empty() {
            streams.push(&unloaded);
        }
        let handles = List(self.handles.as_slice());
        if !self.handles.is_empty() {
            streams.push(&handles);
        }
        streams.extend(self.system_memory.iter().map(|stream| stream as &dyn Stream<'a>));
        streams.extend(self.streams.iter().map(|stream| &**stream as &dyn Stream<'a>));
        streams.extend(self.ipt.iter().map(|stream| stream as &dyn Stream<'a>));
        let regions = regions.as_deref().map(List);
        streams.extend(regions.iter().map(|stream| stream as &dyn Stream<'a>));
        streams.push(if kind == MemoryListKind::List64 { &list64 } else { &list32 });

        layout.place(header, self.header(kind, streams.len(), directory)?);
        let mut table = Blob::new("directory");
        let mut types = HashSet::new();
        for stream in streams {
            let stream_type = stream.stream_type();
            if stream_type == StreamType::UNUSED || !types.insert(stream_type) {
                let (structure, found) = ("directory: StreamType", format!("{stream_type:?}"));
                return Err(Error::rule(structure, found, "each type once, and not Unused", "all readers"));
            }
            let id = stream.place(&mut layout)?;
            table.u32(stream_type.0).location32(id);
        }
        layout.place(directory, table);
        for (position, (range, &id)) in self.memory.iter().zip(&ids).enumerate() {
            // Memory64List names one offset: what follows the first range follows without a gap.
            let align = if kind == MemoryListKind::List64 && position > 0 { 1 } else { 16 };
            layout.place_memory(id, range.clone(), align);
        }
        layout.plan()
    }

    fn check_addresses(&self) -> Result<(), Error> {
        let architecture = self.system_info.architecture;
        let memory = self.memory.iter().map(|range| ("memory range", range.address));
        let modules = self.modules.iter().map(|module| ("module: BaseOfImage", module.base));
        match memory.chain(modules).find(|&(_, address)| !architecture.has_address(address)) {
            None => Ok(()),
            Some((structure, address)) => {
                let allowed = "a 32-bit address, sign-extended to 64 bit";
                Err(Error::rule(structure, format!("{address:#x}"), allowed, "dbgeng"))
            }
        }
    }

    fn header(&self, kind: MemoryListKind, streams: usize, directory: BlobId) -> Result<Blob, Error> {
        let full = if kind == MemoryListKind::List64 { Flags::FULL_MEMORY.0 } else { 0 };
        let mut blob = Blob::new("header");
        // The high word of the version is the writer's own; the last of the four numbers that follow is the flags;
        // before them lie CheckSum, which is 0, and the time.
        blob.bytes(SIGNATURE).u16(VERSION).u16(0).u32(count32("header", streams)?).rva32(directory);
        blob.u32(0).u32(self.timestamp).u64(self.flags.0 & !Flags::FULL_MEMORY.0 | full);
        Ok(blob)
    }
}

impl fmt::Debug for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams: Vec<StreamType> = self.streams.iter().map(|stream| stream.stream_type()).collect();
        f.debug_struct("Dump")
            .field("timestamp", &self.timestamp)
            .field("flags", &self.flags)
            .field("memory_list", &self.memory_list)
            .field("system_info", &self.system_info)
            .field("misc_info", &self.misc_info)
            .field("modules", &self.modules)
            .field("unloaded_modules", &self.unloaded_modules)
            .field("threads", &self.threads)
            .field("exception", &self.exception)
            .field("memory", &self.memory)
            .field("memory_info", &self.memory_info)
            .field("handles", &self.handles)
            .field("comments", &self.comments)
            .field("system_memory", &self.system_memory)
            .field("ipt", &self.ipt)
            .field("streams", &streams)
            .finish()
    }
}

/// A slice as a stream: trait objects want a sized type.
struct List<'s, T>(&'s [T]);

impl<'a, T> Stream<'a> for List<'_, T>
where
    [T]: Stream<'a>,
{
    fn stream_type(&self) -> StreamType {
        self.0.stream_type()
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        self.0.place(layout)
    }
}
