//! From images to the plan of a file: which ranges of memory, which modules, in which format.

use kernel_code::{Entry, Image, Inclusion};
use kernel_snapshot::dump::{Boot, Dump as SourceDump};
use kernel_snapshot::threads::{self, Found, ThreadLayout, ThreadOptions};
use kernel_snapshot::{self, Held, Machine, Reading, Snapshot};
use mdmp::kernel::{self, Driver, Synthetic};
use mdmp::read::Segments;
use mdmp::user::{
    Architecture, CodeView, Comment, Dump, Flags, MemoryListKind, MiscInfo, Module, RawStream, StreamType, SystemInfo,
};
use mdmp::{MemoryRange, Plan, RawDirectory, amd64, arm64, elf};

use super::options::{BuildOptions, ListKind, Selection};
use crate::image;
use crate::keep::{self, Kept};
use crate::provenance::{PROVENANCE_STREAM, Provenance};

/// Id of the placeholder thread of a minidump without known threads. Debuggers want one, and not 0.
const THREAD: u32 = 1;
/// Process id that debuggers show: the System process.
const SYSTEM_PROCESS: u32 = 4;

/// Seconds from 1601 to 1970.
const FILETIME_TO_UNIX: u64 = 11_644_473_600;
/// FILETIME units per second.
const FILETIME_SECOND: u64 = 10_000_000;

/// What goes into a file of any format.
pub(super) struct Content<'a> {
    /// The machine and its kernel.
    pub snapshot: &'a Snapshot,
    /// Modules: those with their code, and those that only are known to have been there.
    pub modules: Vec<Module>,
    /// Disjoint ranges, ascending.
    pub memory: Vec<MemoryRange<'a>>,
    /// Where it all comes from.
    pub provenance: &'a Provenance,
    /// The triage dumps that are the source, for their state.
    pub boot: Option<&'a Boot<'a>>,
    /// The memory that the source captured, if it holds ranges: it stays, byte for byte, and wins over the files.
    pub captured: Option<&'a Segments<'a>>,
    /// The source, if it is a dump that holds pages: those in a module's range win over its file.
    pub pages: Option<&'a SourceDump<'a>>,
    /// All threads of the source, found by this layout; `None` for its current one alone.
    pub threads: Option<ThreadLayout>,
    /// The time to show instead of the source's, in seconds from 1970.
    pub timestamp: Option<u64>,
}

