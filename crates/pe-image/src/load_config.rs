//! The load configuration directory: the fields that lead to this crate's tables.

use crate::addr::Rva;
use crate::bytes;
use crate::directory::DirectoryKind;
use crate::error::{Error, Place, Result};
use crate::file::PeFile;

/// Fields of IMAGE_LOAD_CONFIG_DIRECTORY32 or 64. A field past the structure's own Size is absent: 0 or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadConfig {
    /// The structure's own Size in bytes, which tells which fields its linker knew.
    pub size: u32,
    /// GuardFlags: IMAGE_GUARD_* of winnt.h.
    pub guard_flags: u32,
    /// GuardCFDispatchFunctionPointer: the pointer through which CFG-checked calls go.
    pub guard_cf_dispatch_pointer: Option<Rva>,
    /// GuardCFFunctionTable. See [`PeFile::guard_functions`].
    pub guard_function_table: Option<Rva>,
    /// GuardCFFunctionCount: entries of that table.
    pub guard_function_count: u64,
    /// The dynamic value relocation table (DVRT).
    pub dvrt: Option<Rva>,
    /// The pointers that a loader fills, in the order of the structure.
    guard_pointers: [Option<Rva>; 6],
}

impl LoadConfig {
    /// IMAGE_GUARD_RETPOLINE_PRESENT: every indirect branch of the image can be made a retpoline.
    pub const RETPOLINE_PRESENT: u32 = 0x10_0000;

    /// True when the image can be fully retpolined.
    pub fn is_retpolined(&self) -> bool {
        self.guard_flags & Self::RETPOLINE_PRESENT != 0
    }

    /// Where the pointers lie that a loader fills with the address of one of its own functions: CFG check and dispatch,
    /// the three of XFG, and guarded memcpy. The last four are in 64-bit structures only.
    pub fn guard_pointers(&self) -> impl Iterator<Item = Rva> + use<> {
        self.guard_pointers.into_iter().flatten()
    }

    /// Bytes of flags that follow each RVA of the function table (IMAGE_GUARD_CF_FUNCTION_TABLE_SIZE_MASK).
    pub(crate) fn guard_function_stride(&self) -> u32 {
        self.guard_flags >> 28
    }
}

/// Offsets in the structure, for PE32+ and PE32.
struct Layout {
    guard_pointers: &'static [usize],
    guard_cf_dispatch_pointer: usize,
    guard_function_table: usize,
    guard_function_count: usize,
    guard_flags: usize,
    dvrt_offset: usize,
    dvrt_section: usize,
}

const LAYOUT_64: Layout = Layout {
    guard_pointers: &[0x70, 0x78, 0x118, 0x120, 0x128, 0x138],
    guard_cf_dispatch_pointer: 0x78,
    guard_function_table: 0x80,
    guard_function_count: 0x88,
    guard_flags: 0x90,
    dvrt_offset: 0xe0,
    dvrt_section: 0xe4,
};
const LAYOUT_32: Layout = Layout {
    guard_pointers: &[0x48, 0x4c],
    guard_cf_dispatch_pointer: 0x4c,
    guard_function_table: 0x50,
    guard_function_count: 0x54,
    guard_flags: 0x58,
    dvrt_offset: 0x88,
    dvrt_section: 0x8c,
};

const STRUCTURE: &str = "IMAGE_LOAD_CONFIG_DIRECTORY";

impl PeFile<'_> {
    /// The load configuration; `None` when the file has none.
    ///
    /// # Errors
    /// When the directory does not lie in the file, or names a section that does not exist.
    pub fn load_config(&self) -> Result<Option<LoadConfig>> {
        let Some(directory) = self.headers().directory(DirectoryKind::LoadConfig) else { return Ok(None) };
        // The directory's size is 0x40 in old x86 files whatever the structure's; the structure's own Size counts.
        let size = self.bytes_at(directory.rva, 4, STRUCTURE)?;
        let size = bytes::u32_at(size, 0).expect("4 bytes");
        let fields = self.bytes_at(directory.rva, size, STRUCTURE)?;
        let layout = if self.headers().is_64 { LAYOUT_64 } else { LAYOUT_32 };
        let word = |at| match self.headers().is_64 {
            true => bytes::u64_at(fields, at),
            false => bytes::u32_at(fields, at).map(u64::from),
        };
        let address = |at| {
            let rva = word(at)?.checked_sub(self.headers().image_base)?;
            u32::try_from(rva).ok().filter(|&rva| rva < self.headers().size_of_image).map(Rva)
        };
        let mut guard_pointers = [None; 6];
        for (pointer, &at) in guard_pointers.iter_mut().zip(layout.guard_pointers) {
            *pointer = address(at);
        }
        Ok(Some(LoadConfig {
            size,
            guard_flags: bytes::u32_at(fields, layout.guard_flags).unwrap_or(0),
            guard_cf_dispatch_pointer: address(layout.guard_cf_dispatch_pointer),
            guard_function_table: address(layout.guard_function_table),
            guard_function_count: word(layout.guard_function_count).unwrap_or(0),
            dvrt: self.dvrt_place(directory.rva, fields, &layout)?,
            guard_pointers,
        }))
    }

    /// The DVRT's place, which the structure gives as a section's number and an offset in that section.
    fn dvrt_place(&self, structure: Rva, fields: &[u8], layout: &Layout) -> Result<Option<Rva>> {
        let number = bytes::u16_at(fields, layout.dvrt_section).unwrap_or(0);
        if number == 0 {
            return Ok(None);
        }
        let place = Place::Rva(Rva(structure.0.saturating_add(layout.dvrt_section as u32)));
        let section = self.headers().sections.get(usize::from(number) - 1).ok_or_else(|| {
            let allowed = format!("0 to {}", self.headers().sections.len());
            Error::field(place, STRUCTURE, "DynamicValueRelocTableSection", number, allowed)
        })?;
        let offset = bytes::u32_at(fields, layout.dvrt_offset).expect("it lies in front of the section's number");
        let rva = section.rva.checked_add(offset).filter(|&rva| rva < section.end()).ok_or_else(|| {
            let allowed = format!("less than the size of section {} ({:#x})", section.name(), section.size);
            Error::field(place, STRUCTURE, "DynamicValueRelocTableOffset", offset, allowed)
        })?;
        Ok(Some(rva))
    }
}
