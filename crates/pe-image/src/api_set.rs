//! The API set schema: which module hosts a contract such as `ext-ms-win-ntos-werkernel-l1-1-1.dll`.
//!
//! The section `.apiset` of `apisetschema.dll`, version 6 (Windows 10 and later; API_SET_NAMESPACE in phnt):
//!
//! ```text
//! header:  u32 Version | Size | Flags | Count | EntryOffset | HashOffset | HashFactor
//! entry:   u32 Flags | NameOffset | NameLength | HashedLength | ValueOffset | ValueCount
//! value:   u32 Flags | NameOffset | NameLength | ValueOffset | ValueLength
//! ```
//!
//! Offsets count from the section's start, lengths are bytes of UTF-16. Contracts compare up to HashedLength: without
//! what follows the last hyphen, which is the revision of the contract.

use crate::addr::Rva;
use crate::bytes::u32_at;
use crate::error::{Error, Place, Result};
use crate::file::PeFile;

/// A schema, borrowed from its file.
#[derive(Clone, Copy, Debug)]
pub struct ApiSets<'a> {
    bytes: &'a [u8],
    entries: usize,
    count: usize,
}

const VERSION: u32 = 6;
const HEADER_SIZE: usize = 28;
const ENTRY_SIZE: usize = 24;
const VALUE_SIZE: usize = 20;

impl<'a> ApiSets<'a> {
    /// The schema in a file's `.apiset` section; `None` when the file has no such section.
    ///
    /// # Errors
    /// When the schema is of another version than 6, or its entries do not lie in the section.
    pub fn read(file: &PeFile<'a>) -> Result<Option<Self>> {
        const STRUCTURE: &str = "API_SET_NAMESPACE";
        let Some(section) = file.headers().sections.iter().find(|section| &section.name == b".apiset\0") else {
            return Ok(None);
        };
        let bytes = file.bytes_from(section.rva);
        let place = Place::Rva(section.rva);
        if bytes.len() < HEADER_SIZE {
            return Err(Error::truncated(place, STRUCTURE, HEADER_SIZE as u64, bytes.len() as u64));
        }
        let field = |at| u32_at(bytes, at).expect("checked above");
        if field(0) != VERSION {
            return Err(Error::field(place, STRUCTURE, "Version", field(0), "6"));
        }
        let (count, entries) = (field(12), field(16));
        let end = u64::from(entries) + u64::from(count) * ENTRY_SIZE as u64;
        if end > bytes.len() as u64 {
            let place = Place::Rva(Rva(section.rva.0.saturating_add(entries)));
            let have = (bytes.len() as u64).saturating_sub(entries.into());
            return Err(Error::truncated(place, "API_SET_NAMESPACE_ENTRY", end - u64::from(entries), have));
        }
        Ok(Some(Self { bytes, entries: entries as usize, count: count as usize }))
    }

    /// True for names that stand for a contract, not for a file.
    pub fn is_contract(dll: &str) -> bool {
        let starts = |prefix: &str| dll.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        starts("api-") || starts("ext-")
    }

    /// The module that hosts a contract for the given importer. `None` when the schema does not know the contract;
    /// an empty name when it knows it and names no host.
    pub fn host(&self, contract: &str, importer: &str) -> Option<String> {
        let wanted = without_revision(contract);
        let entry = (0..self.count).map(|number| self.entries + number * ENTRY_SIZE).find(|&at| {
            let name = self.text(self.field(at, 4), self.field(at, 12));
            name.is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        })?;
        let (values, count) = (self.field(entry, 16)? as usize, self.field(entry, 20)? as usize);
        let mut default = None;
        for number in 0..count.min(self.bytes.len() / VALUE_SIZE) {
            let at = values.checked_add(number * VALUE_SIZE)?;
            let host = self.text(self.field(at, 12), self.field(at, 16)).unwrap_or_default();
            let name = self.text(self.field(at, 4), self.field(at, 8)).unwrap_or_default();
            if name.is_empty() {
                default.get_or_insert(host);
            } else if name.eq_ignore_ascii_case(importer) {
                // An alternative host for this importer alone.
                return Some(host);
            }
        }
        Some(default.unwrap_or_default())
    }

    fn field(&self, at: usize, offset: usize) -> Option<u32> {
        u32_at(self.bytes, at.checked_add(offset)?)
    }

    fn text(&self, offset: Option<u32>, size: Option<u32>) -> Option<String> {
        let (offset, size) = (offset? as usize, size? as usize);
        let raw = self.bytes.get(offset..offset.checked_add(size)?)?;
        let units: Vec<u16> = raw.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        Some(String::from_utf16_lossy(&units))
    }
}

/// `ext-ms-win-ntos-werkernel-l1-1-1.dll` → `ext-ms-win-ntos-werkernel-l1-1`.
fn without_revision(contract: &str) -> &str {
    let stem = match contract.len().checked_sub(4).and_then(|at| contract.split_at_checked(at)) {
        Some((stem, extension)) if extension.eq_ignore_ascii_case(".dll") => stem,
        _ => contract,
    };
    stem.rsplit_once('-').map_or(stem, |(front, _)| front)
}
