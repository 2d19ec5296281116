//! Secondary data: what drivers and the kernel left behind a dump's own data, among them the sessions of the kernel.
//!
//! ```text
//!   "DumpBlob" u32 size of this header, u32 NtBuildNumber
//!   u32 size of this header, GUID, u32 bytes, u32 before, u32 after │ before │ bytes │ after     and so on to the end
//! ```

mod etw;

use std::ops::Range;

use etl_file::Guid;

use crate::memory::word;
use crate::warning::{Warning, Warnings};

pub use etw::read;

/// `nt!EtwSecondaryDumpDataGuid`: the block with sessions.
pub const ETW_GUID: Guid = Guid::new(0x2b88_b710, 0x1c93, 0x4f7c, [0xb0, 0x6c, 0x65, 0x5e, 0xcc, 0x50, 0xde, 0xcc]);

/// A block of secondary data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Whose it is.
    pub guid: Guid,
    /// Its data, in the bytes that [`blocks`] was given.
    pub data: Range<usize>,
}

/// The smallest header of a block.
const SMALLEST: usize = 0x20;

/// The blocks in the data after a dump, which begins at `file_offset` of its file; empty if it holds none.
pub fn blocks(bytes: &[u8], file_offset: u64) -> (Vec<Block>, Vec<Warning>) {
    let (mut blocks, mut warnings) = (Vec::new(), Warnings::default());
    if !bytes.starts_with(b"DumpBlob") {
        return (blocks, Vec::new());
    }
    let mut at = word(bytes, 8) as usize;
    while bytes.len().saturating_sub(at) >= SMALLEST && word(bytes, at) as usize >= SMALLEST {
        let number = |offset: usize| word(bytes, at + offset) as usize;
        let start = at.checked_add(number(0)).and_then(|start| start.checked_add(number(0x18)));
        let end = start.and_then(|start| start.checked_add(number(0x14)));
        let Some((start, end)) = start.zip(end).filter(|(_, end)| *end <= bytes.len()) else {
            let place = file_offset.saturating_add(at as u64);
            let found = format!("{:#x} bytes of data", number(0x14));
            let allowed = format!("at most {:#x}, which is what the file has", bytes.len() - at);
            warnings.push(Warning::in_file(place, "block of secondary data", found, allowed));
            break;
        };
        let guid = bytes[at + 4..at + 0x14].try_into().expect("16 bytes");
        blocks.push(Block { guid: Guid(guid), data: start..end });
        let Some(next) = end.checked_add(number(0x1c)) else { break };
        at = next;
    }
    (blocks, warnings.finish())
}
