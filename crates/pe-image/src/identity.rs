//! Which file this is: the values by which traces, dumps, symbol servers and debuggers name it.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use object::LittleEndian as LE;
use object::pe;

use crate::addr::Rva;
use crate::bytes;
use crate::directory::DirectoryKind;
use crate::error::Error;
use crate::file::PeFile;
use crate::header::{Headers, Machine};
use crate::pdb_id::{Guid, PdbId};

/// The values that tell one build of a module from another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Identity {
    /// What it runs on.
    pub machine: Machine,
    /// TimeDateStamp of the file header.
    pub timestamp: u32,
    /// SizeOfImage in bytes.
    pub size_of_image: u32,
    /// CheckSum as stored in the header.
    pub checksum: u32,
    /// The CodeView record of the debug directory: which PDB belongs to it. `None` when there is none that can be read.
    pub pdb: Option<CodeView>,
}

/// Why an identity could not be read.
#[derive(Debug)]
pub struct IdentityError(Problem);

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    Format(Error),
}

/// What sort of problem an [`IdentityError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdentityErrorKind {
    /// The source could not be read.
    Unreadable,
    /// The source is not a PE file.
    NotPe,
}

impl IdentityError {
    /// What sort of problem it is.
    pub fn kind(&self) -> IdentityErrorKind {
        match self.0 {
            Problem::Io(_) => IdentityErrorKind::Unreadable,
            Problem::Format(_) => IdentityErrorKind::NotPe,
        }
    }

    /// What is wrong with the headers, if the source is not a PE file.
    pub fn format(&self) -> Option<&Error> {
        match &self.0 {
            Problem::Io(_) => None,
            Problem::Format(error) => Some(error),
        }
    }
}

/// The text of the cause: this type adds nothing to it.
impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Problem::Io(error) => error.fmt(f),
            Problem::Format(error) => error.fmt(f),
        }
    }
}

/// The source is that of the cause, whose text was displayed.
impl std::error::Error for IdentityError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Problem::Io(error) => error.source(),
            Problem::Format(error) => error.source(),
        }
    }
}

impl From<io::Error> for IdentityError {
    fn from(error: io::Error) -> Self {
        Self(Problem::Io(error))
    }
}

impl From<Error> for IdentityError {
    fn from(error: Error) -> Self {
        Self(Problem::Format(error))
    }
}

/// Bytes read at once: the headers of nearly every file.
const HEAD: u64 = 0x1000;
/// Where headers cannot lie any more: 65,535 sections of 40 bytes after a large DOS stub fit.
const LARGEST_HEAD: u64 = 0x40_0000;
/// The largest CodeView record that is read: GUID, age and a long path.
const LARGEST_CODE_VIEW: u32 = 0x1_0000;
/// The most debug directory entries that are looked at; real files have fewer than ten.
pub(crate) const MOST_DEBUG_ENTRIES: u32 = 64;

impl Identity {
    /// Reads the identity of a file without reading the file: its first 4 KiB, the debug directory and the CodeView
    /// record, so that an index over thousands of files costs three reads each.
    ///
    /// # Errors
    /// When the source cannot be read or its headers are not those of a PE file. A debug directory that cannot be read
    /// only means that no PDB is known.
    pub fn read<R: Read + Seek>(mut source: R) -> Result<Self, IdentityError> {
        let mut head = Vec::new();
        source.seek(SeekFrom::Start(0))?;
        source.by_ref().take(HEAD).read_to_end(&mut head)?;
        let headers = match Headers::parse(&head) {
            Err(error) if error.is_truncation() && head.len() as u64 == HEAD => {
                source.by_ref().take(LARGEST_HEAD - HEAD).read_to_end(&mut head)?;
                Headers::parse(&head)?
            }
            other => other?,
        };
        let pdb = find_code_view(&headers, |offset, size| {
            let mut piece = vec![0; size as usize];
            source.seek(SeekFrom::Start(offset)).ok()?;
            source.read_exact(&mut piece).ok()?;
            Some(piece)
        });
        Ok(Self::from_headers(&headers, pdb))
    }

    /// An identity from its values, for those who keep them elsewhere.
    pub fn new(machine: Machine, timestamp: u32, size_of_image: u32, checksum: u32, pdb: Option<CodeView>) -> Self {
        Self { machine, timestamp, size_of_image, checksum, pdb }
    }

    fn from_headers(headers: &Headers, pdb: Option<CodeView>) -> Self {
        Self::new(headers.machine, headers.timestamp, headers.size_of_image, headers.checksum, pdb)
    }

    /// The symbol server's key of the image: TimeDateStamp as 8 upper-case hex digits, SizeOfImage in lower case
    /// without padding. The path on a server is `name/KEY/name`.
    pub fn image_key(&self) -> String {
        image_key(self.timestamp, self.size_of_image)
    }
}

