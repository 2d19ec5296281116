//! The threads of a source, and where the offsets come from by which they were found.

use std::path::{Path, PathBuf};

use kernel_code::Search;
use kernel_snapshot::threads::{Found, POOL_ALIGNMENT, Thread, ThreadLayout, ThreadOptions, threads};
use kernel_snapshot::{Held, Progress, Reading};
use mdmp::kernel::Machine;
use mdmp::read::Triage;
use symstore::Index;

use crate::error::{Error, Result};
use kernel_snapshot::SourceKind;
use kernel_snapshot::dump::Kind;

mod kernel_pdb;

use kernel_pdb::{KernelPdb, read_pdb};

/// Which threads to list.
#[derive(Clone, Debug, Default)]
pub struct ThreadListOptions {
    /// The kernel's PDB, which says where a thread object keeps what.
    pub pdb: Option<PathBuf>,
    /// Where to look for that PDB when it is not given: the symbol stores among these places.
    pub search: Search,
    /// Offset of `KTHREAD.Process`, whatever the PDB says.
    pub process_offset: Option<u32>,
    /// Addresses that are threads.
    pub addresses: Vec<u64>,
    /// Addresses of further process objects whose threads are looked for.
    pub processes: Vec<u64>,
}

/// A triage dump's threads.
#[derive(Debug)]
pub(crate) struct ThreadList<'r> {
    /// The dump.
    pub reading: &'r Reading<'r>,
    /// Where a thread object keeps what, as used.
    pub layout: ThreadLayout,
    /// The PDB that the layout was read from; `None` for the built-in one.
    pub pdb: Option<PathBuf>,
    /// The threads: the current one, then those that something names, then those that scanning found.
    pub threads: Vec<Thread>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// Builds of Windows, x64, whose thread objects are laid out as [`ThreadLayout::AMD64_19041`] says.
const KNOWN_BUILDS: std::ops::RangeInclusive<u32> = 19041..=19045;

/// Lists the threads of a triage dump, or of several of one boot.
///
/// # Errors
/// When the source is not a triage dump, or the PDB that was given cannot be read or has no thread types. A PDB that was
/// looked for and not found, or that is unfit, is a warning.
pub(crate) fn list_threads<'r>(
    reading: &'r Reading<'_>,
    options: &ThreadListOptions,
    progress: &dyn Progress,
) -> Result<ThreadList<'r>> {
    let Some(Held::Boot(boot)) = &reading.held else { return Err(no_triage(reading)) };
    let Some(dump) = boot.dumps.first().and_then(|dump| dump.triage()) else { return Err(no_triage(reading)) };
    let mut warnings = reading.warnings.clone();

    let from_file = match &options.pdb {
        Some(path) => Some((read_pdb(path)?, path.clone())),
        None => None,
    };
    let kernel = KernelPdb::of(&reading.snapshot, |kernel| {
        if options.search.roots.is_empty() && options.search.symbol_path.is_empty() {
            return None;
        }
        let index = options.search.index(std::slice::from_ref(kernel), progress);
        index.map_err(|error| warnings.push(error.to_string())).ok()
    });
    let from_file = match (from_file, kernel) {
        (Some((pdb, path)), Some(kernel)) => {
            warnings.extend(kernel.differs(&pdb, &path));
            Some((pdb.layout, path))
        }
        (Some((pdb, path)), None) => Some((pdb.layout, path)),
        (None, Some(kernel)) => kernel.find(&options.search, &mut warnings),
        (None, None) => None,
    };

    let mut layout = from_file.as_ref().map_or(ThreadLayout::AMD64_19041, |(layout, _)| *layout);
    if let Some(offset) = options.process_offset {
        layout.process = offset;
    }
    if from_file.is_none() {
        warnings.extend(unknown_build(dump));
    }
    let wanted = ThreadOptions { layout, addresses: options.addresses.clone(), processes: options.processes.clone() };
    let found = threads(dump, &boot.memory, &wanted);
    warnings.extend(doubts(&found, layout));

    let layout = layout.or_debugger_data(dump.debugger_data());
    Ok(ThreadList { reading, layout, pdb: from_file.map(|(_, path)| path), threads: found, warnings })
}

/// The layout for a build with threads: from the kernel's PDB when the places of module files have it.
pub(crate) fn layout_at_hand(
    reading: &Reading<'_>,
    index: &Index,
    search: &Search,
    warnings: &mut Vec<String>,
) -> ThreadLayout {
    let found = KernelPdb::of(&reading.snapshot, |_| Some(index)).and_then(|kernel| kernel.find(search, warnings));
    match (found, &reading.held) {
        (Some((layout, _)), _) => layout,
        (None, Some(Held::Boot(boot))) => {
            warnings.extend(boot.dumps.first().and_then(|dump| unknown_build(dump.triage()?)));
            ThreadLayout::default()
        }
        (None, _) => ThreadLayout::default(),
    }
}

/// What to say when the built-in offsets are used for a build that they were not checked on.
fn unknown_build(dump: &Triage<'_>) -> Option<String> {
    let system = dump.header().system();
    let known = system.machine != Machine::ARM64 && KNOWN_BUILDS.contains(&system.build);
    let warning = format!(
        "the offsets of thread objects are those of x64 build 19041, this dump is of build {}: threads may be missed, ids \
         and stacks be wrong. The kernel's PDB has the right ones: put it into one of the symbol \
         stores that are looked through, or name it",
        system.build
    );
    (!known).then_some(warning)
}

fn no_triage(reading: &Reading<'_>) -> Error {
    let summary = &reading.summary;
    let what = match summary.kind {
        SourceKind::Trace => "this is an ETW trace",
        SourceKind::Dump(Kind::KernelTriage) => "this triage dump is damaged",
        SourceKind::Dump(Kind::KernelFull | Kind::KernelBitmap) => "this is a full kernel dump",
        SourceKind::Dump(Kind::UserMinidump) => "this is a user minidump",
    };
    let why = format!("{what}; threads can only be listed from kernel triage dumps (C:\\Windows\\Minidump)");
    Error::NoThreads { path: Path::new(&summary.name).to_owned(), why }
}

/// What speaks against a list of threads.
fn doubts(threads: &[Thread], layout: ThreadLayout) -> Vec<String> {
    let mut doubts = Vec::new();
    let current = threads.iter().find(|thread| thread.found == Found::Current);
    if let Some((current, process)) = current.and_then(|thread| Some((thread, thread.process?)))
        && (process >> 47 != 0x1_ffff || !process.is_multiple_of(POOL_ALIGNMENT))
    {
        doubts.push(format!(
            "the current thread {:#x} has {process:#x} at +{:#x}, where its process is expected: not the address of an \
             object, so the offset does not fit this dump",
            current.address, layout.process
        ));
    }
    for thread in threads.iter().filter(|thread| thread.found == Found::Listed && !thread.verified) {
        doubts.push(format!("{:#x}: nothing that was captured shows that a thread is there", thread.address));
    }
    doubts
}
