//! Making the bytes: the file's, then relocations, then sites, then bound slots and the header's base.

use crate::addr::Rva;
use crate::bytes::overlap;
use crate::dvrt::{ImportTransfer, IndirectTransfer, PageRecord, SITE_SIZE, SwitchBranch, block_records};
use crate::error::{Diagnostic, DiagnosticKind, Error, Place};
use crate::image::MappedImage;
use crate::image::index::{PageIndex, REACH};
use crate::image::judge::DirectSites;
use crate::relocate::{Block, Relocation, RelocationKind};

/// A window of the image that is being made.
pub(super) struct Window<'o> {
    pub(super) start: u64,
    out: &'o mut [u8],
}

impl Window<'_> {
    pub(super) fn end(&self) -> u64 {
        self.start + self.out.len() as u64
    }

    fn touches(&self, rva: Rva, size: u64) -> bool {
        u64::from(rva.0) < self.end() && u64::from(rva.0) + size > self.start
    }

    /// Puts that part of `bytes` into the window which lies in it. This is what makes sites across borders whole,
    /// whatever pieces an image is read in.
    #[inline]
    pub(super) fn put(&mut self, rva: Rva, bytes: &[u8]) {
        let at = u64::from(rva.0);
        let Some(shared) = overlap(at..at + bytes.len() as u64, self.start..self.end()) else { return };
        let from = &bytes[(shared.start - at) as usize..(shared.end - at) as usize];
        self.out[(shared.start - self.start) as usize..][..from.len()].copy_from_slice(from);
    }
}

impl<'a> MappedImage<'a> {
    /// Fills `out` with the image's bytes from `rva` on. What lies outside the image is zero.
    ///
    /// Every change is made from the file's bytes, never from bytes already changed, so that a byte does not depend on
    /// the pieces in which an image is read.
    pub fn read(&self, rva: Rva, out: &mut [u8]) {
        self.file.read(rva, out);
        let mut window = Window { start: rva.0.into(), out };
        if self.delta != 0 {
            self.put_relocations(&mut window, &self.relocations, self.delta);
        }
        for (index, delta) in self.moved_constants() {
            self.put_relocations(&mut window, index, delta);
        }
        self.put_sites(&mut window);
        self.put_overrides(&mut window);
        self.put_slots(&mut window);
        self.put_image_base(&mut window);
        if let Some(pages) = self.pages_after() {
            window.put(self.stub_rva(), pages.bytes());
        }
        self.put_dispatch(&mut window);
    }

    /// True when a change may be made to a byte of the range: exact for the header and slots, by page for the rest.
    pub(super) fn may_change(&self, rva: Rva, size: u32) -> bool {
        let (start, end) = (u64::from(rva.0), u64::from(rva.0) + u64::from(size));
        let header = u64::from(self.file.headers().image_base_offset);
        let pointer = u64::from(self.file.headers().pointer_size());
        let has_slots = || {
            let slots = self.binding.as_ref().map_or(&[][..], |binding| binding.slots());
            let from = slots.partition_point(|slot| u64::from(slot.rva.0) + pointer <= start);
            slots[from..].iter().take_while(|slot| u64::from(slot.rva.0) < end).any(|slot| slot.result.is_ok())
        };
        self.delta != 0
            && (overlap(start..end, header..header + pointer).is_some()
                || !self.relocations.touching(start, end).is_empty())
            || self.moved_constants().any(|(index, _)| !index.touching(start, end).is_empty())
            || self.changes_imports() && !self.imports.touching(start, end).is_empty()
            || self.retpolines().is_some()
                && !(self.indirect.touching(start, end).is_empty() && self.switches.touching(start, end).is_empty())
            || self.may_override(start, end)
            || self.may_dispatch(start, end)
            || has_slots()
    }

    /// The bytes of a record's place as the file has them, given the file's bytes from the record's block on.
    #[inline]
    fn linked_at(&self, block: &Block<'_>, from_block: &[u8], rva: Rva) -> [u8; SITE_SIZE] {
        let within = rva.0.wrapping_sub(block.page.0) as usize;
        match from_block.get(within..within.saturating_add(SITE_SIZE)) {
            Some(bytes) => bytes.try_into().expect("the slice has a site's size"),
            None => self.linked_bytes(rva),
        }
    }

    /// The tables of address constants whose place in the running kernel is known, and what is added to each constant.
    fn moved_constants(&self) -> impl Iterator<Item = (&PageIndex<'a>, u64)> {
        self.known_constants.iter().filter(|_| !self.table_ignored).flat_map(|&(symbol, delta)| {
            self.constants.iter().filter(move |(of, _)| *of == symbol).map(move |(_, index)| (index, delta))
        })
    }

