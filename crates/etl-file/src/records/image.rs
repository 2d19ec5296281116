//! Image events: hooks 0x030A, 0x1402, 0x1403 and 0x1404, and Microsoft-Windows-Kernel-Process 5 and 6.
//!
//! ```text
//!   version 0       1        2 and 3
//!   P base          P base   P base
//!   u32 size        P size   P size
//!                   u32 pid  u32 pid
//!                            u32 checksum
//!                            u32 timestamp
//!                            u32 (3: u8 signature level, u8 signature type, u16)
//!                            P default base
//!                            u32[4]
//!   name            name     name             UTF-16, NUL-terminated; P is a pointer
//! ```
//!
//! Sources: ntwmi.h in phnt (WMI_IMAGELOAD_INFORMATION), Microsoft Learn "Image_Load", google/sawbuck
//! kernel_log_types.h for versions 0 and 1; measured for versions 2 (Windows 8) and 3 (Windows 10, 11).

use super::Record;
use crate::bytes::Bytes;
use crate::error::Result;
use crate::event::Event;
use crate::raw::HookId;

/// What happened to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ImageAction {
    /// It was loaded.
    Load,
    /// It was loaded when the trace started.
    RundownStart,
    /// It was loaded when the trace ended.
    RundownEnd,
    /// It was unloaded.
    Unload,
}

impl ImageAction {
    pub(super) fn of(hook: HookId) -> Option<Self> {
        Some(match hook {
            HookId::IMAGE_LOAD => Self::Load,
            HookId::IMAGE_UNLOAD => Self::Unload,
            HookId::IMAGE_DC_START => Self::RundownStart,
            HookId::IMAGE_DC_END => Self::RundownEnd,
            _ => return None,
        })
    }
}

/// An image in a process, or in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Image {
    /// What happened to it.
    pub action: ImageAction,
    /// Address of its first byte.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u64,
    /// Process: 0 for kernel images; `None` in version 0, which does not say.
    pub process: Option<u32>,
    /// CheckSum of the PE header; 0 means not said.
    pub checksum: u32,
    /// TimeDateStamp of the PE header; 0 means not said.
    pub timestamp: u32,
    /// Signature level and type, from version 3 on.
    pub signature: Option<(u8, u8)>,
    /// Preferred base; 0 where the version does not say.
    pub default_base: u64,
    /// Path on the traced system.
    pub path: String,
}

pub(super) fn parse<'d>(event: &Event<'d>, action: ImageAction) -> Result<Record<'d>> {
    let width = usize::from(event.pointer_size);
    // A synthetic provider on 32-bit Windows may log 64-bit payloads under 32-bit headers, and nothing in the file says
    // so (measured: sawbuck). Read as the header says, such a payload has no name, which no true one lacks.
    let image = read(event, action, width).filter(|image| plausible(&image.path));
    let other = || read(event, action, 12 - width).filter(|image| plausible(&image.path));
    match image.or_else(other).or_else(|| read(event, action, width)) {
        Some(image) => Ok(Record::Image(image)),
        None => event.read("image event", |_, _| None),
    }
}

fn read(event: &Event<'_>, action: ImageAction, width: usize) -> Option<Image> {
    let bytes = Bytes(event.payload);
    let blank = Image {
        action,
        base: bytes.pointer(0, width)?,
        size: if event.version == 0 { bytes.u32(width)?.into() } else { bytes.pointer(width, width)? },
        process: None,
        checksum: 0,
        timestamp: 0,
        signature: None,
        default_base: 0,
        path: String::new(),
    };
    Some(match event.version {
        0 => Image { path: bytes.utf16(width + 4).0, ..blank },
        1 => Image { process: Some(bytes.u32(2 * width)?), path: bytes.utf16(2 * width + 4).0, ..blank },
        // Versions above 3 were never seen; a new one would extend this prefix.
        version => {
            let at = 2 * width;
            let name = at + 16 + width + 16;
            // The fixed part must be there as a whole.
            bytes.slice(0, name)?;
            Image {
                process: Some(bytes.u32(at)?),
                checksum: bytes.u32(at + 4)?,
                timestamp: bytes.u32(at + 8)?,
                signature: if version >= 3 { Some((bytes.u8(at + 12)?, bytes.u8(at + 13)?)) } else { None },
                default_base: bytes.pointer(at + 16, width)?,
                path: bytes.utf16(name).0,
                ..blank
            }
        }
    })
}

/// True for what can be a path: not empty, and without control characters or broken UTF-16.
fn plausible(path: &str) -> bool {
    !path.is_empty() && !path.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER)
}

/// Microsoft-Windows-Kernel-Process: 5 ImageLoad, 6 ImageUnload, by the provider's manifest.
pub(super) fn parse_kernel_process<'d>(event: &Event<'d>, id: u16) -> Result<Record<'d>> {
    let action = match id {
        5 => ImageAction::Load,
        6 => ImageAction::Unload,
        _ => return Ok(Record::Other),
    };
    event.read("Kernel-Process image event", |bytes, width| {
        let at = 2 * width;
        Some(Record::Image(Image {
            action,
            base: bytes.pointer(0, width)?,
            size: bytes.pointer(width, width)?,
            process: Some(bytes.u32(at)?),
            checksum: bytes.u32(at + 4)?,
            timestamp: bytes.u32(at + 8)?,
            signature: None,
            default_base: bytes.pointer(at + 12, width)?,
            path: bytes.utf16(at + 12 + width).0,
        }))
    })
}
