//! Which build an image in memory is, from memory that may have gaps: a dump holds some pages of an image and lacks others.

use object::pe;

use crate::addr::Rva;
use crate::directory::DirectoryKind;
use crate::header::{CHECKSUM_OFFSET, MAGIC_32, MAGIC_64, OPTIONAL_HEADER_OFFSET, SIGNATURE};
use crate::identity::{CODE_VIEW, CodeView, DEBUG_ENTRY, MOST_DEBUG_ENTRIES};

/// What the headers of an image in memory say about its build. Each value is `None` when the memory does not hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MappedIdentity {
    /// TimeDateStamp of the file header.
    pub timestamp: Option<u32>,
    /// CheckSum of the optional header.
    pub checksum: Option<u32>,
    /// The first CodeView record of a PDB 7.0. Its path is cut after a thousand bytes.
    pub pdb: Option<CodeView>,
}

/// Where the headers are looked for. They usually lie in the first page, but after a long DOS stub they may lie further
/// on; the loader takes any offset up to 256 MiB.
const NT_HEADERS_LIMIT: u32 = 0x1000_0000;
/// The bytes that are read of a CodeView record: GUID, age and a path of `MAX_PATH` characters fit. Many modules of a
/// hostile dump can share one record, and each gets a copy of its path.
const LARGEST_RECORD: u32 = 0x400;

impl MappedIdentity {
    /// Reads the identity of an image from its memory. `read` fills a buffer with the bytes from an RVA on, and returns
    /// how many it had, counted from the first; what it leaves after them is not looked at.
    ///
    /// Memory that does not start with an image's headers gives an identity without values.
    pub fn read(mut read: impl FnMut(Rva, &mut [u8]) -> usize) -> Self {
        Memory { read: &mut read }.identity()
    }
}

struct Memory<'r> {
    read: &'r mut dyn FnMut(Rva, &mut [u8]) -> usize,
}

impl Memory<'_> {
    fn identity(&mut self) -> MappedIdentity {
        let mut identity = MappedIdentity::default();
        let Some(nt) = self.nt_headers() else { return identity };
        identity.timestamp = self.u32(nt + 8);
        identity.checksum = self.u32(nt + CHECKSUM_OFFSET);
        identity.pdb = self.code_view(nt);
        identity
    }

    /// The RVA of IMAGE_NT_HEADERS, when the signatures are there.
    fn nt_headers(&mut self) -> Option<u32> {
        let mut magic = [0; 2];
        if (self.read)(Rva(0), &mut magic) < magic.len() || magic != *b"MZ" {
            return None;
        }
        // e_lfanew of IMAGE_DOS_HEADER.
        let nt = self.u32(0x3c).filter(|&nt| nt < NT_HEADERS_LIMIT)?;
        (self.u32(nt)? == SIGNATURE).then_some(nt)
    }

    fn code_view(&mut self, nt: u32) -> Option<CodeView> {
        // The directories follow the fixed part of the optional header.
        let fixed = match self.u32(nt + OPTIONAL_HEADER_OFFSET)? as u16 {
            MAGIC_64 => size_of::<pe::ImageOptionalHeader64>(),
            MAGIC_32 => size_of::<pe::ImageOptionalHeader32>(),
            _ => return None,
        };
        let directory = nt + OPTIONAL_HEADER_OFFSET + fixed as u32 + 8 * DirectoryKind::Debug as u32;
        let (table, size) = (self.u32(directory)?, self.u32(directory + 4)?);
        (0..(size / DEBUG_ENTRY).min(MOST_DEBUG_ENTRIES)).find_map(|number| {
            let entry = table.checked_add(number * DEBUG_ENTRY)?;
            if self.u32(entry.checked_add(12)?)? != CODE_VIEW {
                return None;
            }
            let (size, rva) = (self.u32(entry.checked_add(16)?)?, self.u32(entry.checked_add(20)?)?);
            let mut record = vec![0; size.min(LARGEST_RECORD) as usize];
            let held = (self.read)(Rva(rva), &mut record).min(record.len());
            CodeView::parse(&record[..held]).filter(|record| record.pdb_id().is_some())
        })
    }

    fn u32(&mut self, rva: u32) -> Option<u32> {
        let mut bytes = [0; 4];
        ((self.read)(Rva(rva), &mut bytes) >= bytes.len()).then(|| u32::from_le_bytes(bytes))
    }
}
