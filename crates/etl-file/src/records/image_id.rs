//! KernelTraceControl events about images, which a merge adds (TraceEvent, SymbolTraceEventParser; measured).
//!
//! They refer to an image event by base, process and the very same timestamp: so in 53,738 of 53,738 measured.

use super::Record;
use crate::error::Result;
use crate::event::Event;
use crate::guid::Guid;

/// Opcode 0: what an image's file says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ImageId {
    /// Address of the image.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u64,
    /// Process; 0, or now and then 4, for kernel images.
    pub process: u32,
    /// TimeDateStamp of the PE header.
    pub timestamp: u32,
    /// The file's original name.
    pub original_name: String,
}

/// Opcodes 36 and 37: an image's RSDS record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DebugId {
    /// Address of the image.
    pub base: u64,
    /// Process; 0, or now and then 4, for kernel images.
    pub process: u32,
    /// Identity of the debug information.
    pub guid: Guid,
    /// Its age.
    pub age: u32,
    /// Its name, or now and then a whole path.
    pub name: String,
    /// True for that of managed code (opcode 37), which stands next to the native one.
    pub managed: bool,
}

/// Opcode 64: a file's version resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct FileVersion {
    /// SizeOfImage in bytes.
    pub size: u32,
    /// TimeDateStamp of the PE header.
    pub timestamp: u32,
    /// OrigFileName, FileDescription, FileVersion, BinFileVersion, VerLanguage, ProductName, CompanyName,
    /// ProductVersion, FileId, ProgramId; missing ones are empty.
    pub strings: [String; 10],
}

pub(super) fn parse<'d>(event: &Event<'d>, opcode: u8) -> Result<Record<'d>> {
    match opcode {
        0 => event.read("ImageID event", |bytes, width| {
            let at = 2 * width;
            Some(Record::ImageId(ImageId {
                base: bytes.pointer(0, width)?,
                size: bytes.pointer(width, width)?,
                process: bytes.u32(at)?,
                timestamp: bytes.u32(at + 4)?,
                original_name: bytes.utf16(at + 8).0,
            }))
        }),
        36 | 37 => event.read("DbgID_RSDS event", |bytes, width| {
            Some(Record::DebugId(DebugId {
                base: bytes.pointer(0, width)?,
                process: bytes.u32(width)?,
                guid: bytes.guid(width + 4)?,
                age: bytes.u32(width + 20)?,
                name: bytes.text(width + 24).0,
                managed: opcode == 37,
            }))
        }),
        64 => event.read("FileVersion event", |bytes, _| {
            let mut at = 8;
            let strings = std::array::from_fn(|_| {
                let (text, next) = bytes.utf16(at);
                at = next;
                text
            });
            Some(Record::FileVersion(FileVersion { size: bytes.u32(0)?, timestamp: bytes.u32(4)?, strings }))
        }),
        _ => Ok(Record::Other),
    }
}
