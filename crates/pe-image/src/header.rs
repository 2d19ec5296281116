//! The DOS, NT and section headers.

use std::fmt;

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{ImageNtHeaders, ImageOptionalHeader};

use crate::addr::{PAGE_SIZE, Rva};
use crate::bytes;
use crate::directory::{Directory, DirectoryKind};
use crate::error::{Error, Place, Result};

/// The machine an image is for: IMAGE_FILE_HEADER.Machine of winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Machine(pub u16);

impl Machine {
    /// IMAGE_FILE_MACHINE_I386: 32-bit x86.
    pub const X86: Self = Self(0x14c);
    /// IMAGE_FILE_MACHINE_AMD64: x64.
    pub const X64: Self = Self(0x8664);
    /// IMAGE_FILE_MACHINE_ARMNT: 32-bit ARM, Thumb-2.
    pub const ARM: Self = Self(0x1c4);
    /// IMAGE_FILE_MACHINE_ARM64.
    pub const ARM64: Self = Self(0xaa64);
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::X86 => f.write_str("x86"),
            Self::X64 => f.write_str("x64"),
            Self::ARM => f.write_str("ARM"),
            Self::ARM64 => f.write_str("ARM64"),
            Self(other) => write!(f, "machine {other:#06x}"),
        }
    }
}

/// IMAGE_SECTION_HEADER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Section {
    /// Name, filled up with NULs.
    pub name: [u8; 8],
    /// First byte in memory.
    pub rva: Rva,
    /// Bytes in memory. Where the header has 0, the bytes in the file stand for it, as in the loader.
    pub size: u32,
    /// First byte in the file.
    pub file_offset: u32,
    /// Bytes in the file; what memory has beyond them is zero.
    pub file_size: u32,
    /// Characteristics: the `CODE`, `EXECUTE`, … bits below and others.
    pub flags: u32,
}

impl Section {
    /// IMAGE_SCN_CNT_CODE.
    pub const CODE: u32 = 0x20;
    /// IMAGE_SCN_MEM_DISCARDABLE.
    pub const DISCARDABLE: u32 = 0x0200_0000;
    /// IMAGE_SCN_MEM_EXECUTE.
    pub const EXECUTE: u32 = 0x2000_0000;
    /// IMAGE_SCN_MEM_READ.
    pub const READ: u32 = 0x4000_0000;
    /// IMAGE_SCN_MEM_WRITE.
    pub const WRITE: u32 = 0x8000_0000;

    /// The name without its NULs; bytes that are no UTF-8 are replaced.
    pub fn name(&self) -> std::borrow::Cow<'_, str> {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end])
    }

    /// True for sections that a debugger counts as code: those with IMAGE_SCN_CNT_CODE.
    pub fn is_code(&self) -> bool {
        self.flags & Self::CODE != 0
    }

    /// One past the last byte in memory. [`Headers::parse`] has checked that it is not past 4 GiB.
    pub fn end(&self) -> Rva {
        Rva(self.rva.0 + self.size)
    }

    /// Bytes that come from the file. The loader maps whole pages, so the rest of the last page is the file's too.
    pub(crate) fn mapped_file_size(&self) -> u32 {
        let pages = u64::from(self.size).next_multiple_of(u64::from(PAGE_SIZE));
        u64::from(self.file_size).min(pages) as u32
    }
}

/// What the headers of a PE file say, checked: sections ascend, do not overlap and lie inside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Headers {
    /// What it runs on.
    pub machine: Machine,
    /// True for PE32+, which all 64-bit images are: addresses have 8 bytes.
    pub is_64: bool,
    /// TimeDateStamp: seconds since 1970 or a hash of the build; with SizeOfImage it is the symbol server's key.
    pub timestamp: u32,
    /// IMAGE_FILE_HEADER.Characteristics.
    pub characteristics: u16,
    /// AddressOfEntryPoint.
    pub entry_point: Rva,
    /// The base that the file's absolute addresses are made for.
    pub image_base: u64,
    /// SectionAlignment.
    pub section_alignment: u32,
    /// SizeOfImage: bytes in memory, headers included.
    pub size_of_image: u32,
    /// SizeOfHeaders: bytes of the file that are mapped at RVA 0.
    pub size_of_headers: u32,
    /// CheckSum as stored. See [`crate::PeFile::compute_checksum`].
    pub checksum: u32,
    /// Subsystem; drivers have 1 (native).
    pub subsystem: u16,
    /// The sections, ascending.
    pub sections: Vec<Section>,
    /// File offset (and RVA) of the ImageBase field.
    pub image_base_offset: u32,
    /// File offset (and RVA) of the CheckSum field.
    pub checksum_offset: u32,
    /// In the order of [`DirectoryKind`]; those that the file does not have are zero.
    directories: [Directory; 16],
}

