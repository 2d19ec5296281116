//! What a mapped image says about itself: the PE headers and the CodeView record, read from the dumped memory.

use pe_image::CodeView;

use super::ReadMemory;
use crate::snapshot::Pdb;

/// Identity of a mapped image. Every field may be missing: a dump holds what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeaderPage {
    pub(super) timestamp: Option<u32>,
    pub(super) checksum: Option<u32>,
    pub(super) pdb: Option<Pdb>,
}

/// `IMAGE_NT_HEADERS` usually lies in the first page, but after a long DOS stub it may lie further on; the loader takes
/// any offset in the image up to 256 MiB.
const MAX_NT_HEADERS: u32 = 0x1000_0000;
/// Linkers write three or four debug entries.
const MAX_DEBUG_ENTRIES: u32 = 32;
/// A record of type 2 with a path of `MAX_PATH` characters fits.
const MAX_RECORD: u32 = 0x400;

impl HeaderPage {
    /// Reads the headers of the image at `base`.
    pub(super) fn read(memory: &dyn ReadMemory, base: u64) -> HeaderPage {
        let word = |rva: u32| u32_at(memory, base.checked_add(rva.into())?);
        let mut page = HeaderPage::default();
        let mut magic = [0; 2];
        if memory.read(base, &mut magic) < 2 || magic != *b"MZ" {
            return page;
        }
        let Some(nt) = word(0x3c).filter(|&nt| nt < MAX_NT_HEADERS) else { return page };
        if word(nt) != Some(u32::from_le_bytes(*b"PE\0\0")) {
            return page;
        }
        page.timestamp = word(nt + 8);
        page.checksum = word(nt + 0x58);
        // Directories follow the optional header's fixed part: 0x60 bytes of PE32, 0x70 of PE32+.
        let directories = match word(nt + 0x18).map(|magic| magic & 0xffff) {
            Some(0x20b) => nt + 0x18 + 0x70,
            Some(0x10b) => nt + 0x18 + 0x60,
            _ => return page,
        };
        const DEBUG: u32 = 6;
        if let (Some(rva), Some(size)) = (word(directories + 8 * DEBUG), word(directories + 8 * DEBUG + 4)) {
            page.pdb = (0..(size / 28).min(MAX_DEBUG_ENTRIES)).find_map(|entry| {
                let at = rva.checked_add(28 * entry)?;
                if word(at.checked_add(12)?)? != 2 {
                    return None;
                }
                let (size, data) = (word(at.checked_add(16)?)?, word(at.checked_add(20)?)?);
                let mut record = vec![0; size.min(MAX_RECORD) as usize];
                let held = memory.read(base.checked_add(data.into())?, &mut record);
                pdb(&CodeView::parse(&record[..held])?)
            });
        }
        page
    }
}

/// A CodeView record as the snapshot keeps it; `None` for PDB 2.0, which no kernel module of today has.
pub(super) fn pdb(record: &CodeView) -> Option<Pdb> {
    Some(Pdb { name: record.name(), id: record.pdb_id()? })
}

fn u32_at(memory: &dyn ReadMemory, address: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    (memory.read(address, &mut bytes) == 4).then(|| u32::from_le_bytes(bytes))
}
