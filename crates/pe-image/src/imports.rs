//! The import tables: ordinary and delayed.

use std::borrow::Cow;
use std::fmt;

use object::LittleEndian as LE;
use object::pe;
use object::pod::{Pod, from_bytes};

use crate::addr::{IatIndex, PAGE_SIZE, Rva};
use crate::bytes;
use crate::directory::{Directory, DirectoryKind};
use crate::error::{Error, Place, Result};
use crate::file::PeFile;

/// How an import names what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ImportName<'a> {
    /// By name.
    Name(Cow<'a, str>),
    /// By ordinal.
    Ordinal(u16),
}

impl fmt::Display for ImportName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ordinal(ordinal) => write!(f, "#{ordinal}"),
        }
    }
}

/// One slot of an import address table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Import<'a> {
    /// Where the slot lies.
    pub slot: Rva,
    /// What is to be put there.
    pub name: ImportName<'a>,
}

/// What a file imports from one DLL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedDll<'a> {
    /// The DLL's name as the importer has it, extension included: `ntoskrnl.exe`, `HAL.dll`.
    pub dll: Cow<'a, str>,
    /// The slots, in table order.
    pub imports: Vec<Import<'a>>,
    /// True for delay imports: their slots are bound at the first call, not at load.
    pub delayed: bool,
}

/// The imports of a file, and what of them could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imports<'a> {
    /// The DLLs in table order, ordinary ones first.
    pub dlls: Vec<ImportedDll<'a>>,
    /// Descriptors and thunks that could not be read. The rest stands.
    pub errors: Vec<Error>,
}

/// Errors that are kept.
const MOST_ERRORS: usize = 16;