impl<'a> Content<'a> {
    /// Collects the modules and the memory of images. Modules without a file are listed too: a debugger then
    /// names their addresses, and finds their symbols.
    pub fn new(
        reading: &'a Reading<'a>,
        entries: &[Entry],
        images: &'a [Image<'a>],
        provenance: &'a Provenance,
        options: &BuildOptions,
    ) -> Self {
        let snapshot = &reading.snapshot;
        let (mut boot, mut captured, mut pages) = (None, None, None);
        match &reading.held {
            Some(Held::Boot(held)) => (boot, captured) = (Some(&**held), Some(&held.memory)),
            Some(Held::Dump(dump)) => match dump.segments() {
                Some(segments) => captured = Some(segments),
                None => pages = Some(&**dump),
            },
            None => {}
        }
        let triage = options.format == super::Format::Triage;
        // The first driver of a triage dump is `nt` whatever it is called, so the kernel is listed in any case.
        let absent = entries.iter().filter(|entry| match entry.inclusion {
            Inclusion::Missing | Inclusion::Mismatch => true,
            Inclusion::Excluded => triage && Some(entry.module.base) == snapshot.kernel_base,
            Inclusion::Included => false,
        });
        let mut modules: Vec<Module> = absent.filter_map(absent_module).collect();
        modules.extend(images.iter().map(image::module_entry));
        // The kernel first, as in every list that Windows itself writes, then by address.
        let kernel = snapshot.kernel_base.or_else(|| kernel_by_name(&modules));
        modules.sort_by_key(|module| (Some(module.base) != kernel, module.base));
        // A triage dump's readers find a module's PDB by its header and debug directory in memory and nowhere else.
        let selection = match options.memory {
            Selection::Code if triage => Selection::Headers,
            selection => selection,
        };
        let mut memory: Vec<_> =
            images.iter().flat_map(|image| image::memory(image, selection.into(), triage)).collect();
        memory.sort_by_key(|range| range.address);
        Self {
            snapshot,
            modules,
            memory,
            provenance,
            boot,
            captured,
            pages,
            threads: None,
            timestamp: options.timestamp,
        }
    }

    /// What a debugger will get wrong in a triage dump whose source names no kernel.
    pub fn kernel_warning(&self, options: &BuildOptions) -> Option<String> {
        let first = self.modules.first().filter(|_| options.format == super::Format::Triage && self.boot.is_none())?;
        let known = self.snapshot.kernel_base.or_else(|| kernel_by_name(&self.modules));
        (known != Some(first.base)).then(|| {
            format!("no module is known to be the kernel: debuggers call the first driver, {}, nt", first.name)
        })
    }

    /// The dump whose state the result has, with the memory of all of its boot.
    fn kept(&self) -> Option<Kept<'a, 'a>> {
        let boot = self.boot?;
        Some(Kept { dump: boot.dumps.first()?.triage()?, memory: &boot.memory })
    }

    /// A user minidump.
    pub fn minidump(self, list: ListKind) -> Result<Plan<'a>, mdmp::Error> {
        let machine = &self.snapshot.machine;
        let mut dump = match self.kept() {
            Some(kept) => {
                let wanted = ThreadOptions { layout: self.threads.unwrap_or_default(), ..ThreadOptions::default() };
                let mut found = threads::threads(kept.dump, kept.memory, &wanted);
                found.retain(|thread| self.threads.is_some() || thread.found == Found::Current);
                keep::user(kept, machine, self.modules, &found, self.memory)
            }
            None => {
                let mut dump = Dump::new(system_info(machine));
                dump.memory = self.all_memory();
                dump.modules = self.modules;
                dump
            }
        };
        let seconds = filetime(self.snapshot, self.timestamp)
            .and_then(|time| (time / FILETIME_SECOND).checked_sub(FILETIME_TO_UNIX));
        dump.timestamp = u32::try_from(seconds.unwrap_or(0)).unwrap_or(u32::MAX);
        dump.flags = Flags::CODE_SEGS | Flags::WITHOUT_AUXILIARY_STATE;
        dump.memory_list = match list {
            ListKind::Auto => MemoryListKind::Auto,
            ListKind::Bits32 => MemoryListKind::List32,
            ListKind::Bits64 => MemoryListKind::List64,
        };
        let mut info = MiscInfo::with_process_id(SYSTEM_PROCESS);
        info.build_string = machine.build_lab.clone();
        dump.misc_info = Some(info);
        dump.comments.push(Comment::Narrow(self.provenance.comment()));
        dump.streams.push(Box::new(RawStream::new(StreamType(PROVENANCE_STREAM), self.provenance.json())));
        if dump.threads.is_empty() {
            dump.add_placeholder(THREAD, 0)?;
        }
        dump.plan()
    }

    /// A kernel triage dump. `nt` is the first module of the list.
    pub fn triage(self) -> Result<Plan<'a>, mdmp::Error> {
        let comment = truncated(&self.provenance.comment(), COMMENT);
        if let Some(kept) = self.kept() {
            return keep::triage(kept, self.memory, &comment).plan();
        }
        let machine = &self.snapshot.machine;
        let kernel = self.modules.first().map_or(0, |module| module.base);
        let context: mdmp::Context = match machine.architecture_or_x64() {
            kernel_snapshot::Architecture::Arm64 => arm64::Context::new(kernel, STACK).into(),
            _ => amd64::Context::kernel(kernel, STACK).into(),
        };
        let mut synthetic = Synthetic::new(kernel, context);
        synthetic.build_lab = machine.build_lab.clone().unwrap_or_default();
        let mut dump = kernel::Dump::synthetic(synthetic);
        dump.system.build = machine.os.build;
        dump.system.processors = machine.processors.unwrap_or(1).max(1);
        dump.system.time = filetime(self.snapshot, self.timestamp).unwrap_or(0);
        dump.comment = comment;
        dump.memory.extend(self.all_memory());
        dump.drivers.extend(self.modules.into_iter().map(|module| {
            let mut driver = Driver::new(module.name, module.base, module.size);
            (driver.timestamp, driver.checksum) = (module.timestamp, module.checksum);
            driver
        }));
        dump.plan()
    }

    /// An ELF core.
    pub fn elf(self) -> Result<Plan<'a>, mdmp::Error> {
        let mut core = elf::Core::new(architecture(&self.snapshot.machine));
        core.memory = self.all_memory();
        core.modules = self.modules;
        core.plan()
    }

    /// A directory of files.
    pub fn raw(self) -> Result<RawDirectory<'a>, mdmp::Error> {
        RawDirectory::new(&self.all_memory(), &self.modules)
    }

    /// The code, and around it what the source captured.
    fn all_memory(&self) -> Vec<MemoryRange<'a>> {
        if let Some(dump) = self.pages {
            return keep::over(dump, self.memory.clone());
        }
        let Some(captured) = self.captured else { return self.memory.clone() };
        let mut memory = keep::captured(captured);
        memory.extend(keep::around(captured, self.memory.clone()));
        memory
    }
}

