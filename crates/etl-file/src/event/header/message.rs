//! MESSAGE_TRACE_HEADER: a WPP message. What follows its 8 bytes is what its options say, in this order and packed.

use super::{Event, EventId, RawEvent, blank, too_short};
use crate::bytes::Bytes;
use crate::clock::Tick;
use crate::error::Result;
use crate::guid::Guid;

/// A WPP message: its arguments are the payload; the text belonging to them is in the binary's debug information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WppMessage {
    /// Number of the message in its class.
    pub number: u16,
    /// TRACE_MESSAGE_* bits of evntrace.h.
    pub options: u16,
    /// Class of the message.
    pub guid: Option<Guid>,
    /// Component, in place of a class.
    pub component: Option<u32>,
    /// Sequence number of the session.
    pub sequence: Option<u32>,
}

/// TRACE_MESSAGE_SEQUENCE.
const SEQUENCE: u16 = 0x01;
/// TRACE_MESSAGE_GUID.
const GUID: u16 = 0x02;
/// TRACE_MESSAGE_COMPONENTID.
const COMPONENT_ID: u16 = 0x04;
/// TRACE_MESSAGE_TIMESTAMP.
const TIMESTAMP: u16 = 0x08;
/// TRACE_MESSAGE_SYSTEMINFO: thread and process.
const SYSTEM_INFO: u16 = 0x20;

pub(super) fn parse<'d>(raw: &RawEvent<'d>) -> Result<Event<'d>> {
    let bytes = Bytes(raw.bytes);
    let read = || {
        let (number, options) = (bytes.u16(4)?, bytes.u16(6)?);
        let mut at = 8;
        let mut field = |present: bool, size: usize| {
            let here = at;
            at += if present { size } else { 0 };
            present.then_some(here)
        };
        let sequence = field(options & SEQUENCE != 0, 4);
        let guid = field(options & GUID != 0, 16);
        let component = field(options & COMPONENT_ID != 0 && options & GUID == 0, 4);
        let time = field(options & TIMESTAMP != 0, 8);
        let system = field(options & SYSTEM_INFO != 0, 8);
        // An absent field is fine; a field that is announced and cut is not.
        let all = |at: Option<usize>| at.map(|at| bytes.u32(at)).map_or(Some(None), |value| value.map(Some));
        let message = WppMessage {
            number,
            options,
            guid: guid.map_or(Some(None), |at| bytes.guid(at).map(Some))?,
            component: all(component)?,
            sequence: all(sequence)?,
        };
        Some(Event {
            id: EventId::Message(message),
            timestamp: time.map_or(Some(None), |at| bytes.i64(at).map(|tick| Some(Tick(tick))))?,
            thread: all(system)?,
            process: all(system.map(|at| at + 4))?,
            payload: raw.bytes.get(at..)?,
            ..blank(raw)
        })
    };
    read().ok_or_else(|| too_short(raw, "MESSAGE_TRACE_HEADER", 8))
}
