//! Where an image has its retpoline stubs, and the kernel's image as their origin.

use crate::addr::{PAGE_SIZE, Rva};
use crate::error::{Error, Place, Result};
use crate::file::PeFile;
use crate::fixup::StubBlock;
use crate::header::Section;
use crate::image::MappedImage;

/// The longest stub block that is taken; the real ones have one or two pages.
const LARGEST_BLOCK: u32 = 0x10_0000;

impl StubBlock {
    /// Takes the block from the kernel's image at its base; `None` when it has no section RETPOL.
    ///
    /// # Errors
    /// When the section is larger than 1 MiB or an offset in its header leads out of it.
    pub fn from_kernel(kernel: &MappedImage<'_>) -> Result<Option<Self>> {
        let Some(section) = kernel.file().retpoline_section() else { return Ok(None) };
        let place = Place::Rva(section.rva);
        if section.size > LARGEST_BLOCK {
            return Err(Error::field(place, "RETPOL section", "VirtualSize", section.size, "at most 0x100000"));
        }
        let mut bytes = vec![0; section.size.next_multiple_of(PAGE_SIZE) as usize];
        kernel.read(section.rva, &mut bytes);
        Self::from_pages(bytes, section.rva).map(Some)
    }
}

impl MappedImage<'_> {
    /// Where the retpoline stubs are, for this image: in its own section RETPOL (the kernel), or on the first page
    /// after it.
    pub fn stub_rva(&self) -> Rva {
        match self.file.retpoline_section() {
            Some(section) => section.rva,
            None => Rva(self.file.headers().size_of_image.next_multiple_of(PAGE_SIZE)),
        }
    }
}

impl PeFile<'_> {
    /// The kernel's section that holds the retpoline stubs.
    pub(super) fn retpoline_section(&self) -> Option<&Section> {
        self.headers().sections.iter().find(|section| &section.name == b"RETPOL\0\0")
    }
}