    fn put_relocations(&self, window: &mut Window<'_>, index: &PageIndex<'a>, delta: u64) {
        let machine = self.file.headers().machine;
        for block in index.touching(window.start, window.end()) {
            let from_block = self.file.bytes_from(block.page);
            for relocation in block.relocations() {
                let Some(size) = relocation.kind.size(machine) else { continue };
                if window.touches(relocation.rva, size.into()) && self.is_inside(relocation.rva, size) {
                    let mut bytes = self.linked_at(block, from_block, relocation.rva);
                    let bytes = &mut bytes[..size as usize];
                    relocation.apply(bytes, delta);
                    window.put(relocation.rva, bytes);
                }
            }
        }
    }

    fn put_sites(&self, window: &mut Window<'_>) {
        if self.changes_imports() {
            let direct = self.direct_sites();
            for block in self.imports.touching(window.start, window.end()) {
                self.put_imports(window, block, direct.as_ref());
            }
        }
        let Some(stubs) = self.retpolines() else { return };
        for block in self.indirect.touching(window.start, window.end()) {
            for site in block_records::<IndirectTransfer>(block) {
                if window.touches(site.rva, SITE_SIZE as u64)
                    && let Ok(rewrite) = self.judge_indirect(&site, &self.linked_bytes(site.rva), stubs)
                {
                    window.put(site.rva, rewrite.bytes());
                }
            }
        }
        for block in self.switches.touching(window.start, window.end()) {
            for site in block_records::<SwitchBranch>(block) {
                if window.touches(site.rva, SITE_SIZE as u64)
                    && let Ok(rewrite) = self.judge_switch(&site, &self.linked_bytes(site.rva), stubs)
                {
                    window.put(site.rva, rewrite.bytes());
                }
            }
        }
    }

    /// The import sites of one block. This is where the time of an image goes: real ones have 22 sites to a page.
    #[inline]
    fn put_imports(&self, window: &mut Window<'_>, block: &Block<'a>, direct: Option<&DirectSites<'_>>) {
        let from_block = self.file.bytes_from(block.page);
        let in_window = u64::from(block.page.0).checked_sub(window.start).map(|at| at as usize);
        for site in block_records::<ImportTransfer>(block) {
            let within = (site.rva.0 - block.page.0) as usize;
            let linked = from_block.get(within..).and_then(|bytes| bytes.first_chunk::<SITE_SIZE>());
            let place = in_window.and_then(|at| window.out.get_mut(at + within..)?.first_chunk_mut::<SITE_SIZE>());
            if let (Some(linked), Some(place), Some(direct)) = (linked, place, direct)
                && let Some(bytes) = direct.bytes(&site, linked)
            {
                *place = bytes;
            } else if window.touches(site.rva, SITE_SIZE as u64) {
                // Across a border, or no direct call.
                let linked = self.linked_at(block, from_block, site.rva);
                if let Some(bytes) = self.import_bytes(&site, &linked) {
                    window.put(site.rva, &bytes);
                }
            }
        }
    }

    /// Bound slots. Delayed ones hold whatever the last call left there, which a file cannot tell.
    fn put_slots(&self, window: &mut Window<'_>) {
        let Some(binding) = &self.binding else { return };
        let width = self.file.headers().pointer_size() as usize;
        let first = binding.slots().partition_point(|slot| u64::from(slot.rva.0) + width as u64 <= window.start);
        let end = window.end();
        for slot in binding.slots()[first..].iter().take_while(|slot| u64::from(slot.rva.0) < end) {
            if let (Ok(target), false) = (&slot.result, slot.delayed)
                && self.is_inside(slot.rva, width as u32)
            {
                window.put(slot.rva, &target.address.0.to_le_bytes()[..width]);
            }
        }
    }

    /// The kernel leaves the load base in the header page.
    fn put_image_base(&self, window: &mut Window<'_>) {
        let headers = self.file.headers();
        let field = Rva(headers.image_base_offset);
        let width = headers.pointer_size();
        if field.0.checked_add(width).is_some_and(|end| end <= headers.mapped_header_size()) {
            window.put(field, &self.base.0.to_le_bytes()[..width as usize]);
        }
    }

