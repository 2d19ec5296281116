//! Memory64List (stream 9): one 64-bit offset, and the memory contiguous from there in the order of the list.

use super::streams::{self, Stream, StreamType};
use crate::{BlobId, Error, Layout, MemoryRange};

/// The list; its memory is placed by the dump, last in the file and without gaps.
pub(super) struct Memory64List<'d, 'a> {
    pub(super) memory: &'d [MemoryRange<'a>],
    pub(super) ids: &'d [BlobId],
}

impl<'a> Stream<'a> for Memory64List<'_, 'a> {
    fn stream_type(&self) -> StreamType {
        StreamType::MEMORY64_LIST
    }

    /// The blob is the table alone, so the directory's DataSize is 16 * (n + 1): the skelsec reader and Windows agree
    /// on that number.
    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let mut list = streams::blob(self.stream_type()).align(8);
        list.u64(self.memory.len() as u64);
        match self.ids.first() {
            Some(&first) => list.rva64(first),
            None => list.file_size64(),
        };
        for range in self.memory {
            list.u64(range.address).u64(range.size);
        }
        Ok(layout.push(list))
    }
}
