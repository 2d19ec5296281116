//! From a snapshot's modules to images with their bytes in stages, each a plain value that borrows the one before:
//!
//! ```text
//! Files   which file is which module, by identity, opened
//!   └► Parsed    their PE headers and tables
//!        └► Bound     all modules together: where each import leads
//!             └► Image    one module at its base under a policy: ranges, bytes on demand
//! ```

use std::borrow::Cow;
use std::io;
use std::path::Path;

use mdmp::user::{CodeView, FixedFileInfo, Module as ModuleEntry};
use mdmp::{Memory, MemoryRange, Protection};
use pe_image::{Binding, Counts, ImageRange, MappedImage, Modules, PeFile, Policy, Rva, Section, Selection, StubBlock};
use rayon::prelude::*;
use symstore::{Index, Lookup, missing_from};

use crate::map::FileBytes;
use crate::report::{Hex, ImportSites, RewrittenSites, SitesReport, Status, UnresolvedReport};
use crate::snapshot::{AddressMap, Module, ModuleId, Owners};

mod space;

pub use space::AddressSpace;

/// A module of a snapshot, and what was found for it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The module.
    pub module: Module,
    /// In or out.
    pub status: Status,
    /// Where its file is, or the nearest one's in case of a mismatch.
    pub file: Option<String>,
    /// Why it is out, or what should be said about it.
    pub reason: Option<String>,
}

/// The modules of a snapshot and their files.
#[derive(Debug, Default)]
pub struct Files {
    /// In the order of the snapshot.
    pub entries: Vec<Entry>,
    /// The file of each that has one.
    bytes: Vec<Option<FileBytes>>,
}

impl Files {
    /// Finds and opens the files of `modules`. A module that `excluded` gives a reason for is looked up all the same:
    /// other modules import from it.
    pub fn find(modules: &[Module], excluded: &[Option<String>], index: &Index) -> Self {
        let found = modules.par_iter().zip(excluded).map(|(module, excluded)| {
            let (mut entry, bytes) = open(module, index);
            if let Some(reason) = excluded {
                entry.exclude(reason.clone());
            }
            (entry, bytes)
        });
        let (entries, bytes) = found.unzip();
        Self { entries, bytes }
    }

    /// Reads the headers. A file that turns out to be no image is a mismatch.
    pub fn parse(&mut self) -> Parsed<'_> {
        for (entry, bytes) in self.entries.iter_mut().zip(&mut self.bytes) {
            let Some(Err(error)) = bytes.as_deref().map(PeFile::parse) else { continue };
            *bytes = None;
            if entry.status == Status::Included {
                entry.status = Status::Mismatch;
                entry.reason = Some(error.to_string());
            }
        }
        let files = self.bytes.iter().map(|bytes| PeFile::parse(bytes.as_deref()?).ok());
        Parsed { files: files.collect(), entries: &self.entries }
    }
}

impl Entry {
    /// Leaves the module out.
    fn exclude(&mut self, reason: String) {
        self.status = Status::Excluded;
        self.reason = Some(reason);
    }
}

fn open(module: &Module, index: &Index) -> (Entry, Option<FileBytes>) {
    let mut entry = Entry { module: module.clone(), status: Status::Missing, file: None, reason: None };
    let mut opened = None;
    match index.find(&module.wanted()) {
        Lookup::Missing => entry.reason = Some("no file of that name or identity found".into()),
        Lookup::Mismatch { closest, differences } => {
            entry.status = Status::Mismatch;
            entry.file = Some(closest.location.to_string());
            let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
            entry.reason = Some(format!("{}: {}", closest.location, differences.join(", ")));
        }
        Lookup::Found { file, warnings } => {
            entry.file = Some(file.location.to_string());
            let bytes = match file.location.plain_path() {
                Some(path) => FileBytes::open(path).map_err(|e| e.to_string()),
                None => {
                    let name = file.location.to_string();
                    let bytes = file.location.read().map_err(|e| format!("cannot read {name}: {e}"));
                    bytes.map(|bytes| FileBytes::from_memory(Path::new(&name), bytes))
                }
            };
            // Between index and here the file may have become shorter, and a member of an archive may be cut.
            let bytes = bytes.and_then(|bytes| match missing_from(&bytes, bytes.len() as u64) {
                Some(missing) => Err(format!("{}: cut short, {missing} bytes are missing", file.location)),
                None => Ok(bytes),
            });
            match bytes {
                Ok(bytes) => {
                    entry.status = Status::Included;
                    opened = Some(bytes);
                    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
                    entry.reason = (!warnings.is_empty()).then(|| warnings.join("; "));
                }
                Err(why) => entry.reason = Some(why),
            }
        }
    }
    (entry, opened)
}

/// Modules with the headers of their files.
#[derive(Debug)]
pub struct Parsed<'a> {
    files: Vec<Option<PeFile<'a>>>,
    entries: &'a [Entry],
}

