//! From images to the plan of a dump: which ranges of memory, which streams.

use mdmp::user::{Architecture, Comment, Dump, Flags, MemoryListKind, MiscInfo, RawStream, StreamType, SystemInfo};
use mdmp::{MemoryRange, Plan};

use super::options::{BuildOptions, ListKind};
use super::provenance::{PROVENANCE_STREAM, Provenance};
use crate::images::Image;
use crate::snapshot::{self, Snapshot};

/// Id of the one thread of a minidump of which no thread is known. Debuggers want one, and not 0.
const THREAD: u32 = 1;
/// Process id that debuggers show: the System process.
const SYSTEM_PROCESS: u32 = 4;

/// Seconds from 1601 to 1970.
const FILETIME_TO_UNIX: u64 = 11_644_473_600;

/// Lays out a user minidump.
pub(super) fn minidump<'a>(
    snapshot: &Snapshot,
    images: &'a [Image<'a>],
    provenance: &Provenance,
    options: &BuildOptions,
) -> Result<Plan<'a>, mdmp::Error> {
    let machine = &snapshot.machine;
    let mut dump = Dump::new(SystemInfo {
        processor_level: machine.cpu_family.unwrap_or(0),
        processor_revision: machine.cpu_revision.unwrap_or(0),
        processors: machine.processors.map_or(1, |n| u8::try_from(n).unwrap_or(u8::MAX)),
        ..SystemInfo::new(architecture(machine.architecture), machine.os.major, machine.os.minor, machine.os.build)
    });
    dump.timestamp = timestamp(snapshot);
    dump.flags = Flags::CODE_SEGS | Flags::WITHOUT_AUXILIARY_STATE;
    dump.memory_list = match options.memory_list {
        ListKind::Auto => MemoryListKind::Auto,
        ListKind::Bits32 => MemoryListKind::List32,
        ListKind::Bits64 => MemoryListKind::List64,
    };
    dump.misc_info = Some(MiscInfo {
        process_id: Some(SYSTEM_PROCESS),
        build_string: machine.build_lab.clone(),
        ..MiscInfo::default()
    });
    dump.comments.push(Comment::Narrow(provenance.comment()));
    dump.streams.push(Box::new(RawStream::new(StreamType(PROVENANCE_STREAM), provenance.json())));
    for image in images {
        dump.modules.push(image.module_entry());
        dump.memory.extend(image.memory(options.memory.into()));
    }
    dump.memory.sort_by_key(|range: &MemoryRange<'_>| range.address);
    dump.add_placeholder(THREAD, 0)?;
    dump.plan()
}

fn architecture(architecture: snapshot::Architecture) -> Architecture {
    match architecture {
        snapshot::Architecture::Amd64 => Architecture::AMD64,
        snapshot::Architecture::Arm64 => Architecture::ARM64,
        snapshot::Architecture::X86 => Architecture::X86,
    }
}

/// The time that debuggers show: SOURCE_DATE_EPOCH if it is set, as for other reproducible outputs, else the source's.
fn timestamp(snapshot: &Snapshot) -> u32 {
    let set = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse::<u64>().ok());
    let seconds = set.or_else(|| (snapshot.time? / 10_000_000).checked_sub(FILETIME_TO_UNIX));
    u32::try_from(seconds.unwrap_or(0)).unwrap_or(u32::MAX)
}
