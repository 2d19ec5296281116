//! The rules of user minidumps, checked stream by stream.

mod memory;
mod modules;
mod subject;
mod threads;

use std::collections::HashSet;

use super::report::Findings;
use super::rules;
use crate::bytes::Bytes;
use crate::user::{Architecture, Directory, Entry, Flags, StreamType};
use memory::Memory;
use subject::Dump;

/// What lies somewhere in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Header,
    Directory,
    Stream(StreamType),
}

pub(super) fn check(file: &[u8], findings: &mut Findings) {
    let Some(directory) = findings.take(&rules::FORMAT, Directory::parse(file)) else { return };
    let mut dump = Dump { bytes: Bytes::new(file), directory, findings, architecture: None };
    dump.check_header();
    dump.check_directory();
    dump.architecture = dump.check_system_info();
    dump.check_misc_info();
    dump.check_memory_kind();
    let memory = Memory::read(&mut dump);
    let modules = modules::check(&mut dump);
    memory.check_info(&mut dump, &modules);
    threads::check(&mut dump, &memory);
}

impl Dump<'_, '_> {
    fn check_header(&mut self) {
        let version = self.directory.header.version;
        if version & 0xffff != 0xa793 {
            let message = || format!("header: Version is {version:#x}, allowed is 0xa793 in the low word");
            self.findings.add(&rules::VERSION, 4, message);
        }
    }

    fn check_directory(&mut self) {
        let header = self.directory.header;
        let table = (header.directory.into(), 12 * u64::from(header.streams));
        let mut extents = Vec::with_capacity(self.directory.entries.len() + 2);
        extents.extend([(0, 32, Part::Header), (table.0, table.1, Part::Directory)]);
        let mut types = HashSet::new();
        for &Entry { at, stream_type, size, offset } in &self.directory.entries {
            if stream_type == StreamType::UNUSED {
                continue;
            }
            if !types.insert(stream_type) {
                let message = || format!("directory: {stream_type:?} stands there again, allowed is once");
                self.findings.add(&rules::STREAM_TWICE, at, message);
            }
            if matches!(stream_type.0, 21..=24) {
                let message = || format!("directory: {stream_type:?} is unknown to older engines");
                self.findings.add(&rules::STREAM_UNKNOWN, at, message);
            }
            if self.bytes.get(offset.into(), size.into()).is_none() {
                let end = self.bytes.len();
                self.findings.add(&rules::STREAM_BOUNDS, at, || {
                    format!("directory: {stream_type:?} lies at {offset:#x}+{size:#x}, the file ends at {end:#x}")
                });
                continue;
            }
            extents.push((offset.into(), size.into(), Part::Stream(stream_type)));
        }
        extents.retain(|&(_, size, _)| size > 0);
        extents.sort_unstable();
        for pair in extents.windows(2) {
            let ((first, size, part), (second, _, other)) = (pair[0], pair[1]);
            if first + size > second {
                let message = || format!("{part:?} at {first:#x}+{size:#x} runs into {other:?} at {second:#x}");
                self.findings.add(&rules::STREAM_OVERLAP, second, message);
            }
        }
    }

    fn check_system_info(&mut self) -> Option<Architecture> {
        if self.directory.find(StreamType::SYSTEM_INFO).is_none() {
            self.findings.add(&rules::SYSTEM_INFO, 0, || "there is no SystemInfo stream".into());
            return None;
        }
        let at = u64::from(self.stream(StreamType::SYSTEM_INFO, 56)?.offset);
        let architecture = Architecture(self.bytes.u16(at, "SystemInfo: ProcessorArchitecture").ok()?);
        let known = [Architecture::X86, Architecture::ARM, Architecture::AMD64, Architecture::ARM64];
        if !known.contains(&architecture) {
            self.findings.add(&rules::ARCHITECTURE, at, || {
                format!("SystemInfo: ProcessorArchitecture is {:#x}, allowed are 0, 5, 9 and 12", architecture.0)
            });
        }
        let platform = self.bytes.u32(at + 20, "SystemInfo: PlatformId").ok()?;
        if platform != 2 {
            let message = || format!("SystemInfo: PlatformId is {platform:#x}, allowed is 2");
            self.findings.add(&rules::PLATFORM, at + 20, message);
        }
        let csd = self.bytes.u32(at + 24, "SystemInfo: CSDVersionRva").ok()?;
        if csd != 0 {
            let text = self.string(csd.into(), "SystemInfo: CSDVersion").map(|_| ());
            self.findings.take(&rules::FORMAT, text);
        }
        Some(architecture)
    }

    fn check_misc_info(&mut self) {
        let entry = self.stream(StreamType::MISC_INFO, 24);
        let flags = entry.and_then(|entry| self.bytes.u32(u64::from(entry.offset) + 4, "MiscInfo: Flags1").ok());
        if flags.is_none_or(|flags| flags & 1 == 0) {
            let offset = entry.map_or(0, |entry| entry.offset.into());
            self.findings.add(&rules::MISC_INFO, offset, || "no MiscInfo stream with a process id".into());
        }
    }

    /// Bit 2 of Flags and the two lists must agree: the one thing in Flags that changes how dbgeng reads.
    fn check_memory_kind(&mut self) {
        let header = self.directory.header;
        let full = header.flags.contains(Flags::FULL_MEMORY);
        let list32 = self.directory.find(StreamType::MEMORY_LIST);
        let list64 = self.directory.find(StreamType::MEMORY64_LIST);
        let flags = header.flags.0;
        match (list32, list64) {
            (Some(_), Some(list)) => {
                self.findings.add(&rules::BOTH_LISTS, list.at, || "MemoryList and Memory64List, allowed is one".into());
            }
            (None, Some(list)) if !full => {
                let message = || format!("Memory64List with Flags {flags:#x}, which lack 0x2");
                self.findings.add(&rules::MEMORY64_FLAG, list.at, message);
            }
            (_, None) if full => {
                let message = || format!("Flags are {flags:#x}, which have 0x2, and there is no Memory64List");
                self.findings.add(&rules::MEMORY32_FLAG, 24, message);
            }
            (None, None) => {
                self.findings.add(&rules::NO_MEMORY, 0, || "neither MemoryList nor Memory64List".into());
            }
            _ => {}
        }
    }
}
