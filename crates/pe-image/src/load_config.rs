//! The load configuration directory: the fields that lead to this crate's tables.

use object::pe;

use crate::addr::Rva;
use crate::bytes;
use crate::error::{Error, Place, Result};
use crate::file::PeFile;

/// Fields of IMAGE_LOAD_CONFIG_DIRECTORY32 or 64. A field behind the structure's own Size is absent: 0 or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadConfig {
    /// The structure's own Size, in bytes; it tells which fields its linker knew.
    pub size: u32,
    /// GuardFlags: IMAGE_GUARD_* of winnt.h.
    pub guard_flags: u32,
    /// GuardCFDispatchFunctionPointer: where the pointer lies through which CFG-checked calls go.
    pub guard_cf_dispatch_pointer: Option<Rva>,
    /// Where the dynamic value relocation table (DVRT) lies.
    pub dvrt: Option<Rva>,
}

impl LoadConfig {
    /// IMAGE_GUARD_RETPOLINE_PRESENT: every indirect branch of the image can be made a retpoline.
    pub const RETPOLINE_PRESENT: u32 = 0x10_0000;

    /// True when the image can be fully retpolined.
    pub fn is_retpolined(&self) -> bool {
        self.guard_flags & Self::RETPOLINE_PRESENT != 0
    }
}

/// Offsets in the structure, for PE32+ and PE32.
struct Layout {
    guard_cf_dispatch_pointer: usize,
    guard_flags: usize,
    dvrt_offset: usize,
    dvrt_section: usize,
}

const LAYOUT_64: Layout =
    Layout { guard_cf_dispatch_pointer: 0x78, guard_flags: 0x90, dvrt_offset: 0xe0, dvrt_section: 0xe4 };
const LAYOUT_32: Layout =
    Layout { guard_cf_dispatch_pointer: 0x4c, guard_flags: 0x58, dvrt_offset: 0x88, dvrt_section: 0x8c };

impl PeFile<'_> {
    /// The load configuration; `None` when the file has none.
    ///
    /// # Errors
    /// When the directory does not lie in the file, or names a section that does not exist.
    pub fn load_config(&self) -> Result<Option<LoadConfig>> {
        const STRUCTURE: &str = "IMAGE_LOAD_CONFIG_DIRECTORY";
        let Some(directory) = self.headers().directory(pe::IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG) else {
            return Ok(None);
        };
        // The directory's size is 0x40 in old x86 files whatever the structure's; the structure's own Size counts.
        let size = self.bytes_at(directory.rva, 4, STRUCTURE)?;
        let size = bytes::u32_at(size, 0).expect("4 bytes");
        let fields = self.bytes_at(directory.rva, size, STRUCTURE)?;
        let layout = if self.headers().is_64 { LAYOUT_64 } else { LAYOUT_32 };
        let pointer = if self.headers().is_64 {
            bytes::u64_at(fields, layout.guard_cf_dispatch_pointer)
        } else {
            bytes::u32_at(fields, layout.guard_cf_dispatch_pointer).map(u64::from)
        };
        let guard_cf_dispatch_pointer = pointer
            .and_then(|address| address.checked_sub(self.headers().image_base))
            .filter(|&rva| rva < u64::from(self.headers().size_of_image))
            .map(|rva| Rva(rva as u32));
        let number = bytes::u16_at(fields, layout.dvrt_section).unwrap_or(0);
        let dvrt = if number == 0 {
            None
        } else {
            let place = Place::Rva(Rva(directory.rva.0.saturating_add(layout.dvrt_section as u32)));
            let section = self.headers().sections.get(usize::from(number) - 1).ok_or_else(|| {
                let allowed = format!("0 to {}", self.headers().sections.len());
                Error::field(place, STRUCTURE, "DynamicValueRelocTableSection", number, allowed)
            })?;
            let offset = bytes::u32_at(fields, layout.dvrt_offset).expect("it lies in front of the section's number");
            let rva = section.rva.checked_add(offset).filter(|&rva| rva < section.end()).ok_or_else(|| {
                let allowed = format!("less than the size of section {} ({:#x})", section.name(), section.size);
                Error::field(place, STRUCTURE, "DynamicValueRelocTableOffset", offset, allowed)
            })?;
            Some(rva)
        };
        let guard_flags = bytes::u32_at(fields, layout.guard_flags).unwrap_or(0);
        Ok(Some(LoadConfig { size, guard_flags, guard_cf_dispatch_pointer, dvrt }))
    }
}
