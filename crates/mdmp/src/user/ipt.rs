//! IptTrace (stream 23): Intel Processor Trace data of the process's threads.
//!
//! The layout is the one that ipt.sys gives to user mode, `IPT_TRACE_DATA` with an `IPT_TRACE_HEADER` per thread, packed
//! to 4 bytes (public declarations in ionescu007/winipt `inc/libipt.h`). How the stream wraps it is documented nowhere;
//! a caller who knows better puts a [`RawStream`](super::RawStream) in its place.

use std::io;
use std::sync::Arc;

use super::streams::{Stream, StreamType};
use crate::{BlobId, Error, Layout, Memory, MemoryRange};

/// Traces of one or more threads.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct IptTrace<'a> {
    /// One buffer per thread.
    pub threads: Vec<IptThread<'a>>,
}

/// The trace of a thread: `IPT_TRACE_HEADER` and its data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IptThread<'a> {
    /// Thread id.
    pub thread_id: u64,
    /// 0 none, 1 MTC, 2 MTC and CYC.
    pub timing_settings: u32,
    /// MTC period, as the processor's control register has it.
    pub mtc_frequency: u32,
    /// TSC ticks per crystal tick.
    pub frequency_to_tsc_ratio: u32,
    /// Where the ring buffer's writer stood, bytes.
    pub ring_buffer_offset: u32,
    /// Intel PT packets; pulled while writing.
    pub data: MemoryRange<'a>,
}

impl<'a> IptThread<'a> {
    /// A trace without timing packets, with the ring buffer's writer at its start. The address of `data` is ignored.
    pub fn new(thread_id: u64, data: MemoryRange<'a>) -> IptThread<'a> {
        IptThread {
            thread_id,
            timing_settings: 0,
            mtc_frequency: 0,
            frequency_to_tsc_ratio: 0,
            ring_buffer_offset: 0,
            data,
        }
    }
}

/// `IPT_TRACE_DATA`: version and validity mark are 1.
const DATA_HEADER: u64 = 8;
const THREAD_HEADER: u64 = 28;

impl<'a> Stream<'a> for IptTrace<'a> {
    fn stream_type(&self) -> StreamType {
        StreamType::IPT_TRACE
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let total = self
            .threads
            .iter()
            .fold(0u64, |sum, thread| sum.saturating_add(THREAD_HEADER).saturating_add(thread.data.size));
        let limit = u64::from(u32::MAX) - DATA_HEADER;
        if total > limit {
            return Err(Error::too_big("IptTrace: TraceSize", 0, total, limit));
        }
        let mut parts = Parts::default();
        let mut header = Vec::from([1, 0, 1, 0]);
        header.extend((total as u32).to_le_bytes());
        for thread in &self.threads {
            header.extend(thread.thread_id.to_le_bytes());
            for value in [
                thread.timing_settings,
                thread.mtc_frequency,
                thread.frequency_to_tsc_ratio,
                thread.ring_buffer_offset,
                thread.data.size as u32,
            ] {
                header.extend(value.to_le_bytes());
            }
            let bytes = std::mem::take(&mut header);
            parts.push(bytes.len() as u64, Arc::new(bytes));
            parts.push(thread.data.size, Arc::clone(&thread.data.source));
        }
        parts.push(header.len() as u64, Arc::new(header));
        Ok(layout.push_source("IptTrace", DATA_HEADER + total, parts, 4))
    }
}

/// Sources in a row: the directory names one blob, and the data stays where it is until it is written.
#[derive(Default)]
struct Parts<'a> {
    /// Start, size and source; rising and without gaps.
    parts: Vec<(u64, u64, Arc<dyn Memory + 'a>)>,
}

impl<'a> Parts<'a> {
    fn push(&mut self, size: u64, source: Arc<dyn Memory + 'a>) {
        let start = self.parts.last().map_or(0, |(start, size, _)| start + size);
        self.parts.push((start, size, source));
    }
}

impl Memory for Parts<'_> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        let first = self.parts.partition_point(|(start, size, _)| start + size <= offset);
        for (start, size, source) in &self.parts[first..] {
            let inside = offset + done as u64 - start;
            let count = (size - inside).min((out.len() - done) as u64) as usize;
            source.read_at(inside, &mut out[done..done + count])?;
            done += count;
            if done == out.len() {
                break;
            }
        }
        Ok(())
    }
}