/// Where the made-up thread of a triage dump has its stack: kernel addresses that Windows does not use.
const STACK: u64 = 0xffff_f680_0100_0000;
/// Bytes of a triage dump's comment, terminator not counted.
const COMMENT: usize = 127;

fn system_info(machine: &Machine) -> SystemInfo {
    let os = &machine.os;
    let mut info = SystemInfo::new(architecture(machine), os.major, os.minor, os.build);
    info.processor_level = machine.cpu_family.unwrap_or(0);
    info.processor_revision = machine.cpu_revision.unwrap_or(0);
    info.processors = machine.processors.map_or(1, |n| u8::try_from(n).unwrap_or(u8::MAX));
    info
}

/// A module that the source names and whose file is missing.
fn absent_module(entry: &Entry) -> Option<Module> {
    let module = &entry.module;
    let size = u32::try_from(module.size).ok().filter(|&size| size > 0)?;
    let mut listed = Module::new(&module.path, module.base, size);
    listed.timestamp = module.timestamp.unwrap_or(0);
    listed.checksum = module.checksum.unwrap_or(0);
    listed.codeview =
        module.pdb.as_ref().map(|pdb| CodeView::Rsds { guid: pdb.id.guid.0, age: pdb.id.age, pdb: pdb.name.clone() });
    Some(listed)
}

/// The kernel's base when the source does not say it: the module of that file name.
fn kernel_by_name(modules: &[Module]) -> Option<u64> {
    let is_kernel =
        |module: &&Module| module.name.rsplit(['\\', '/']).next().is_some_and(pe_image::is_kernel_file_name);
    modules.iter().find(is_kernel).map(|module| module.base)
}

fn architecture(machine: &Machine) -> Architecture {
    match machine.architecture_or_x64() {
        kernel_snapshot::Architecture::Amd64 => Architecture::AMD64,
        kernel_snapshot::Architecture::Arm64 => Architecture::ARM64,
        kernel_snapshot::Architecture::X86 => Architecture::X86,
    }
}

/// The time that debuggers show, as a FILETIME: the one asked for, in seconds from 1970, else the source's.
fn filetime(snapshot: &Snapshot, unix: Option<u64>) -> Option<u64> {
    let asked = unix.and_then(|seconds| seconds.checked_add(FILETIME_TO_UNIX)?.checked_mul(FILETIME_SECOND));
    asked.or(snapshot.time)
}

/// At most `limit` bytes of ASCII: what does not fit is cut off.
fn truncated(text: &str, limit: usize) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '?' }).take(limit).collect()
}
