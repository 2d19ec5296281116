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

impl WppMessage {
    /// A message to be written, with what `options` announces left at zero.
    pub fn new(number: u16, options: u16) -> Self {
        Self { number, options, guid: None, component: None, sequence: None }
    }

    pub(crate) fn has_sequence(&self) -> bool {
        self.options & SEQUENCE != 0
    }

    pub(crate) fn has_guid(&self) -> bool {
        self.options & GUID != 0
    }

    /// A component stands in place of a class.
    pub(crate) fn has_component(&self) -> bool {
        self.options & COMPONENT_ID != 0 && !self.has_guid()
    }

    pub(crate) fn has_timestamp(&self) -> bool {
        self.options & TIMESTAMP != 0
    }

    pub(crate) fn has_system_info(&self) -> bool {
        self.options & SYSTEM_INFO != 0
    }
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
        let mut message = WppMessage::new(bytes.u16(4)?, bytes.u16(6)?);
        let mut at = 8;
        let mut field = |present: bool, size: usize| {
            let here = at;
            at += if present { size } else { 0 };
            present.then_some(here)
        };
        let sequence = field(message.has_sequence(), 4);
        let guid = field(message.has_guid(), 16);
        let component = field(message.has_component(), 4);
        let time = field(message.has_timestamp(), 8);
        let system = field(message.has_system_info(), 8);
        // An absent field is fine; a field that is announced and cut is not.
        let all = |at: Option<usize>| at.map(|at| bytes.u32(at)).map_or(Some(None), |value| value.map(Some));
        message.guid = guid.map_or(Some(None), |at| bytes.guid(at).map(Some))?;
        (message.component, message.sequence) = (all(component)?, all(sequence)?);
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