impl<'a> PeFile<'a> {
    /// Reads the ordinary and the delayed import tables. Both end at a descriptor of zeros or with their bytes.
    ///
    /// Memory: one [`Import`] per thunk. Tables and names that overlap could make that more than the file; reading stops
    /// where thunks and names, the DLL's name counted with each thunk, come to twice the file, with an error: so at most about forty times the
    /// file's size, bound slots included.
    pub fn imports(&self) -> Imports<'a> {
        let mut reader = Reader { file: self, left: self.data().len().saturating_mul(2), out: Imports::default() };
        reader.ordinary();
        reader.delayed();
        reader.out
    }

    /// The import address table: the slots of all DLLs side by side, as the kernel numbers them. `None` when the file has
    /// none.
    pub fn iat(&self) -> Option<Directory> {
        self.headers().directory(DirectoryKind::Iat)
    }

    /// The RVA of the slot with that number in the import address table. `None` when the file has no such table, or the
    /// slot would lie past 4 GiB; whether it lies in the table is not checked.
    pub fn iat_slot(&self, index: IatIndex) -> Option<Rva> {
        self.iat()?.rva.checked_add(index.0.checked_mul(self.headers().pointer_size())?)
    }

    /// The text at `rva` up to its NUL, as bytes.
    pub(crate) fn name_at(&self, rva: Rva, structure: &'static str) -> Result<&'a [u8]> {
        let bytes = self.bytes_from(rva);
        // Names longer than this are not names; the limit keeps a hostile table from costing more than its own size.
        bytes::until_nul(&bytes[..bytes.len().min(LONGEST_NAME)])
            .ok_or_else(|| Error::other(Place::Rva(rva), structure, "the name has no end"))
    }

    pub(crate) fn text_at(&self, rva: Rva, structure: &'static str) -> Result<Cow<'a, str>> {
        self.name_at(rva, structure).map(String::from_utf8_lossy)
    }
}

/// The longest name that is read: MSVC limits a symbol to 4 KiB.
const LONGEST_NAME: usize = 0x1000;

struct Reader<'f, 'a> {
    file: &'f PeFile<'a>,
    /// Bytes of thunks and names that may still be read.
    left: usize,
    out: Imports<'a>,
}

impl<'a> Reader<'_, 'a> {
    fn ordinary(&mut self) {
        for (_, raw) in
            self.descriptors::<pe::ImageImportDescriptor>(DirectoryKind::Import, "IMAGE_IMPORT_DESCRIPTOR", |raw| {
                raw.name.get(LE) == 0 || raw.first_thunk.get(LE) == 0
            })
        {
            // Without a lookup table (Borland's linkers) the address table itself holds the names before binding.
            let lookup = match raw.original_first_thunk.get(LE) {
                0 => raw.first_thunk.get(LE),
                rva => rva,
            };
            self.dll(Rva(raw.name.get(LE)), Rva(lookup), Rva(raw.first_thunk.get(LE)), false);
        }
    }

    fn delayed(&mut self) {
        for (place, raw) in self.descriptors::<pe::ImageDelayloadDescriptor>(
            DirectoryKind::DelayImport,
            "IMAGE_DELAYLOAD_DESCRIPTOR",
            |raw| raw.dll_name_rva.get(LE) == 0,
        ) {
            if raw.attributes.get(LE) & 1 == 0 {
                // The form of Visual C++ 6, whose fields are addresses: no kernel image has it.
                let found = raw.attributes.get(LE);
                let allowed = "1 (RVAs)";
                self.error(Error::field(place, "IMAGE_DELAYLOAD_DESCRIPTOR", "Attributes", found, allowed));
                continue;
            }
            let (lookup, slots) = (raw.import_name_table_rva.get(LE), raw.import_address_table_rva.get(LE));
            self.dll(Rva(raw.dll_name_rva.get(LE)), Rva(lookup), Rva(slots), true);
        }
    }

    /// The descriptors of a directory, up to the one that `ends` it. Its size is not trusted: linkers leave it at any
    /// value, and the kernel goes by the terminator.
    fn descriptors<T: Pod + Copy>(
        &mut self,
        directory: DirectoryKind,
        structure: &'static str,
        ends: impl Fn(&T) -> bool,
    ) -> Vec<(Place, T)> {
        let Some(directory) = self.file.headers().directory(directory) else { return Vec::new() };
        let bytes = self.file.bytes_from(directory.rva);
        let mut out = Vec::new();
        for (number, raw) in bytes.chunks_exact(size_of::<T>()).enumerate() {
            let (raw, _) = from_bytes::<T>(raw).expect("the chunk has the structure's size");
            if ends(raw) {
                return out;
            }
            let offset = (number * size_of::<T>()) as u32;
            out.push((Place::Rva(Rva(directory.rva.0.wrapping_add(offset))), *raw));
        }
        self.error(Error::truncated(
            Place::Rva(directory.rva),
            structure,
            ((out.len() + 1) * size_of::<T>()) as u64,
            bytes.len() as u64,
        ));
        out
    }

    fn dll(&mut self, name: Rva, lookup: Rva, slots: Rva, delayed: bool) {
        let dll = match self.file.text_at(name, "imported DLL's name") {
            Ok(dll) => dll,
            Err(error) => return self.error(error),
        };
        let width = self.file.headers().pointer_size();
        let table = self.file.bytes_from(lookup);
        let mut imports = Vec::new();
        let mut ended = false;
        for (number, raw) in table.chunks_exact(width as usize).enumerate() {
            let value = if width == 8 { bytes::u64_at(raw, 0) } else { bytes::u32_at(raw, 0).map(u64::from) };
            let value = value.expect("chunks of a thunk's size");
            if value == 0 {
                ended = true;
                break;
            }
            let by_ordinal = value >> (8 * width - 1) & 1 == 1;
            let name = if by_ordinal {
                Ok(ImportName::Ordinal(value as u16))
            } else {
                // IMAGE_IMPORT_BY_NAME: a 16-bit hint, then the name.
                let rva = Rva((value as u32 & 0x7fff_ffff).wrapping_add(2));
                self.file.text_at(rva, "IMAGE_IMPORT_BY_NAME").map(ImportName::Name)
            };
            let name_size = if let Ok(ImportName::Name(name)) = &name { name.len() } else { 0 };
            // A slot that cannot be bound names its DLL.
            self.left = self.left.saturating_sub(width as usize + name_size + dll.len());
            if self.left == 0 {
                let message = "more imports than a file of this size can hold: tables overlap";
                self.error(Error::other(Place::Rva(lookup), "import lookup table", message));
                break;
            }
            let slot = slots.checked_add(number as u32 * width);
            match (name, slot.filter(|slot| u64::from(slot.0) + u64::from(width) <= self.image_end())) {
                (Ok(name), Some(slot)) => imports.push(Import { slot, name }),
                (Err(error), Some(_)) => self.error(error),
                (_, None) => {
                    let message = format!("slot {number} of {dll} lies outside the image");
                    self.error(Error::other(Place::Rva(slots), "import address table", message));
                    ended = true;
                    break;
                }
            }
        }
        if !ended {
            let have = table.len() as u64;
            self.error(Error::truncated(Place::Rva(lookup), "import lookup table", have + u64::from(width), have));
        }
        self.out.dlls.push(ImportedDll { dll, imports, delayed });
    }

    fn image_end(&self) -> u64 {
        u64::from(self.file.headers().size_of_image).next_multiple_of(PAGE_SIZE.into())
    }

    fn error(&mut self, error: Error) {
        if self.out.errors.len() < MOST_ERRORS {
            self.out.errors.push(error);
        }
    }
}