    /// True for places that exist in memory: both ends lie in the headers or in sections. A place is shorter than a page, so
    /// nothing can be missing between its ends; it may reach from one section into the next.
    fn is_inside(&self, rva: Rva, size: u32) -> bool {
        let headers = self.file.headers();
        let exists = |rva: Rva| rva.0 < headers.mapped_header_size() || headers.section_at(rva).is_some();
        exists(rva) && rva.checked_add(size.saturating_sub(1)).is_some_and(exists)
    }

    /// True when the file's bytes at a relocation have the form that its kind asks for.
    fn suits(&self, relocation: Relocation) -> bool {
        relocation.kind != RelocationKind::THUMB_MOV32 || relocation.suits(&self.linked_bytes(relocation.rva)[..8])
    }

    fn applicable(&self) -> impl Iterator<Item = (&Block<'a>, Relocation, bool)> {
        let machine = self.file.headers().machine;
        self.relocations.blocks().iter().flat_map(move |block| {
            block.relocations().map(move |relocation| {
                let size = relocation.kind.size(machine);
                let good = size.is_some_and(|size| self.is_inside(relocation.rva, size) && self.suits(relocation));
                (block, relocation, good)
            })
        })
    }

    /// The base relocations that change bytes of this image when it is not at the file's own base.
    pub fn relocations(&self) -> impl Iterator<Item = Relocation> {
        self.applicable().filter(|(_, _, good)| *good).map(|(_, relocation, _)| relocation)
    }

    /// The number of base relocations that are applied.
    pub(super) fn count_relocations(&self) -> u64 {
        if self.delta == 0 { 0 } else { self.applicable().filter(|(_, _, good)| *good).count() as u64 }
    }

    /// Warns, once each, of relocations that cannot be applied and of an image that has none and needs them.
    pub(super) fn check_relocations(&mut self) {
        if self.delta == 0 {
            return;
        }
        let bad = self.applicable().find(|(_, _, good)| !good).map(|(block, relocation, _)| {
            let message = match relocation.kind.size(self.file.headers().machine) {
                Some(size) if self.is_inside(relocation.rva, size) => {
                    format!("no MOVW and MOVT of one register at RVA {}: the relocation is left out", relocation.rva)
                }
                Some(_) => format!("a relocation at RVA {} lies outside the image and is left out", relocation.rva),
                None => format!("kind {} at RVA {} is not known and is left out", relocation.kind.0, relocation.rva),
            };
            Diagnostic::new(DiagnosticKind::Outside, block.place, "IMAGE_BASE_RELOCATION", message)
        });
        self.warnings.extend(bad);
        // IMAGE_FILE_RELOCS_STRIPPED
        if self.file.headers().characteristics & 1 != 0 {
            let message = format!("the file has no relocations, and {} is not its own base", self.base);
            let place = Place::Offset(0);
            self.warnings.push(Diagnostic::new(DiagnosticKind::WrongBase, place, "IMAGE_FILE_HEADER", message));
        }
    }

    /// Warns of an import address table that reaches out of the image: its sites then cannot bear a linker's bytes.
    pub(super) fn check_iat(&mut self) {
        let Some(iat) = self.file.iat() else { return };
        let left = self.file.headers().size_of_image.saturating_sub(iat.rva.0);
        if iat.size > left {
            let place = Place::Rva(iat.rva);
            let allowed = format!("at most {left:#x}, what the image has from there on");
            self.warnings.push(Error::field(place, "import address table", "Size", iat.size, allowed).into());
        }
    }

    /// Warns, once for each table, of sites outside the image.
    pub(super) fn check_sites(&mut self) {
        let outside = [
            self.outside::<ImportTransfer>(&self.imports),
            self.outside::<IndirectTransfer>(&self.indirect),
            self.outside::<SwitchBranch>(&self.switches),
        ];
        self.warnings.extend(outside.into_iter().flatten());
    }

    fn outside<T: PageRecord>(&self, index: &PageIndex<'a>) -> Option<Diagnostic> {
        index.blocks().iter().filter(|block| !self.is_inside(block.page, REACH + 1)).find_map(|block| {
            let site = block_records::<T>(block).find(|site| !self.is_inside(site.rva(), site.size()))?;
            let message = format!("a site at RVA {} lies outside the image and is left alone", site.rva());
            Some(Diagnostic::new(DiagnosticKind::Outside, block.place, T::NAME, message))
        })
    }

    fn changes_imports(&self) -> bool {
        !self.table_ignored && (self.policy.import_calls != crate::ImportCalls::AsLinked || self.retpolines().is_some())
    }
}

#[cfg(test)]
mod tests;
