//! Last branch records: hook 0x0C20 (TraceEvent, KernelTraceEventParser; evntrace.h).

use super::Record;
use super::sample::Pointers;
use crate::clock::Tick;
use crate::error::Result;
use crate::event::Event;

/// The last branches that a processor took before an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastBranches<'d> {
    /// Timestamp of the event that they belong to.
    pub event_time: Tick,
    /// Its process.
    pub process: u32,
    /// Its thread.
    pub thread: u32,
    /// Which kinds of branches are left out.
    pub filter: u32,
    entries: Pointers<'d>,
}

impl LastBranches<'_> {
    /// Source and target of each branch, newest first.
    pub fn branches(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        // Each has a third, reserved word.
        self.entries.triples().map(|[from, to, _]| (from, to))
    }
}

pub(super) fn parse<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    event.read("last branch records", |bytes, width| {
        // The flags are padded to a pointer.
        let entries = if width == 8 { 24 } else { 20 };
        bytes.slice(0, entries)?;
        Some(Record::LastBranches(LastBranches {
            event_time: Tick(bytes.i64(0)?),
            process: bytes.u32(8)?,
            thread: bytes.u32(12)?,
            filter: bytes.u32(16)?,
            entries: Pointers { bytes: bytes.rest(entries), width },
        }))
    })
}
