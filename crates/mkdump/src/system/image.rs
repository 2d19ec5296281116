//! One module at its base: ranges, bytes on demand.

use std::io;
use std::ops::Range;

use mdmp::user::{CodeView, FixedFileInfo, Module as ModuleEntry};
use mdmp::{Memory, MemoryRange, Protection};
use pe_image::{Binding, Counts, MappedImage, Rva, Section, Selection};
use symstore::Doubt;

use super::files::Entry;
use address_map::ModuleId;

/// A module at its base.
#[derive(Debug)]
pub struct Image<'a> {
    /// The module.
    pub module: ModuleId,
    /// What was found for it.
    pub entry: &'a Entry,
    /// The image.
    pub mapped: MappedImage<'a>,
    binding: &'a Binding<'a>,
    counts: Counts,
}

impl<'a> Image<'a> {
    pub(super) fn new(module: ModuleId, entry: &'a Entry, mapped: MappedImage<'a>, binding: &'a Binding<'a>) -> Self {
        let counts = mapped.counts();
        Self { module, entry, mapped, binding, counts }
    }

    /// The entry of a minidump's module list: identity from the file, whose bytes are in the dump. A file that was
    /// identified by name and size alone has no identity to state: the source gave none, and the file may be the wrong
    /// one.
    pub fn module_entry(&self) -> ModuleEntry {
        let identity = self.mapped.file().identity();
        let mut entry = ModuleEntry::new(&self.entry.module.path, self.mapped.base().0, identity.size_of_image);
        if self.entry.doubts.contains(&Doubt::OnlySizeKnown) {
            return entry;
        }
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

    /// Its address ranges.
    pub fn ranges(&self, selection: Selection) -> Vec<Range<u64>> {
        self.mapped.ranges(selection).iter().map(|range| self.mapped.addresses(range)).collect()
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
            MemoryRange::new(self.mapped.address(start).0, size.into(), protection(flags), source)
        });
        memory.collect()
    }

    /// What was done to its bytes.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where its imports lead.
    pub fn binding(&self) -> &'a Binding<'a> {
        self.binding
    }

    /// What the file's tables left doubtful.
    pub fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let image = self.mapped.warnings().iter().map(ToString::to_string);
        let all = image.chain(self.binding.errors().iter().map(ToString::to_string));
        all.map(|warning| format!("{}: {warning}", self.entry.module.name))
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
        let start = start.ok_or_else(|| io::Error::other(format!("{offset:#x} is past the end of the image")))?;
        self.image.read(start, out);
        Ok(())
    }
}
