//! One module at its base: its image, ranges and counts.

use std::ops::Range;

use address_map::ModuleId;
use pe_image::{Binding, Counts, MappedImage, Selection};

use crate::files::Entry;

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
    pub(crate) fn new(module: ModuleId, entry: &'a Entry, mapped: MappedImage<'a>, binding: &'a Binding<'a>) -> Self {
        let counts = mapped.counts();
        Self { module, entry, mapped, binding, counts }
    }

    /// The symbol server's key of its file.
    pub fn image_key(&self) -> String {
        self.mapped.file().identity().image_key()
    }

    /// Its address ranges.
    pub fn ranges(&self, selection: Selection) -> Vec<Range<u64>> {
        self.mapped.ranges(selection).iter().map(|range| self.mapped.addresses(range)).collect()
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
