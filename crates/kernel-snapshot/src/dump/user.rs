//! A user minidump as a source, read by the `minidump` crate.
//!
//! The crate checks every count against the file, but copies each module's name and CodeView record: a hostile list of
//! thousands of modules that all point to one long string would cost the product of both. [`check_amplification`]
//! adds those sizes up first. Everything else that is used here borrows from the file.

use mdmp::read::{Origin, Segment, Segments};
use minidump::format::MINIDUMP_LOCATION_DESCRIPTOR;
use minidump::{
    CodeView, Minidump, MinidumpException, MinidumpMemory64List, MinidumpMemoryList, MinidumpModuleList,
    MinidumpSystemInfo, MinidumpThreadList,
};

use super::{Content, Dump, DumpError, Kind, file_name, identity};
use crate::snapshot::{Architecture, Machine, Module, OsVersion, Pdb, Snapshot};

/// What a user minidump holds besides modules.
#[derive(Debug, Default)]
pub(super) struct UserDump<'a> {
    pub(super) memory: Segments<'a>,
    pub(super) threads: Vec<UserThread<'a>>,
    pub(super) exception: Option<UserException<'a>>,
    /// The system that it is of, when that is not Windows.
    pub(super) other_system: Option<String>,
}

/// A thread of a user minidump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserThread<'a> {
    /// Thread id.
    pub id: u32,
    /// Address of the thread environment block.
    pub teb: u64,
    /// Address and size of the captured stack.
    pub stack: (u64, u64),
    /// `CONTEXT` of the dump's architecture; empty when absent.
    pub context: &'a [u8],
}

/// The exception of a user minidump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserException<'a> {
    /// The thread it happened in.
    pub thread: u32,
    /// NTSTATUS.
    pub code: u32,
    /// Where.
    pub address: u64,
    /// `CONTEXT` at that moment; empty when absent.
    pub context: &'a [u8],
}

/// Names and CodeView records may add up to this many times the file. A real dump's are a small part of it.
const AMPLIFICATION: u64 = 4;

pub(super) fn open(file: &[u8]) -> Result<Dump<'_>, DumpError> {
    let dump = Minidump::read(file)?;
    let mut warnings = Vec::new();
    let location = |place: &MINIDUMP_LOCATION_DESCRIPTOR| slice(file, place.rva.into(), place.data_size.into());

    let mut user = UserDump { memory: memory(file, &dump, &mut warnings), ..UserDump::default() };
    match dump.get_stream::<MinidumpThreadList<'_>>() {
        Ok(list) => {
            user.threads = list
                .threads
                .iter()
                .map(|thread| UserThread {
                    id: thread.raw.thread_id,
                    teb: thread.raw.teb,
                    stack: (thread.raw.stack.start_of_memory_range, thread.raw.stack.memory.data_size.into()),
                    context: location(&thread.raw.thread_context).unwrap_or(&[]),
                })
                .collect();
        }
        Err(error) => absent(&mut warnings, "ThreadList", &error),
    }
    match dump.get_stream::<MinidumpException<'_>>() {
        Ok(exception) => {
            user.exception = Some(UserException {
                thread: exception.thread_id,
                code: exception.raw.exception_record.exception_code,
                address: exception.raw.exception_record.exception_address,
                context: location(&exception.raw.thread_context).unwrap_or(&[]),
            });
        }
        Err(error) => absent(&mut warnings, "Exception", &error),
    }
    let machine = match dump.get_stream::<MinidumpSystemInfo>() {
        Ok(info) => {
            user.other_system = other_system(&info);
            machine(&info)
        }
        Err(error) => {
            absent(&mut warnings, "SystemInfo", &error);
            Machine::default()
        }
    };
    check_amplification(file, &dump)?;
    let mut modules = match dump.get_stream::<MinidumpModuleList>() {
        Ok(list) => list.iter().map(|entry| module(entry, &user.memory, &mut warnings)).collect(),
        Err(error) => {
            warnings.push(format!("ModuleList: {error}"));
            Vec::new()
        }
    };
    // A dump of the kernel's modules in user form, such as this program writes, has the kernel under one of its names.
    let kernel = modules.iter().find(|module: &&Module| module.kernel && is_kernel_name(&module.name));
    let kernel_base = kernel.map(|module| module.base);
    modules.sort_by_key(|module| module.base);
    // Seconds since 1970 as 100 ns since 1601.
    const UNIX_EPOCH: u64 = 11_644_473_600;
    let time = match dump.header.time_date_stamp {
        0 => None,
        seconds => Some((u64::from(seconds) + UNIX_EPOCH) * 10_000_000),
    };
    let snapshot = Snapshot { machine, time, kernel_base, modules };
    Ok(Dump { kind: Kind::UserMinidump, snapshot, warnings, content: Content::User(user) })
}

/// Both kinds of memory list; the 64-bit one's data follows each other from one offset.
fn memory<'a>(file: &'a [u8], dump: &Minidump<'_, &'a [u8]>, warnings: &mut Vec<String>) -> Segments<'a> {
    let mut segments = Vec::new();
    let mut add = |address, bytes| segments.push(Segment::new(address, bytes, Origin::Other));
    match dump.get_stream::<MinidumpMemoryList<'_>>() {
        Ok(list) => {
            for range in list.iter() {
                let place = range.desc.memory;
                if let Some(bytes) = slice(file, place.rva.into(), place.data_size.into()) {
                    add(range.base_address, bytes);
                }
            }
        }
        Err(error) => absent(warnings, "MemoryList", &error),
    }
    match dump.get_stream::<MinidumpMemory64List<'_>>() {
        Ok(list) => {
            let raw = dump.get_raw_stream(9).unwrap_or_default();
            let mut offset = raw.get(8..16).map_or(0, |rva| u64::from_le_bytes(rva.try_into().expect("8 bytes")));
            for range in list.iter() {
                if let Some(bytes) = slice(file, offset, range.desc.data_size) {
                    add(range.base_address, bytes);
                }
                offset = offset.saturating_add(range.desc.data_size);
            }
        }
        Err(error) => absent(warnings, "Memory64List", &error),
    }
    Segments::new(segments)
}