impl<'a> Parsed<'a> {
    /// Resolves every import of every module at a moment. Modules that do not have their places in `map` then export
    /// nothing. The map is one of these modules.
    pub fn bind(&'a self, map: &AddressMap, moment: f64) -> Bound<'a> {
        let owners = map.at(moment);
        let mut numbers = vec![None; self.files.len()];
        let mut loaded = Vec::new();
        for (index, (entry, file)) in self.entries.iter().zip(&self.files).enumerate() {
            if entry.module.kernel && owners.displaced_by(ModuleId(index)).is_none() {
                numbers[index] = Some(loaded.len());
                let name = Cow::Borrowed(entry.module.name.as_str());
                loaded.push(pe_image::Module { name, base: entry.module.base, file: file.as_ref() });
            }
        }
        let set = Modules::new(loaded);
        let bindings = numbers.par_iter().map(|number| number.map(|n| set.bind(n)).unwrap_or_default()).collect();
        let entry_of = numbers.iter().enumerate().filter_map(|(entry, number)| number.map(|_| entry)).collect();
        let entries = self.entries.to_vec();
        Bound { parsed: self, entries, map: map.clone(), owners, numbers, entry_of, set, bindings }
    }
}

/// Modules whose imports are resolved against each other.
#[derive(Debug)]
pub struct Bound<'a> {
    parsed: &'a Parsed<'a>,
    entries: Vec<Entry>,
    /// The modules' addresses over time, and at the moment of the binding.
    map: AddressMap,
    owners: Owners,
    /// Number of each entry in `set`; nothing for a module that was not there.
    numbers: Vec<Option<usize>>,
    /// The entry of each number.
    entry_of: Vec<usize>,
    set: Modules<'a>,
    bindings: Vec<Binding<'a>>,
}

impl<'a> Bound<'a> {
    /// The modules with what was found for them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The modules' addresses over time.
    pub fn map_over_time(&self) -> &AddressMap {
        &self.map
    }

    /// The modules' addresses at the moment of the binding.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Leaves modules out after all: `reason` says why, or nothing for a module that stays as it is. Others go on to
    /// import from them. Those that are out already keep their reason.
    pub fn exclude(&mut self, reason: impl Fn(usize) -> Option<String>) {
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.status != Status::Excluded
                && let Some(reason) = reason(index)
            {
                entry.exclude(reason);
            }
        }
    }

    /// Where the imports of a module lead. Empty when its file is not at hand.
    ///
    /// # Panics
    /// When there is no such entry; so do the methods below.
    pub fn binding(&self, index: usize) -> &Binding<'a> {
        &self.bindings[index]
    }

    /// The entry that an import leads to.
    pub fn exporter(&self, target: &pe_image::Target) -> Option<usize> {
        self.entry_of.get(target.module).copied()
    }

    /// Whether the module was there at the chosen moment.
    pub fn was_loaded(&self, index: usize) -> bool {
        self.numbers[index].is_some()
    }

    /// The image of a module that was there and has a file, left out or not, under a policy.
    pub fn map<'b>(&'b self, index: usize, policy: Policy, stubs: Option<&'b StubBlock>) -> Option<MappedImage<'b>> {
        let file = self.parsed.files[index].as_ref().filter(|_| self.was_loaded(index))?;
        let base = self.entries[index].module.base;
        let mapped = MappedImage::new(file, base, Some(&self.bindings[index]), policy);
        Some(match stubs {
            Some(stubs) => mapped.with_stubs(stubs),
            None => mapped,
        })
    }

    /// The file of a module that is included, and where its imports lead.
    pub fn file(&'a self, index: usize) -> Option<(&'a PeFile<'a>, &'a Binding<'a>)> {
        let included = self.entries().get(index).is_some_and(|entry| entry.status == Status::Included);
        let file = self.parsed.files.get(index)?.as_ref().filter(|_| included)?;
        Some((file, self.bindings.get(index)?))
    }

    /// The retpoline stubs of the snapshot's own kernel.
    pub fn stubs(&self) -> Result<Option<StubBlock>, pe_image::Error> {
        let Some(number) = self.set.kernel() else { return Ok(None) };
        let module = self.set.module(number);
        let Some(file) = module.file else { return Ok(None) };
        StubBlock::from_kernel(&MappedImage::new(file, module.base, None, Policy::AS_LINKED))
    }

    /// An image for each module that is included, under the policy of its entry.
    pub fn images(&'a self, policy: impl Fn(usize) -> Policy + Sync, stubs: Option<&'a StubBlock>) -> Vec<Image<'a>> {
        let entries = self.entries.par_iter().enumerate();
        entries.filter_map(|(index, entry)| self.image(index, entry, policy(index), stubs)).collect()
    }

    fn image(
        &'a self,
        index: usize,
        entry: &'a Entry,
        policy: Policy,
        stubs: Option<&'a StubBlock>,
    ) -> Option<Image<'a>> {
        let file = self.parsed.files[index].as_ref().filter(|_| entry.status == Status::Included)?;
        let binding = &self.bindings[index];
        let mut mapped = MappedImage::new(file, entry.module.base, Some(binding), policy);
        if let Some(stubs) = stubs {
            mapped = mapped.with_stubs(stubs);
        }
        let counts = mapped.counts();
        Some(Image { index, entry, mapped, binding, counts })
    }
}

