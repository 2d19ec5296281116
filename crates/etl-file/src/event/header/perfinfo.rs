//! PERFINFO_TRACE_HEADER: 16 bytes, then perhaps a PEBS index and performance counters.

use super::{Event, EventId, RawEvent, blank, too_short};
use crate::bytes::Bytes;
use crate::clock::Tick;
use crate::error::Result;
use crate::raw::{HookId, PerfinfoTraceHeader};

/// Version bit: a PEBS index follows the header.
const PEBS: u16 = 0x8000;

pub(super) fn parse<'d>(raw: &RawEvent<'d>) -> Result<Event<'d>> {
    const HEADER: usize = size_of::<PerfinfoTraceHeader>();
    let bytes = Bytes(raw.bytes);
    let header: &PerfinfoTraceHeader = bytes.raw(0).ok_or_else(|| too_short(raw, "PERFINFO_TRACE_HEADER", HEADER))?;
    let version = header.version.get();
    let pebs = if version & PEBS != 0 { 8 } else { 0 };
    // Version bits 8 to 10 count the performance counters that follow.
    let counters = 8 * usize::from(version >> 8 & 7);
    let payload = HEADER + pebs + counters;
    let counters = bytes
        .slice(HEADER + pebs, counters)
        .ok_or_else(|| too_short(raw, "PERFINFO_TRACE_HEADER with counters", payload))?;
    Ok(Event {
        id: EventId::Hook(HookId(header.hook.get())),
        timestamp: Some(Tick(header.time_stamp.get())),
        version: version & 0xff,
        counters,
        pebs_index: if pebs > 0 { bytes.u64(HEADER) } else { None },
        payload: bytes.rest(payload),
        ..blank(raw)
    })
}
