//! SYSTEM_TRACE_HEADER, 32 bytes, and its COMPACT form of 24, which ends before the processor times.

use super::{Event, EventId, RawEvent, blank, too_short};
use crate::bytes::Bytes;
use crate::clock::Tick;
use crate::error::Result;
use crate::raw::{HeaderKind, HookId, SystemTraceHeader};

pub(super) fn parse<'d>(raw: &RawEvent<'d>) -> Result<Event<'d>> {
    let length = match raw.kind {
        HeaderKind::COMPACT32 | HeaderKind::COMPACT64 => 24,
        _ => 32,
    };
    let bytes = Bytes(raw.bytes);
    let header: &SystemTraceHeader = bytes
        .raw(0)
        .filter(|_| raw.bytes.len() >= length)
        .ok_or_else(|| too_short(raw, "SYSTEM_TRACE_HEADER", length))?;
    Ok(Event {
        id: EventId::Hook(HookId(header.hook.get())),
        timestamp: Some(Tick(header.time_stamp.get())),
        thread: Some(header.thread_id.get()),
        process: Some(header.process_id.get()),
        version: header.version.get(),
        payload: bytes.rest(length),
        ..blank(raw)
    })
}