/// A module at its base.
#[derive(Debug)]
pub struct Image<'a> {
    /// Index of its entry.
    pub index: usize,
    /// Its entry.
    pub entry: &'a Entry,
    /// The image.
    pub mapped: MappedImage<'a>,
    binding: &'a Binding<'a>,
    counts: Counts,
}

impl<'a> Image<'a> {
    /// The entry of a minidump's module list: identity from the file, whose bytes are in the dump.
    pub fn module_entry(&self) -> ModuleEntry {
        let identity = self.mapped.file().identity();
        let mut entry = ModuleEntry::new(&self.entry.module.path, self.mapped.base(), identity.size_of_image);
        entry.checksum = identity.checksum;
        entry.timestamp = identity.timestamp;
        entry.version = self.version();
        entry.codeview = identity.pdb.map(|pdb| CodeView::Raw(pdb.record()));
        entry
    }

    fn version(&self) -> Option<FixedFileInfo> {
        let version = self.mapped.file().version().ok().flatten()?;
        Some(FixedFileInfo {
            file_version: version.file_version()?,
            product_version: version.product_version()?,
            ..FixedFileInfo::default()
        })
    }

    /// The symbol server's key of its file.
    pub fn image_key(&self) -> String {
        self.mapped.file().identity().image_key()
    }

    /// Its address ranges: first address, one past the last.
    pub fn ranges(&self, selection: Selection) -> Vec<[Hex; 2]> {
        let address = |range: &ImageRange| self.mapped.address(range.rva);
        let ranges = self.mapped.ranges(selection);
        ranges.iter().map(|r| [Hex(address(r)), Hex(address(r).wrapping_add(r.size.into()))]).collect()
    }

    /// Its memory, to be pulled when a dump is written; with `debug`, also the debug directory and the CodeView record,
    /// where they are not part of the selection.
    pub fn memory(&'a self, selection: Selection, debug: bool) -> Vec<MemoryRange<'a>> {
        let ranges = self.mapped.ranges(selection);
        let mut pieces: Vec<(Rva, u32, u32)> =
            ranges.iter().map(|range| (range.rva, range.size, range.flags)).collect();
        if debug {
            for (rva, size) in self.mapped.file().debug_ranges() {
                let overlaps = |&(start, length, _): &(Rva, u32, u32)| {
                    u64::from(start.0) < u64::from(rva.0) + u64::from(size)
                        && u64::from(rva.0) < u64::from(start.0) + u64::from(length)
                };
                if size > 0 && !pieces.iter().any(overlaps) {
                    pieces.push((rva, size, Section::READ));
                }
            }
        }
        let memory = pieces.into_iter().map(|(start, size, flags)| {
            let source = ImageMemory { image: &self.mapped, start };
            MemoryRange::new(self.mapped.address(start), size.into(), protection(flags), source)
        });
        memory.collect()
    }

    /// Its sites, as the report counts them.
    pub fn sites(&self) -> SitesReport {
        let import = &self.counts.import;
        let rewritten = |c: &pe_image::RewriteCounts| RewrittenSites { listed: c.listed, rewritten: c.rewritten };
        SitesReport {
            import: ImportSites {
                listed: import.listed,
                optimized: import.optimized,
                no_index: import.no_index,
                unbound: import.unbound,
                out_of_range: import.out_of_range,
                unexpected_bytes: import.unexpected_bytes,
            },
            indirect: rewritten(&self.counts.indirect),
            switch: rewritten(&self.counts.switch),
        }
    }

    /// Base relocations applied.
    pub fn relocations(&self) -> u64 {
        self.counts.relocations
    }

    /// Imports that stay unbound, each once.
    pub fn unresolved(&self) -> Vec<UnresolvedReport> {
        let unresolved = self.binding.unresolved();
        let report = |slot: &&pe_image::Slot<'_>| UnresolvedReport {
            dll: slot.dll.to_string(),
            name: slot.name.to_string(),
            reason: slot.result.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        };
        unresolved.iter().map(report).collect()
    }

    /// What the file's tables left doubtful.
    pub fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let errors = self.mapped.warnings().iter().chain(self.binding.errors());
        errors.map(|error| format!("{}: {error}", self.entry.module.name))
    }
}

/// PAGE_* protection of a section.
fn protection(flags: u32) -> Protection {
    match (flags & Section::EXECUTE != 0 || flags & Section::CODE != 0, flags & Section::WRITE != 0) {
        (true, true) => Protection::EXECUTE_READ_WRITE,
        (true, false) => Protection::EXECUTE_READ,
        (false, true) => Protection::READ_WRITE,
        (false, false) => Protection::READ_ONLY,
    }
}

/// A part of an image as memory of a dump.
#[derive(Debug)]
struct ImageMemory<'a> {
    image: &'a MappedImage<'a>,
    start: Rva,
}

impl Memory for ImageMemory<'_> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = u32::try_from(offset).ok().and_then(|offset| self.start.checked_add(offset));
        let start = start.ok_or_else(|| io::Error::other(format!("{offset:#x} is behind the image")))?;
        self.image.read(start, out);
        Ok(())
    }
}
