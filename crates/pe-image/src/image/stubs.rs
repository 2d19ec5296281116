//! Where an image has its retpoline stubs, and the kernel's image as their origin.

use crate::addr::{PAGE_SIZE, Rva};
use crate::error::{Error, Place, Result};
use crate::fixup::StubBlock;
use crate::header::{Headers, Section};
use crate::image::MappedImage;

/// The longest stub block that is taken; the real ones have one or two pages.
const LARGEST_BLOCK: u32 = 0x10_0000;

impl StubBlock {
    /// Takes the block from the kernel's image at its base; `None` when it has neither a section RETPOL nor KSCP.
    ///
    /// # Errors
    /// When the section is larger than 1 MiB or an offset in its header leads out of it.
    pub fn from_kernel(kernel: &MappedImage<'_>) -> Result<Option<Self>> {
        let Some((section, is_shared)) = kernel.file().headers().stub_section() else { return Ok(None) };
        let place = Place::Rva(section.rva);
        if section.size > LARGEST_BLOCK {
            let structure = if is_shared { "KSCP section" } else { "RETPOL section" };
            return Err(Error::field(place, structure, "VirtualSize", section.size, "at most 0x100000"));
        }
        let mut bytes = vec![0; section.size.next_multiple_of(PAGE_SIZE) as usize];
        kernel.read(section.rva, &mut bytes);
        Self::in_kernel(bytes, section.rva, kernel.address(section.rva), is_shared).map(Some)
    }
}

impl MappedImage<'_> {
    /// Where the retpoline stubs and the kernel's shared code are, for this image: in its own section (the kernel), or on
    /// the pages after it, beyond what the kernel reserves there ([`StubBlock::with_reserve`]).
    pub fn stub_rva(&self) -> Rva {
        match self.file.headers().stub_section() {
            Some((section, _)) => section.rva,
            None => {
                let reserve = self.stubs.as_ref().map_or(0, StubBlock::reserve);
                Rva(self.file.headers().size_of_image.next_multiple_of(PAGE_SIZE).saturating_add(reserve))
            }
        }
    }

    /// The pages that lie after this image, if code in it leads there.
    pub(super) fn pages_after(&self) -> Option<&StubBlock> {
        let used = self.stubs.as_ref().filter(|_| self.retpolines().is_some() || self.overrides_use_copy());
        used.filter(|_| self.file.headers().stub_section().is_none())
    }
}

impl Headers {
    /// The kernel's section that holds the retpoline stubs, RETPOL or KSCP, and whether it is the latter, which kernels from
    /// Windows 11 24H2 on have and which is shared code as well.
    pub fn stub_section(&self) -> Option<(&Section, bool)> {
        let named = |name: &[u8; 8]| self.sections.iter().find(|section| section.name == *name);
        named(b"KSCP\0\0\0\0").map(|section| (section, true)).or_else(|| Some((named(b"RETPOL\0\0")?, false)))
    }
}
