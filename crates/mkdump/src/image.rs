//! What an image contributes to a dump: its entry in the module list, and its memory.
//!
//! [`build`](crate::build()) lays out whole dumps. With these functions and [`mdmp`] a program lays out its own, of the
//! images of a [`System`](kernel_code::System).

use std::io;

use kernel_code::Image;
use mdmp::user::{CodeView, FixedFileInfo, Module as ModuleEntry};
use mdmp::{Memory, MemoryRange, Protection};
use pe_image::{MappedImage, Rva, Section, Selection};
use symstore::Doubt;

/// The entry of a minidump's module list: identity from the file, whose bytes are in the dump. A file that was
/// identified by name and size alone has no identity to state: the source gave none, and the file may be the wrong
/// one.
pub fn module_entry(image: &Image<'_>) -> ModuleEntry {
    let identity = image.mapped.file().identity();
    let mut entry = ModuleEntry::new(&image.entry.module.path, image.mapped.base().0, identity.size_of_image);
    if image.entry.doubts.contains(&Doubt::OnlySizeKnown) {
        return entry;
    }
    entry.checksum = identity.checksum;
    entry.timestamp = identity.timestamp;
    entry.version = version(image);
    entry.codeview = identity.pdb.map(|pdb| CodeView::Raw(pdb.record()));
    entry
}

fn version(image: &Image<'_>) -> Option<FixedFileInfo> {
    let version = image.mapped.file().version().ok().flatten()?;
    Some(FixedFileInfo {
        file_version: version.file_version()?,
        product_version: version.product_version()?,
        ..FixedFileInfo::default()
    })
}

/// Its memory, to be pulled when a dump is written; with `debug`, also the debug directory and the CodeView record,
/// where they are not part of the selection.
pub fn memory<'a>(image: &'a Image<'a>, selection: Selection, debug: bool) -> Vec<MemoryRange<'a>> {
    let ranges = image.mapped.ranges(selection);
    let mut pieces: Vec<(Rva, u32, u32)> = ranges.iter().map(|range| (range.rva, range.size, range.flags)).collect();
    if debug {
        for (rva, size) in image.mapped.file().debug_ranges() {
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
        let source = ImageMemory { image: &image.mapped, start };
        MemoryRange::new(image.mapped.address(start).0, size.into(), protection(flags), source)
    });
    memory.collect()
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