/// The symbol server's key of an image: TimeDateStamp as 8 upper-case hex digits, SizeOfImage in lower case.
pub fn image_key(timestamp: u32, size_of_image: u32) -> String {
    format!("{timestamp:08X}{size_of_image:x}")
}

/// The symbol server's key of a PDB 7.0: the 32 digits of the GUID in upper case, and the age in lower-case hex without
/// padding, as symstore and symsrv write them. `guid` is in stored order.
pub fn pdb_key(guid: &[u8; 16], age: u32) -> String {
    format!("{}{age:x}", guid_hex(guid))
}

impl PeFile<'_> {
    /// The identity; the same as [`Identity::read`] gives for the file.
    pub fn identity(&self) -> Identity {
        let pdb = find_code_view(self.headers(), |offset, size| {
            let start = usize::try_from(offset).ok()?;
            Some(self.data().get(start..start.checked_add(size as usize)?)?.to_vec())
        });
        Identity::from_headers(self.headers(), pdb)
    }

    /// Where the debug directory and the CodeView record lie in memory, as (RVA, bytes): what a debugger reads to find the
    /// PDB of an image when it has nothing else of it. Empty when the file has no CodeView record in memory.
    pub fn debug_ranges(&self) -> Vec<(Rva, u32)> {
        let read = |offset: u64, size: u32| self.data().get(usize::try_from(offset).ok()?..)?.get(..size as usize);
        let find = || {
            let directory = self.headers().directory(DirectoryKind::Debug)?;
            let (offset, have) = self.headers().file_offset(directory.rva)?;
            let size = directory.size.min(MOST_DEBUG_ENTRIES * DEBUG_ENTRY).min(have as u32);
            let entries = read(offset, size)?.chunks_exact(DEBUG_ENTRY as usize);
            let mut entries = entries.filter(|entry| bytes::u32_at(entry, 12) == Some(CODE_VIEW));
            let entry = entries.next()?;
            let size = bytes::u32_at(entry, 16)?.min(LARGEST_CODE_VIEW);
            let rva = bytes::u32_at(entry, 20).filter(|&rva| rva != 0)?;
            Some(vec![(directory.rva, directory.size.min(MOST_DEBUG_ENTRIES * DEBUG_ENTRY)), (Rva(rva), size)])
        };
        find().unwrap_or_default()
    }

    /// The checksum that the file should have in its header: the carry-folded sum of its 16-bit words, the CheckSum
    /// field counted as zero, plus the file's length (CheckSumMappedFile of imagehlp).
    pub fn compute_checksum(&self) -> u32 {
        let field = self.headers().checksum_offset as usize;
        let mut sum = 0_u64;
        // The field is skipped by the words that it covers; it lies at an even offset in every file with a 4-aligned NT
        // header, and otherwise the words at its borders count with their other half.
        for (number, word) in self.data().chunks(2).enumerate() {
            let at = number * 2;
            let byte = |index: usize| {
                let inside = (field..field + 4).contains(&(at + index));
                if inside { 0 } else { word.get(index).copied().map_or(0, u64::from) }
            };
            sum += byte(0) | byte(1) << 8;
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u32).wrapping_add(self.data().len() as u32)
    }

    /// The checksum of the PDB that was made with the file (debug directory type 19, IMAGE_DEBUG_TYPE_PDBCHECKSUM).
    pub fn pdb_checksum(&self) -> Option<PdbChecksum> {
        let read = |offset: u64, size: u32| {
            let start = usize::try_from(offset).ok()?;
            Some(self.data().get(start..start.checked_add(size as usize)?)?.to_vec())
        };
        let payload = debug_entry(self.headers(), PDB_CHECKSUM, read)?;
        let name = bytes::until_nul(&payload)?;
        let algorithm = String::from_utf8_lossy(name).into_owned();
        Some(PdbChecksum { algorithm, checksum: payload[name.len() + 1..].to_vec() })
    }
}

/// Bytes of an IMAGE_DEBUG_DIRECTORY.
pub(crate) const DEBUG_ENTRY: u32 = size_of::<pe::ImageDebugDirectory>() as u32;
/// Debug directory types of winnt.h.
pub(crate) const CODE_VIEW: u32 = 2;
const PDB_CHECKSUM: u32 = 19;

fn find_code_view(headers: &Headers, read: impl FnMut(u64, u32) -> Option<Vec<u8>>) -> Option<CodeView> {
    CodeView::parse(&debug_entry(headers, CODE_VIEW, read)?)
}

