//! What threads did: context switches, samples and stacks (Microsoft Learn "CSwitch", "SampledProfile",
//! "StackWalk_Event").

use super::Record;
use crate::bytes::Bytes;
use crate::clock::Tick;
use crate::error::Result;
use crate::event::Event;

/// Hook 0x0524: a processor turned from one thread to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ContextSwitch {
    /// The thread that runs from now on.
    pub new_thread: u32,
    /// The thread that ran.
    pub old_thread: u32,
}

/// Hook 0x0F2E: where a thread was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SampledProfile {
    /// Instruction pointer.
    pub address: u64,
    /// The thread.
    pub thread: u32,
    /// Samples that this one stands for.
    pub count: u32,
}

/// Hook 0x1820: the stack of an event, found by that event's timestamp, process and thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackWalk<'d> {
    /// Timestamp of the event that this is the stack of.
    pub event_time: Tick,
    /// Its process.
    pub process: u32,
    /// Its thread.
    pub thread: u32,
    frames: Pointers<'d>,
}

/// A run of pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointers<'d> {
    pub bytes: &'d [u8],
    pub width: usize,
}

impl Pointers<'_> {
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.bytes.chunks_exact(self.width).filter_map(|chunk| Bytes(chunk).pointer(0, self.width))
    }

    /// The pointers three by three.
    pub fn triples(&self) -> impl Iterator<Item = [u64; 3]> + '_ {
        let (width, triple) = (self.width, 3 * self.width);
        self.bytes.chunks_exact(triple).filter_map(move |chunk| {
            let pointer = |index| Bytes(chunk).pointer(index * width, width);
            Some([pointer(0)?, pointer(1)?, pointer(2)?])
        })
    }
}

impl StackWalk<'_> {
    /// Return addresses, innermost first.
    pub fn frames(&self) -> impl Iterator<Item = u64> + '_ {
        self.frames.iter()
    }
}

pub(super) fn parse_context_switch<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    event.read("context switch", |bytes, _| {
        Some(Record::ContextSwitch(ContextSwitch { new_thread: bytes.u32(0)?, old_thread: bytes.u32(4)? }))
    })
}

pub(super) fn parse_sampled_profile<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    let wide_count = event.version < 2;
    event.read("sampled profile", |bytes, width| {
        let count = if wide_count { bytes.u32(width + 4)? } else { bytes.u16(width + 4)?.into() };
        let (address, thread) = (bytes.pointer(0, width)?, bytes.u32(width)?);
        Some(Record::SampledProfile(SampledProfile { address, thread, count }))
    })
}

pub(super) fn parse_stack_walk<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    event.read("stack walk", |bytes, width| {
        Some(Record::StackWalk(StackWalk {
            event_time: Tick(bytes.i64(0)?),
            process: bytes.u32(8)?,
            thread: bytes.u32(12)?,
            frames: Pointers { bytes: bytes.rest(16), width },
        }))
    })
}