fn module(entry: &minidump::MinidumpModule, memory: &Segments<'_>, warnings: &mut Vec<String>) -> Module {
    let raw = &entry.raw;
    // A NUL ends a name for every reader, and no dump can be written with one.
    let name = entry.name.replace('\0', "_");
    if name != entry.name {
        warnings.push(format!("module at {:#x}: its name has a NUL and is taken as {name}", raw.base_of_image));
    }
    let record = entry.codeview_info.as_ref().and_then(|record| match record {
        CodeView::Pdb70(record) => {
            let guid = &record.signature;
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&guid.data1.to_le_bytes());
            bytes[4..6].copy_from_slice(&guid.data2.to_le_bytes());
            bytes[6..8].copy_from_slice(&guid.data3.to_le_bytes());
            bytes[8..].copy_from_slice(&guid.data4);
            let path = record.pdb_file_name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
            identity::pdb(&pe_image::CodeView::Rsds { guid: bytes, age: record.age, path })
        }
        _ => None,
    });
    let pdb: Option<Pdb> = record.or_else(|| identity::pdb(&identity::at(memory, raw.base_of_image).pdb?));
    Module {
        name: file_name(&name),
        path: name,
        process: 0,
        kernel: is_kernel_address(raw.base_of_image),
        base: raw.base_of_image,
        size: raw.size_of_image.into(),
        timestamp: Some(raw.time_date_stamp),
        checksum: Some(raw.checksum),
        pdb,
        loaded: None,
        unloaded: None,
    }
}

/// The upper half of a 64-bit address space, and of a sign-extended 32-bit one.
fn is_kernel_address(address: u64) -> bool {
    address >> 63 == 1
}

pub(crate) fn is_kernel_name(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    stem.eq_ignore_ascii_case("nt") || pe_image::is_kernel_file_name(stem)
}

/// breakpad and Crashpad write minidumps of other systems, whose version numbers and modules mean something else.
fn other_system(info: &MinidumpSystemInfo) -> Option<String> {
    let raw = &info.raw;
    let system = match raw.platform_id {
        // Windows' own numbers are 0 to 3; the others were given out by breakpad.
        0..0x8000 => return None,
        0x8000 => "Unix",
        0x8101 => "macOS",
        0x8102 => "iOS",
        0x8201 => "Linux",
        0x8202 => "Solaris",
        0x8203 => "Android",
        0x8206 => "Fuchsia",
        _ => "an unknown system",
    };
    Some(format!("{system} {}.{}.{}", raw.major_version, raw.minor_version, raw.build_number))
}

fn machine(info: &MinidumpSystemInfo) -> Machine {
    let raw = &info.raw;
    let architecture = match info.cpu {
        minidump::system_info::Cpu::X86 => Architecture::X86,
        minidump::system_info::Cpu::Arm64 => Architecture::Arm64,
        _ => Architecture::Amd64,
    };
    Machine {
        os: OsVersion { major: raw.major_version, minor: raw.minor_version, build: raw.build_number, revision: None },
        processors: Some(raw.number_of_processors.into()),
        pointer_size: if architecture == Architecture::X86 { 4 } else { 8 },
        architecture: Some(architecture),
        ..Machine::default()
    }
}

/// Adds up what the crate will copy for the module list.
fn check_amplification(file: &[u8], dump: &Minidump<'_, &[u8]>) -> Result<(), DumpError> {
    const MODULE: usize = 108;
    const CHECKED: [usize; 2] = [20, 80];
    let list = dump.get_raw_stream(4).unwrap_or_default();
    let word = |bytes: &[u8], at: usize| -> u64 {
        bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().expect("4 bytes")).into())
    };
    let [name, record] = CHECKED;
    let mut total = 0u64;
    // The count is followed by 4 bytes of padding or by none. Whichever the reader takes, the sum differs little.
    let padding = if list.len() % MODULE == 8 { 8 } else { 4 };
    for entry in list.get(padding..).unwrap_or_default().chunks_exact(MODULE) {
        let length = usize::try_from(word(entry, name)).map_or(0, |at| word(file, at));
        total = total.saturating_add(length).saturating_add(word(entry, record - 4));
    }
    let limit = AMPLIFICATION * file.len() as u64;
    if total > limit {
        let found = format!("{total:#x} bytes of names and CodeView records");
        return Err(DumpError::malformed(0, "ModuleList", found, format!("at most {limit:#x}, 4 times the file")));
    }
    Ok(())
}

fn slice(file: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let from = usize::try_from(offset).ok()?;
    file.get(from..from.checked_add(usize::try_from(size).ok()?)?)
}

/// Warns about a stream that cannot be read. A missing stream is normal.
fn absent(warnings: &mut Vec<String>, stream: &str, error: &minidump::Error) {
    if !matches!(error, minidump::Error::StreamNotFound) {
        warnings.push(format!("{stream}: {error}"));
    }
}