/// The payload of the first debug directory entry of a type.
fn debug_entry(headers: &Headers, wanted: u32, mut read: impl FnMut(u64, u32) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let directory = headers.directory(DirectoryKind::Debug)?;
    let size = directory.size.min(MOST_DEBUG_ENTRIES * size_of::<pe::ImageDebugDirectory>() as u32);
    let (offset, have) = headers.file_offset(directory.rva)?;
    let table = read(offset, size.min(have as u32))?;
    let (entries, _) = object::pod::slice_from_bytes::<pe::ImageDebugDirectory>(
        &table,
        table.len() / size_of::<pe::ImageDebugDirectory>(),
    )
    .ok()?;
    let entry = entries.iter().find(|entry| entry.typ.get(LE).0 == wanted)?;
    let size = entry.size_of_data.get(LE).min(LARGEST_CODE_VIEW);
    match entry.pointer_to_raw_data.get(LE) {
        0 => {
            let (offset, have) = headers.file_offset(Rva(entry.address_of_raw_data.get(LE)))?;
            read(offset, size.min(have as u32))
        }
        offset => read(offset.into(), size),
    }
}

/// A CodeView debug record: the name and key of the PDB.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum CodeView {
    /// "RSDS": PDB 7.0, everything built since 2002.
    Rsds {
        /// The PDB's GUID, as stored: three little-endian fields, then 8 bytes.
        guid: [u8; 16],
        /// The PDB's age.
        age: u32,
        /// The PDB's path as the linker wrote it, without its NUL: UTF-8 or the linker's code page.
        path: Vec<u8>,
    },
    /// "NB10": PDB 2.0.
    Nb10 {
        /// Offset field; 0 for a separate PDB.
        offset: u32,
        /// The PDB's signature: seconds since 1970.
        signature: u32,
        /// The PDB's age.
        age: u32,
        /// The PDB's path as the linker wrote it, without its NUL: UTF-8 or the linker's code page.
        path: Vec<u8>,
    },
}

impl CodeView {
    /// Reads a record as it lies in the file; `None` when it is of neither kind or cut short. A missing NUL is
    /// tolerated.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let path = |from: usize| {
            let bytes = record.get(from..)?;
            Some(bytes::until_nul(bytes).unwrap_or(bytes).to_vec())
        };
        match record.get(..4)? {
            b"RSDS" => {
                Some(Self::Rsds { guid: bytes::array_at(record, 4)?, age: bytes::u32_at(record, 20)?, path: path(24)? })
            }
            b"NB10" => Some(Self::Nb10 {
                offset: bytes::u32_at(record, 4)?,
                signature: bytes::u32_at(record, 8)?,
                age: bytes::u32_at(record, 12)?,
                path: path(16)?,
            }),
            _ => None,
        }
    }

    /// The record's bytes, NUL included, as a minidump's module list wants them.
    pub fn record(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Rsds { guid, age, .. } => {
                out.extend_from_slice(b"RSDS");
                out.extend_from_slice(guid);
                out.extend_from_slice(&age.to_le_bytes());
            }
            Self::Nb10 { offset, signature, age, .. } => {
                out.extend_from_slice(b"NB10");
                for field in [offset, signature, age] {
                    out.extend_from_slice(&field.to_le_bytes());
                }
            }
        }
        let (Self::Rsds { path, .. } | Self::Nb10 { path, .. }) = self;
        out.extend_from_slice(path);
        out.push(0);
        out
    }

    /// The PDB's path as the linker wrote it; bytes that are no UTF-8 are replaced.
    pub fn path(&self) -> Cow<'_, str> {
        let (Self::Rsds { path, .. } | Self::Nb10 { path, .. }) = self;
        String::from_utf8_lossy(path)
    }

    /// The PDB's file name.
    pub fn name(&self) -> String {
        self.path().rsplit(['\\', '/']).next().unwrap_or_default().to_owned()
    }

    /// The PDB's age.
    pub fn age(&self) -> u32 {
        let (Self::Rsds { age, .. } | Self::Nb10 { age, .. }) = self;
        *age
    }

    /// The GUID in text form, upper case with dashes; `None` for NB10.
    pub fn guid_text(&self) -> Option<String> {
        let Self::Rsds { guid, .. } = self else { return None };
        let hex = guid_hex(guid);
        Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
    }

    /// GUID and age of a PDB 7.0; `None` for a PDB 2.0.
    pub fn pdb_id(&self) -> Option<PdbId> {
        match *self {
            Self::Rsds { guid, age, .. } => Some(PdbId { guid: Guid(guid), age }),
            Self::Nb10 { .. } => None,
        }
    }

    /// The symbol server's key of the PDB: see [`pdb_key`]. A PDB 2.0 has its signature as 8 digits in the GUID's place.
    /// The path on a server is `name/KEY/name`.
    pub fn pdb_key(&self) -> String {
        match self {
            Self::Rsds { guid, age, .. } => pdb_key(guid, *age),
            Self::Nb10 { signature, age, .. } => format!("{signature:08X}{age:x}"),
        }
    }
}

/// The 32 digits of a GUID in the order of its text form.
fn guid_hex(guid: &[u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    ORDER.iter().map(|&index| format!("{:02X}", guid[index])).collect()
}

/// The checksum entry that ties a PDB's contents to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PdbChecksum {
    /// Algorithm, such as SHA256.
    pub algorithm: String,
    /// The checksum's bytes.
    pub checksum: Vec<u8>,
}
