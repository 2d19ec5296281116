//! The driver list, the unloaded drivers and the names: `DUMP_DRIVER_ENTRY64`, `DUMP_UNLOADED_DRIVERS64`,
//! `DUMP_STRING`.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U16;

use super::raw::{DriverEntry64, UnloadedDriver64};
use crate::{Blob, BlobId, Error};

/// Characters of a path. No Windows path in the kernel's list is longer, and the reader's limit is the same.
pub(crate) const MAX_NAME: usize = 1024;

/// A loaded kernel module. The first one of the list is the kernel: the debugger calls it `nt`, whatever its file name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Driver {
    /// Path as the kernel keeps it, for example `\SystemRoot\system32\ntoskrnl.exe`.
    pub name: String,
    /// Load address.
    pub base: u64,
    /// `SizeOfImage`, bytes. With the time stamp it is the key of symbol servers.
    pub size: u32,
    /// `TimeDateStamp` of the file header.
    pub timestamp: u32,
    /// `CheckSum` of the optional header.
    pub checksum: u32,
    /// Address of the entry point; 0 unknown. Windows leaves it 0.
    pub entry_point: u64,
    /// `LDRP_*` flags; Windows leaves them 0.
    pub flags: u32,
}

impl Driver {
    /// A driver with only its name and place known.
    pub fn new(name: impl Into<String>, base: u64, size: u32) -> Driver {
        Driver { name: name.into(), base, size, ..Driver::default() }
    }
}

/// A driver that was loaded once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct UnloadedDriver {
    /// The first 12 UTF-16 characters of the file name: there is no room for more.
    pub name: String,
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
}

impl UnloadedDriver {
    /// A driver that was at `start..end`.
    pub fn new(name: impl Into<String>, start: u64, end: u64) -> UnloadedDriver {
        UnloadedDriver { name: name.into(), start, end }
    }
}

/// The driver list, each entry with the file offset of its name.
pub(super) fn encode_list(drivers: &[Driver], pool: BlobId, names: &[u64]) -> Blob {
    let mut blob = Blob::new("driver list").align(8);
    for (driver, &at) in drivers.iter().zip(names) {
        let entry = DriverEntry64 {
            name_offset: 0.into(),
            pad0: 0.into(),
            links: [0.into(); 6],
            base: driver.base.into(),
            entry_point: driver.entry_point.into(),
            size_of_image: driver.size.into(),
            pad1: 0.into(),
            names: [0.into(); 4],
            flags: driver.flags.into(),
            load_count: 0.into(),
            section: 0.into(),
            checksum: driver.checksum.into(),
            coverage_size: 0.into(),
            timestamp: driver.timestamp.into(),
            pad2: 0.into(),
        };
        blob.rva32_plus(pool, at).bytes(&entry.as_bytes()[4..]);
    }
    blob
}

/// The names, each a `DUMP_STRING`: characters without the terminator as 4 bytes, UTF-16, a terminator. Returns the
/// offset of each in the blob. Windows aligns them to 8 (measured).
pub(super) fn encode_names<'n>(names: impl Iterator<Item = &'n str>) -> Result<(Blob, Vec<u64>), Error> {
    let mut blob = Blob::new("string pool").align(8);
    let mut offsets = Vec::new();
    for name in names {
        blob.zeros(blob.len().next_multiple_of(8) - blob.len());
        offsets.push(blob.len() as u64);
        let units = name.encode_utf16().count();
        if units > MAX_NAME {
            let (found, allowed) = (format!("{units} characters"), format!("at most {MAX_NAME}"));
            return Err(Error::rule("DUMP_STRING.Length", found, allowed, "mdmp's own reader"));
        }
        blob.u32(units as u32).utf16(name).u16(0);
    }
    Ok((blob, offsets))
}

/// The count, 8-aligned, and the entries.
pub(super) fn encode_unloaded(drivers: &[UnloadedDriver]) -> Blob {
    let mut blob = Blob::new("unloaded drivers").align(8);
    blob.u64(drivers.len() as u64);
    for driver in drivers {
        let mut name = [U16::new(0); 12];
        let mut length = 0u16;
        for (place, unit) in name.iter_mut().zip(driver.name.encode_utf16()) {
            place.set(unit);
            length += 2;
        }
        let entry = UnloadedDriver64 {
            name_length: length.into(),
            name_maximum: length.into(),
            pad: 0.into(),
            name_buffer: 0.into(),
            name,
            start: driver.start.into(),
            end: driver.end.into(),
        };
        blob.bytes(entry.as_bytes());
    }
    blob
}
