//! The export table.

use std::borrow::Cow;
use std::collections::HashMap;

use object::LittleEndian as LE;
use object::pe;
use object::pod::from_bytes;

use crate::addr::Rva;
use crate::bytes;
use crate::directory::DirectoryKind;
use crate::error::{Error, Place, Result};
use crate::file::PeFile;

/// What an export leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export<'a> {
    /// Code or data of this image.
    Rva(Rva),
    /// Another module's export: "module.name" or "module.#ordinal", the module without its extension.
    Forwarder(Cow<'a, str>),
}

/// The export table of a file, ready for lookups. Takes memory for its names, not for the file.
#[derive(Clone, Debug)]
pub struct Exports<'a> {
    file: PeFile<'a>,
    directory: std::ops::Range<u32>,
    /// The module's name as its linker knew it.
    name: Cow<'a, str>,
    ordinal_base: u32,
    /// The address table: u32 RVAs.
    functions: &'a [u8],
    /// Index into the address table by name.
    names: HashMap<&'a [u8], u32>,
    errors: Vec<Error>,
}

/// The most errors about single names that are kept: a table that is wrong throughout need not be reported line by line.
const MOST_ERRORS: usize = 16;

impl<'a> Exports<'a> {
    fn read(file: &PeFile<'a>) -> Result<Option<Self>> {
        const STRUCTURE: &str = "IMAGE_EXPORT_DIRECTORY";
        let Some(directory) = file.headers().directory(DirectoryKind::Export) else { return Ok(None) };
        let raw = file.bytes_at(directory.rva, size_of::<pe::ImageExportDirectory>() as u32, STRUCTURE)?;
        let (table, _) = from_bytes::<pe::ImageExportDirectory>(raw).expect("the slice has the structure's size");
        let array = |rva: u32, count: u32, width: u32, what: &'static str| {
            let size = count.checked_mul(width).ok_or_else(|| {
                Error::field(Place::Rva(directory.rva), STRUCTURE, what, count, "a table that lies in the file")
            })?;
            if size == 0 { Ok(&[][..]) } else { file.bytes_at(Rva(rva), size, what) }
        };
        let functions =
            array(table.address_of_functions.get(LE), table.number_of_functions.get(LE), 4, "export address table")?;
        let count = table.number_of_names.get(LE);
        let name_rvas = array(table.address_of_names.get(LE), count, 4, "export name table")?;
        let indexes = array(table.address_of_name_ordinals.get(LE), count, 2, "export ordinal table")?;

        let mut errors = Vec::new();
        let mut names = HashMap::with_capacity(count as usize);
        // Names that do not overlap cannot be longer in sum than the file.
        let mut budget = file.data().len();
        for (number, (name_rva, index)) in name_rvas.chunks_exact(4).zip(indexes.chunks_exact(2)).enumerate() {
            let name_rva = Rva(bytes::u32_at(name_rva, 0).expect("chunks of 4 bytes"));
            let index = u32::from(bytes::u16_at(index, 0).expect("chunks of 2 bytes"));
            let name = file.name_at(name_rva, "export name");
            budget = budget.saturating_sub(name.as_ref().map_or(0, |name| name.len()));
            if budget == 0 {
                let message = "the names are longer in sum than the file: they overlap";
                return Err(Error::other(Place::Rva(directory.rva), "export name table", message));
            }
            match name {
                // Of two entries of one name a binary search may find either; the first one is as good.
                Ok(name) if (index as usize) < functions.len() / 4 => {
                    names.entry(name).or_insert(index);
                }
                Ok(_) if errors.len() < MOST_ERRORS => {
                    let place =
                        Place::Rva(Rva(table.address_of_name_ordinals.get(LE).saturating_add(2 * number as u32)));
                    let allowed = format!("less than NumberOfFunctions ({:#x})", functions.len() / 4);
                    errors.push(Error::field(place, "export ordinal table", "index", index, allowed));
                }
                Err(error) if errors.len() < MOST_ERRORS => errors.push(error),
                _ => {}
            }
        }
        Ok(Some(Self {
            file: file.clone(),
            directory: directory.rva.0..directory.rva.0.saturating_add(directory.size),
            name: file.text_at(Rva(table.name.get(LE)), "export directory name").unwrap_or_default(),
            ordinal_base: table.base.get(LE),
            functions,
            names,
            errors,
        }))
    }

    /// The module's name as its linker knew it; empty if it cannot be read.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The export of that name. Names are compared byte by byte, as the kernel does.
    pub fn by_name(&self, name: &str) -> Option<Export<'a>> {
        self.by_index(*self.names.get(name.as_bytes())?)
    }

    /// The export of that ordinal.
    pub fn by_ordinal(&self, ordinal: u16) -> Option<Export<'a>> {
        self.by_index(u32::from(ordinal).checked_sub(self.ordinal_base)?)
    }

    /// All named exports, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Export<'a>)> {
        self.names.iter().filter_map(|(name, &index)| Some((String::from_utf8_lossy(name), self.by_index(index)?)))
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when nothing is exported by name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names that could not be read; at most 16 of them.
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }

    /// The entry of the address table. An RVA inside the export directory is a forwarder's text; 0 is a gap.
    fn by_index(&self, index: u32) -> Option<Export<'a>> {
        let rva = bytes::u32_at(self.functions, 4 * index as usize)?;
        if self.directory.contains(&rva) {
            return Some(Export::Forwarder(self.file.text_at(Rva(rva), "forwarder").ok()?));
        }
        (rva != 0).then_some(Export::Rva(Rva(rva)))
    }
}

impl<'a> PeFile<'a> {
    /// The export table; `None` when the file has none.
    ///
    /// # Errors
    /// When the directory or one of its three tables does not lie in the file. A name that cannot be read is left out
    /// and reported in [`Exports::errors`].
    pub fn exports(&self) -> Result<Option<Exports<'a>>> {
        Exports::read(self)
    }
}
