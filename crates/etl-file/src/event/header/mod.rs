//! Event headers, one file per kind.

mod event;
mod full;
mod message;
mod perfinfo;
mod system;

pub(super) use event::CLASSIC_HEADER;
pub use event::{ExtendedItem, ExtendedItems, ProviderEvent};
pub use message::WppMessage;

use super::RawEvent;
use crate::clock::Tick;
use crate::error::{Error, Result};
use crate::guid::Guid;
use crate::raw::{ExtendedType, HeaderKind, HookId};

/// An event with its header read.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'d> {
    /// The kind of its header.
    pub kind: HeaderKind,
    /// What it is about.
    pub id: EventId,
    /// When it was logged; absent from some WPP messages and from kinds whose layout is unknown.
    pub timestamp: Option<Tick>,
    /// The thread that logged it, where the header says; all ones when there was no thread.
    pub thread: Option<u32>,
    /// The process that logged it, where the header says.
    pub process: Option<u32>,
    /// The processor of its buffer.
    pub processor: u16,
    /// Version of the payload.
    pub version: u16,
    /// Bytes per pointer in the payload, 4 or 8; 8 where the kind does not say.
    pub pointer_size: u8,
    /// File offset; for an event of a compressed buffer, that of the buffer.
    pub offset: u64,
    /// Position in the buffer's events.
    pub position: u32,
    /// Performance counters of a PERFINFO header: up to 7 numbers of 8 bytes.
    pub counters: &'d [u8],
    /// PEBS index of a PERFINFO header.
    pub pebs_index: Option<u64>,
    /// Extended items of an EVENT_HEADER, as stored.
    extended: &'d [u8],
    /// What the event carries.
    pub payload: &'d [u8],
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventId {
    /// A kernel event as a session logs it.
    Hook(HookId),
    /// An event of a class, in the form from before manifests. A kernel event that was relogged is one too:
    /// [`Event::hook`] recognises it.
    Class {
        /// The class.
        guid: Guid,
        /// Type of event in the class.
        opcode: u8,
        /// Severity.
        level: u8,
    },
    /// An event of a provider.
    Provider(ProviderEvent),
    /// A WPP message.
    Message(WppMessage),
    /// A kind of header whose layout is not known; the payload is everything after its first 4 bytes.
    Unknown,
}

impl<'d> Event<'d> {
    /// The kind of kernel event, in either of the two forms that such events have in files: under a hook id, as a session
    /// logs them, or under a class, as the API's relogger writes them. `None` for events that are not the kernel's.
    pub fn hook(&self) -> Option<HookId> {
        match self.id {
            EventId::Hook(hook) => Some(hook),
            EventId::Class { guid, opcode, .. } => HookId::of_class(guid, opcode),
            _ => None,
        }
    }

    /// The GUID that consumers on Windows see as the event's provider: the class of a kernel event in either form, the
    /// class of a classic event, the provider of a manifest's or TraceLogging event, the class of a WPP message. `None`
    /// where the event has none and the group of its hook id is not known.
    pub fn class(&self) -> Option<Guid> {
        match self.id {
            EventId::Hook(hook) => hook.class(),
            EventId::Class { guid, .. } => Some(guid),
            EventId::Provider(event) => Some(event.provider),
            EventId::Message(message) => message.guid,
            EventId::Unknown => None,
        }
    }

    /// The extended items of an EVENT_HEADER: stacks, TraceLogging schemas and more.
    pub fn extended_items(&self) -> ExtendedItems<'d> {
        ExtendedItems::new(self.extended)
    }

    /// The first extended item of a type.
    pub fn extended_item(&self, kind: ExtendedType) -> Option<&'d [u8]> {
        self.extended_items().find(|item| item.kind == kind).map(|item| item.data)
    }
}

pub(super) fn parse<'d>(raw: &RawEvent<'d>) -> Result<Event<'d>> {
    match raw.kind {
        HeaderKind::SYSTEM32 | HeaderKind::SYSTEM64 | HeaderKind::COMPACT32 | HeaderKind::COMPACT64 => {
            system::parse(raw)
        }
        HeaderKind::PERFINFO32 | HeaderKind::PERFINFO64 => perfinfo::parse(raw),
        HeaderKind::FULL_HEADER32 | HeaderKind::FULL_HEADER64 | HeaderKind::INSTANCE32 | HeaderKind::INSTANCE64 => {
            full::parse(raw)
        }
        HeaderKind::EVENT_HEADER32 | HeaderKind::EVENT_HEADER64 => event::parse(raw),
        HeaderKind::WPP => message::parse(raw),
        _ => Ok(Event { payload: &raw.bytes[4.min(raw.bytes.len())..], ..blank(raw) }),
    }
}

/// An event with nothing read but what the raw event says.
fn blank<'d>(raw: &RawEvent<'d>) -> Event<'d> {
    Event {
        kind: raw.kind,
        id: EventId::Unknown,
        timestamp: None,
        thread: None,
        process: None,
        processor: raw.processor,
        version: 0,
        pointer_size: raw.kind.pointer_size().unwrap_or(8),
        offset: raw.offset,
        position: raw.position,
        counters: &[],
        pebs_index: None,
        extended: &[],
        payload: &[],
    }
}

/// The error for an event that is too short for its header.
fn too_short(raw: &RawEvent<'_>, structure: &'static str, need: usize) -> Error {
    Error::short(raw.offset, structure, raw.bytes.len() as u64, need as u64)
}
