//! MemoryList (stream 5): `MINIDUMP_MEMORY_DESCRIPTOR` of 16 bytes with a 32-bit offset, so the file ends below 4 GiB.

use super::streams::{self, Stream, StreamType};
use crate::memory::check_disjoint;
use crate::{AddressRange, BlobId, Error, Layout, MemoryRange};

/// Where each memory range of a dump will lie: sorted by address, checked to be disjoint.
#[derive(Debug, Default)]
pub(super) struct MemoryIndex {
    sorted: Vec<(AddressRange, BlobId)>,
}

impl MemoryIndex {
    /// Declares a blob for each range.
    ///
    /// # Errors
    /// An empty range, one that runs past the last address, or two that share addresses.
    pub(super) fn declare(layout: &mut Layout<'_>, memory: &[MemoryRange<'_>]) -> Result<(Self, Vec<BlobId>), Error> {
        let ids: Vec<BlobId> = memory.iter().map(|_| layout.declare()).collect();
        let mut sorted: Vec<(&MemoryRange<'_>, BlobId)> = memory.iter().zip(ids.iter().copied()).collect();
        sorted.sort_by_key(|(range, _)| range.address);
        let (ranges, sorted_ids): (Vec<_>, Vec<_>) = sorted.into_iter().unzip();
        let sorted = check_disjoint(&ranges)?.into_iter().zip(sorted_ids).collect();
        Ok((MemoryIndex { sorted }, ids))
    }

    /// The range that holds all of `wanted`, and how far inside it `wanted` begins.
    pub(super) fn find(&self, wanted: AddressRange) -> Option<(BlobId, u64)> {
        let after = self.sorted.partition_point(|(range, _)| range.start() <= wanted.start());
        let (range, id) = self.sorted.get(after.checked_sub(1)?)?;
        range.contains(wanted).then(|| (*id, wanted.start() - range.start()))
    }
}

/// The list; its memory is placed by the dump, after all streams.
pub(super) struct MemoryList<'d, 'a> {
    pub(super) memory: &'d [MemoryRange<'a>],
    pub(super) ids: &'d [BlobId],
}

impl<'a> Stream<'a> for MemoryList<'_, 'a> {
    fn stream_type(&self) -> StreamType {
        StreamType::MEMORY_LIST
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let mut list = streams::blob(self.stream_type());
        list.u32(streams::count32("MemoryList", self.memory.len())?);
        for (range, &id) in self.memory.iter().zip(self.ids) {
            list.u64(range.address).location32(id);
        }
        Ok(layout.push(list))
    }
}
