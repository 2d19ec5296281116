//! SystemMemoryInfo (stream 21), `MINIDUMP_SYSTEM_MEMORY_INFO_1` of 492 bytes (minidumpapiset.h; size measured).
//! dbgeng 6.3 does not know it and says so; newer engines do.

use super::streams::{self, Stream, StreamType};
use crate::{BlobId, Error, Layout};

/// Memory of the whole system.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SystemMemoryInfo {
    /// `MINIDUMP_SYSMEMINFO1_*`: which parts hold.
    pub flags: u16,
    /// Pages and addresses.
    pub basic: BasicInfo,
    /// The system's file cache.
    pub file_cache: FileCache,
    /// Commit charge.
    pub basic_performance: BasicPerformance,
    /// `MINIDUMP_SYSTEM_PERFORMANCE_INFORMATION`, 344 bytes of counters, as `NtQuerySystemInformation` gives them.
    pub performance: [u8; 344],
}

impl Default for SystemMemoryInfo {
    /// Nothing known.
    fn default() -> SystemMemoryInfo {
        SystemMemoryInfo {
            flags: 0,
            basic: BasicInfo::default(),
            file_cache: FileCache::default(),
            basic_performance: BasicPerformance::default(),
            performance: [0; 344],
        }
    }
}

/// `MINIDUMP_SYSTEM_BASIC_INFORMATION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BasicInfo {
    /// Units of 100 ns.
    pub timer_resolution: u32,
    /// Bytes.
    pub page_size: u32,
    /// Pages of physical memory.
    pub physical_pages: u32,
    /// Page number.
    pub lowest_physical_page: u32,
    /// Page number.
    pub highest_physical_page: u32,
    /// Bytes.
    pub allocation_granularity: u32,
    /// First address of user mode.
    pub minimum_user_address: u64,
    /// Last address of user mode.
    pub maximum_user_address: u64,
    /// Bit per processor.
    pub active_processors: u64,
    /// Logical processors.
    pub processors: u32,
}

/// `MINIDUMP_SYSTEM_FILECACHE_INFORMATION`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCache {
    /// Bytes.
    pub current_size: u64,
    /// Bytes.
    pub peak_size: u64,
    /// Faults so far.
    pub page_faults: u32,
    /// Pages.
    pub minimum_working_set: u64,
    /// Pages.
    pub maximum_working_set: u64,
    /// Pages, those in transition included.
    pub current_size_with_transition: u64,
    /// Pages, those in transition included.
    pub peak_size_with_transition: u64,
    /// Pages in transition that were given to others.
    pub transition_repurposed: u32,
    /// Flags.
    pub flags: u32,
}

/// `MINIDUMP_SYSTEM_BASIC_PERFORMANCE_INFORMATION`, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BasicPerformance {
    /// Free pages.
    pub available: u64,
    /// Committed pages.
    pub committed: u64,
    /// Limit on committed pages.
    pub commit_limit: u64,
    /// Most pages ever committed.
    pub peak_commitment: u64,
}

/// `MINIDUMP_SYSTEM_MEMORY_INFO_1_REVISION`.
const REVISION: u16 = 1;

impl<'a> Stream<'a> for SystemMemoryInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::SYSTEM_MEMORY_INFO
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let mut blob = streams::blob(self.stream_type());
        blob.u16(REVISION).u16(self.flags);
        let basic = &self.basic;
        blob.u32(basic.timer_resolution).u32(basic.page_size).u32(basic.physical_pages);
        blob.u32(basic.lowest_physical_page).u32(basic.highest_physical_page).u32(basic.allocation_granularity);
        blob.u64(basic.minimum_user_address).u64(basic.maximum_user_address);
        blob.u64(basic.active_processors).u32(basic.processors);
        let cache = &self.file_cache;
        blob.u64(cache.current_size).u64(cache.peak_size).u32(cache.page_faults);
        blob.u64(cache.minimum_working_set).u64(cache.maximum_working_set);
        blob.u64(cache.current_size_with_transition).u64(cache.peak_size_with_transition);
        blob.u32(cache.transition_repurposed).u32(cache.flags);
        let commit = &self.basic_performance;
        blob.u64(commit.available).u64(commit.committed).u64(commit.commit_limit).u64(commit.peak_commitment);
        blob.bytes(&self.performance);
        debug_assert_eq!(blob.len(), 492);
        Ok(layout.push(blob))
    }
}
