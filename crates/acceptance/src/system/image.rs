//! The few facts about a PE file that the checks compare with: read with the object crate, which none of the crates
//! under test shares its import and fixup code with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use object::LittleEndian as LE;
use object::pe::{IMAGE_DIRECTORY_ENTRY_IAT, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader, PeFile64};
use object::{Object, ObjectSection};

/// The PDB that an image names in its debug directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdbId {
    /// File name.
    pub name: String,
    /// GUID, in the byte order of the file.
    pub guid: [u8; 16],
    /// Age.
    pub age: u32,
}

impl PdbId {
    /// The directory under which a symbol store keeps this PDB: GUID fields and age in upper-case hex.
    pub fn key(&self) -> String {
        format!("{}{:X}", self.guid_text().replace('-', ""), self.age)
    }

    /// The GUID as text with hyphens: its first three fields are little-endian numbers.
    pub fn guid_text(&self) -> String {
        let [a, b, c, d, e, f, g, h, i, j, tail @ ..] = self.guid;
        let (data1, data2, data3) =
            (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
        let tail: String = tail.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("{data1:08X}-{data2:04X}-{data3:04X}-{i:02X}{j:02X}-{tail}")
    }
}

/// An image file with its identity and layout.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it lies.
    pub path: PathBuf,
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// TimeDateStamp of the COFF header.
    pub timestamp: u32,
    /// SizeOfImage of the optional header.
    pub size: u32,
    /// CheckSum of the optional header.
    pub checksum: u32,
    /// The RVA of the import address directory, 0 when there is none.
    pub iat: u32,
    /// The PDB named by the debug directory.
    pub pdb: Option<PdbId>,
    /// Sections: name, RVA, file offset, bytes in the file.
    pub sections: Vec<(String, u32, u32, u32)>,
}

impl Image {
    /// Reads a 64-bit PE file.
    pub fn read(path: &Path) -> Result<Image> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        parse(path, &bytes).with_context(|| format!("{} is not a PE file that can be read", path.display()))
    }

    /// The file name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The directory under which a symbol store keeps this image: TimeDateStamp %08X, then SizeOfImage %x.
    pub fn key(&self) -> String {
        format!("{:08X}{:x}", self.timestamp, self.size)
    }

    /// The file offset of an RVA.
    pub fn offset(&self, rva: u32) -> Result<usize> {
        self.sections
            .iter()
            .find(|(_, start, _, size)| (*start..start + size).contains(&rva))
            .map(|(_, start, raw, _)| (rva - start + raw) as usize)
            .ok_or_else(|| anyhow!("{}: no section holds RVA {rva:#x}", self.name()))
    }

    /// `N` bytes of the file at an RVA.
    pub fn at<const N: usize>(&self, rva: u32) -> Result<[u8; N]> {
        let start = self.offset(rva)?;
        let bytes = self.bytes.get(start..start + N).ok_or_else(|| anyhow!("{}: ends at {rva:#x}", self.name()))?;
        Ok(bytes.try_into()?)
    }

    /// A section by name.
    pub fn section(&self, name: &str) -> Option<&(String, u32, u32, u32)> {
        self.sections.iter().find(|section| section.0 == name)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Image> {
    let file = PeFile64::parse(bytes)?;
    let headers: &ImageNtHeaders64 = file.nt_headers();
    let optional = headers.optional_header();
    let base = optional.image_base();
    let pdb = file.pdb_info()?.map(|info| PdbId {
        name: String::from_utf8_lossy(info.path()).rsplit(['\\', '/']).next().unwrap_or_default().to_owned(),
        guid: info.guid(),
        age: info.age(),
    });
    let sections = file
        .sections()
        .map(|section| {
            let (raw, size) = section.file_range().unwrap_or_default();
            Ok((
                section.name()?.to_owned(),
                u32::try_from(section.address() - base)?,
                u32::try_from(raw)?,
                u32::try_from(size)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Image {
        path: path.to_owned(),
        bytes: bytes.to_vec(),
        timestamp: headers.file_header().time_date_stamp.get(LE),
        size: optional.size_of_image(),
        checksum: optional.check_sum(),
        iat: file.data_directory(IMAGE_DIRECTORY_ENTRY_IAT).map_or(0, |directory| directory.virtual_address.get(LE)),
        pdb,
        sections,
    })
}