/// IMAGE_NT_SIGNATURE: "PE", NUL, NUL.
pub(crate) const SIGNATURE: u32 = 0x4550;
/// IMAGE_NT_OPTIONAL_HDR32_MAGIC and IMAGE_NT_OPTIONAL_HDR64_MAGIC.
pub(crate) const MAGIC_32: u16 = 0x10b;
pub(crate) const MAGIC_64: u16 = 0x20b;
/// Offset of OptionalHeader in both IMAGE_NT_HEADERS.
pub(crate) const OPTIONAL_HEADER_OFFSET: u32 = 24;
/// Offset of ImageBase in IMAGE_NT_HEADERS64, and in IMAGE_NT_HEADERS32.
const IMAGE_BASE_OFFSET: [u32; 2] = [OPTIONAL_HEADER_OFFSET + 24, OPTIONAL_HEADER_OFFSET + 28];
/// Offset of CheckSum in both.
pub(crate) const CHECKSUM_OFFSET: u32 = OPTIONAL_HEADER_OFFSET + 64;
/// Images larger than this cannot be reached by the 32-bit distances that x64 code and its relocations are made of.
const LARGEST_IMAGE: u32 = 0x7fff_ffff;

impl Headers {
    /// Reads the headers from the first bytes of a file. `data` need not hold more than the headers.
    ///
    /// # Errors
    /// A [truncation](Error::is_truncation) when `data` ends inside the headers; otherwise what no loader would take:
    /// a wrong signature, sections out of order, overlapping, or outside SizeOfImage.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let have = data.len() as u64;
        let dos = pe::ImageDosHeader::parse(data).map_err(|_| {
            let place = Place::Offset(0);
            if data.len() < 64 && b"MZ".starts_with(&data[..data.len().min(2)]) {
                Error::truncated(place, "IMAGE_DOS_HEADER", 64, have)
            } else {
                Error::other(place, "IMAGE_DOS_HEADER", "this is no PE file: it does not start with MZ")
            }
        })?;
        let nt_offset = dos.nt_headers_offset();
        let place = Place::Offset(nt_offset.into());
        let too_short =
            |need: u64| Error::truncated(place, "IMAGE_NT_HEADERS", need, have.saturating_sub(nt_offset.into()));
        if have < u64::from(nt_offset) + 26 {
            return Err(too_short(26));
        }
        // The signature and the magic are looked at before the rest is known to be there, so that what is cut off inside the
        // headers is called cut off.
        let nt = &data[nt_offset as usize..];
        if bytes::u32_at(nt, 0) != Some(SIGNATURE) {
            return Err(Error::other(place, "IMAGE_NT_HEADERS", "the signature is not PE\\0\\0"));
        }
        match bytes::u16_at(nt, 24) {
            Some(MAGIC_64) => Self::parse_as::<pe::ImageNtHeaders64>(data, nt_offset),
            Some(MAGIC_32) => Self::parse_as::<pe::ImageNtHeaders32>(data, nt_offset),
            other => {
                let found = other.unwrap_or_default();
                Err(Error::field(place, "IMAGE_NT_HEADERS", "OptionalHeader.Magic", found, "0x10b or 0x20b"))
            }
        }
    }

    fn parse_as<H: ImageNtHeaders>(data: &[u8], nt_offset: u32) -> Result<Self> {
        let place = Place::Offset(nt_offset.into());
        let mut offset = u64::from(nt_offset);
        let have = (data.len() as u64).saturating_sub(offset);
        let (nt, directories) = H::parse(data, &mut offset).map_err(|error| {
            let least = 24 + size_of::<H::ImageOptionalHeader>() as u64;
            let nt = &data[nt_offset as usize..];
            let size = bytes::u16_at(nt, 20).map_or(0, u64::from);
            let need = least.max(24 + size);
            if have < need {
                return Error::truncated(place, "IMAGE_NT_HEADERS", need, have);
            }
            // The directories are the optional header's end.
            let room = (24 + size).saturating_sub(least) / 8;
            match bytes::u32_at(nt, least as usize - 4) {
                Some(count) if u64::from(count) > room => {
                    let allowed = format!("at most {room:#x}, which SizeOfOptionalHeader leaves room for");
                    Error::field(place, "IMAGE_OPTIONAL_HEADER", "NumberOfRvaAndSizes", count, allowed)
                }
                _ => Error::other(place, "IMAGE_NT_HEADERS", error.to_string()),
            }
        })?;
        let table = nt.sections(data, offset).map_err(|_| {
            let need = 40 * u64::from(nt.file_header().number_of_sections.get(LE));
            let have = (data.len() as u64).saturating_sub(offset);
            Error::truncated(Place::Offset(offset), "section table", need, have)
        })?;
        let optional = nt.optional_header();
        let mut listed = [Directory::default(); 16];
        for (to, from) in listed.iter_mut().zip(directories.iter()) {
            *to = Directory { rva: Rva(from.virtual_address.get(LE)), size: from.size.get(LE) };
        }
        let headers = Self {
            machine: Machine(nt.file_header().machine.get(LE).0),
            is_64: nt.is_type_64(),
            timestamp: nt.file_header().time_date_stamp.get(LE),
            characteristics: nt.file_header().characteristics.get(LE).0,
            entry_point: Rva(optional.address_of_entry_point()),
            image_base: optional.image_base(),
            section_alignment: optional.section_alignment(),
            size_of_image: optional.size_of_image(),
            size_of_headers: optional.size_of_headers(),
            checksum: optional.check_sum(),
            subsystem: optional.subsystem().0,
            directories: listed,
            sections: table.iter().map(section).collect(),
            image_base_offset: nt_offset.saturating_add(IMAGE_BASE_OFFSET[usize::from(!nt.is_type_64())]),
            checksum_offset: nt_offset.saturating_add(CHECKSUM_OFFSET),
        };
        headers.check(place, Place::Offset(offset))?;
        Ok(headers)
    }

    fn check(&self, nt: Place, table: Place) -> Result<()> {
        if self.size_of_image == 0 || self.size_of_image > LARGEST_IMAGE {
            let allowed = "1 to 0x7fffffff";
            return Err(Error::field(nt, "IMAGE_OPTIONAL_HEADER", "SizeOfImage", self.size_of_image, allowed));
        }
        if self.size_of_headers > self.size_of_image {
            let allowed = format!("at most SizeOfImage ({:#x})", self.size_of_image);
            return Err(Error::field(nt, "IMAGE_OPTIONAL_HEADER", "SizeOfHeaders", self.size_of_headers, allowed));
        }
        // The last page belongs to the image whole, though SizeOfImage may end inside it.
        let limit = u64::from(self.size_of_image).next_multiple_of(PAGE_SIZE.into());
        let mut free = 0;
        for (number, section) in self.sections.iter().enumerate() {
            let (start, end) = (u64::from(section.rva.0), u64::from(section.rva.0) + u64::from(section.size));
            if start < free {
                let message = format!(
                    "section {} ({}) starts at RVA {start:#x}, inside or before the one in front of it, which ends at {free:#x}",
                    number + 1,
                    section.name()
                );
                return Err(Error::other(table, "section table", message));
            }
            if end > limit {
                let message = format!(
                    "section {} ({}) is {start:#x}..{end:#x}, SizeOfImage is {:#x}",
                    number + 1,
                    section.name(),
                    self.size_of_image
                );
                return Err(Error::other(table, "section table", message));
            }
            free = end;
        }
        Ok(())
    }

    /// Bytes of an address in this image: 8 or 4.
    pub fn pointer_size(&self) -> u32 {
        if self.is_64 { 8 } else { 4 }
    }

    /// A directory, if the file has it.
    pub fn directory(&self, kind: DirectoryKind) -> Option<Directory> {
        let directory = self.directories.get(kind as usize).copied()?;
        (directory.rva.0 != 0 && directory.size != 0).then_some(directory)
    }

    /// Bytes of the file that are mapped at RVA 0.
    pub(crate) fn mapped_header_size(&self) -> u32 {
        let first = self.sections.iter().find(|section| section.size != 0).map_or(u32::MAX, |section| section.rva.0);
        self.size_of_headers.min(first)
    }

    /// The file offset of the byte at `rva` and how many bytes follow it in the same piece of the file, this one
    /// included; `None` where the image has no byte of the file.
    pub(crate) fn file_offset(&self, rva: Rva) -> Option<(u64, u64)> {
        if rva.0 < self.mapped_header_size() {
            return Some((rva.0.into(), (self.mapped_header_size() - rva.0).into()));
        }
        let section = self.section_at(rva)?;
        let within = rva.0 - section.rva.0;
        let left = section.mapped_file_size().checked_sub(within).filter(|&left| left != 0)?;
        Some((u64::from(section.file_offset) + u64::from(within), left.into()))
    }

    /// The section that holds `rva`, counted to the end of its last page.
    pub fn section_at(&self, rva: Rva) -> Option<&Section> {
        let after = self.sections.partition_point(|section| section.rva <= rva);
        let section = self.sections[..after].iter().rev().find(|section| section.size != 0)?;
        let pages = u64::from(section.size).next_multiple_of(PAGE_SIZE.into());
        (u64::from(rva.0 - section.rva.0) < pages).then_some(section)
    }
}

fn section(raw: &pe::ImageSectionHeader) -> Section {
    let (virtual_size, file_size) = (raw.virtual_size.get(LE), raw.size_of_raw_data.get(LE));
    Section {
        name: raw.name,
        rva: Rva(raw.virtual_address.get(LE)),
        size: if virtual_size == 0 { file_size } else { virtual_size },
        file_offset: raw.pointer_to_raw_data.get(LE),
        // A section of uninitialised data may give a size although it has no place in the file.
        file_size: if raw.pointer_to_raw_data.get(LE) == 0 { 0 } else { file_size },
        flags: raw.characteristics.get(LE).0,
    }
}
