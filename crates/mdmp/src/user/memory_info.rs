//! MemoryInfoList (stream 16), `MINIDUMP_MEMORY_INFO` of 48 bytes: what the pages are.
//!
//! lldb shows protections from it; udmp-parser wants an entry that begins exactly where each memory range begins
//! (measured).

use super::streams::{self, Stream, StreamType};
use super::{Module, streams::count32};
use crate::{BlobId, Error, Layout, MemoryRange, Protection};

/// Where the MemoryInfoList stream comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryInfo {
    /// One region per memory range: see [`Region::of_ranges`].
    #[default]
    FromMemory,
    /// These regions.
    Regions(Vec<Region>),
    /// No such stream.
    Absent,
}

/// `MEM_*` states (winnt.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RegionState(pub u32);

impl RegionState {
    /// `MEM_COMMIT`.
    pub const COMMIT: RegionState = RegionState(0x1000);
    /// `MEM_RESERVE`.
    pub const RESERVE: RegionState = RegionState(0x2000);
    /// `MEM_FREE`.
    pub const FREE: RegionState = RegionState(0x1_0000);
}

/// `MEM_*` types (winnt.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RegionKind(pub u32);

impl RegionKind {
    /// `MEM_PRIVATE`.
    pub const PRIVATE: RegionKind = RegionKind(0x2_0000);
    /// `MEM_MAPPED`.
    pub const MAPPED: RegionKind = RegionKind(0x4_0000);
    /// `MEM_IMAGE`.
    pub const IMAGE: RegionKind = RegionKind(0x100_0000);
}

/// Pages of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Region {
    /// First address.
    pub base: u64,
    /// Base of the allocation that the region is part of: for an image, its load address.
    pub allocation_base: u64,
    /// Protection that the allocation was made with.
    pub allocation_protection: Protection,
    /// Bytes.
    pub size: u64,
    /// Committed, reserved, free.
    pub state: RegionState,
    /// Protection of the pages.
    pub protection: Protection,
    /// Image, mapped file or private memory.
    pub kind: RegionKind,
}

const PAGE: u64 = 0x1000;

impl Region {
    /// Committed private memory that is an allocation of its own.
    pub fn new(base: u64, size: u64, protection: Protection) -> Region {
        Region {
            base,
            allocation_base: base,
            allocation_protection: protection,
            size,
            state: RegionState::COMMIT,
            protection,
            kind: RegionKind::PRIVATE,
        }
    }

    /// One region per memory range, in rising order: from the range's first byte to the end of its last page, or to the
    /// next range if that begins earlier. A range inside a module is image memory of that module.
    pub fn of_ranges(memory: &[MemoryRange<'_>], modules: &[Module]) -> Vec<Region> {
        let mut starts: Vec<&MemoryRange<'_>> = memory.iter().collect();
        starts.sort_by_key(|range| range.address);
        let mut images: Vec<&Module> = modules.iter().collect();
        images.sort_by_key(|module| module.base);
        let next = starts.iter().skip(1).map(|range| range.address).chain([u64::MAX]);
        starts.iter().zip(next).map(|(range, next)| Region::of_range(range, next, &images)).collect()
    }

    fn of_range(range: &MemoryRange<'_>, next: u64, images: &[&Module]) -> Region {
        let end = range.address.saturating_add(range.size);
        let end = end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX).min(next.max(end));
        let after = images.partition_point(|module| module.base <= range.address);
        let module = after.checked_sub(1).map(|index| images[index]);
        let module = module.filter(|module| range.address - module.base < u64::from(module.size));
        let (allocation_base, allocation_protection, kind) = match module {
            Some(module) => (module.base, Protection::EXECUTE_WRITE_COPY, RegionKind::IMAGE),
            None => (range.address, range.protection, RegionKind::PRIVATE),
        };
        Region {
            base: range.address,
            allocation_base,
            allocation_protection,
            size: end - range.address,
            state: RegionState::COMMIT,
            protection: range.protection,
            kind,
        }
    }
}

impl<'a> Stream<'a> for [Region] {
    fn stream_type(&self) -> StreamType {
        StreamType::MEMORY_INFO_LIST
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let mut list = streams::blob(self.stream_type()).align(8);
        // The count has 64 bits here; a 32-bit one is what readers can take.
        list.u32(16).u32(48).u64(count32("MemoryInfoList", self.len())?.into());
        for region in self {
            list.u64(region.base).u64(region.allocation_base).u32(region.allocation_protection.0).u32(0);
            list.u64(region.size).u32(region.state.0).u32(region.protection.0).u32(region.kind.0).u32(0);
        }
        Ok(layout.push(list))
    }
}
