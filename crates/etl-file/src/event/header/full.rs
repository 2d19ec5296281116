//! EVENT_TRACE_HEADER, 48 bytes, and EVENT_INSTANCE_GUID_HEADER, 72: events of a class.

use super::{Event, EventId, RawEvent, blank, too_short};
use crate::bytes::Bytes;
use crate::clock::Tick;
use crate::error::Result;
use crate::guid::Guid;
use crate::raw::{EventTraceHeader, HeaderKind};

pub(super) fn parse<'d>(raw: &RawEvent<'d>) -> Result<Event<'d>> {
    let (structure, length) = match raw.kind {
        HeaderKind::INSTANCE32 | HeaderKind::INSTANCE64 => ("EVENT_INSTANCE_GUID_HEADER", 72),
        _ => ("EVENT_TRACE_HEADER", 48),
    };
    let bytes = Bytes(raw.bytes);
    let header: &EventTraceHeader =
        bytes.raw(0).filter(|_| raw.bytes.len() >= length).ok_or_else(|| too_short(raw, structure, length))?;
    Ok(Event {
        id: EventId::Class { guid: Guid(header.guid), opcode: header.class_type, level: header.class_level },
        timestamp: Some(Tick(header.time_stamp.get())),
        thread: Some(header.thread_id.get()),
        process: Some(header.process_id.get()),
        version: header.class_version.get(),
        payload: bytes.rest(length),
        ..blank(raw)
    })
}
