//! Event headers of every kind whose layout is published.

use super::{Error, Result};
use crate::clock::Tick;
use crate::event::{Event, EventId, ProviderEvent, WppMessage};
use crate::guid::Guid;
use crate::raw::{ExtendedType, HeaderKind, HookId};

/// What an event's header says: the mirror of [`Event`], without the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// The kind of header. It says how wide the payload's pointers are.
    pub kind: HeaderKind,
    /// What the event is about; must suit the kind.
    pub id: EventId,
    /// When it was logged. A WPP message has it if its options say so.
    pub timestamp: Tick,
    /// The thread that logged it. PERFINFO headers do not say.
    pub thread: u32,
    /// The process that logged it. PERFINFO headers do not say.
    pub process: u32,
    /// Version of the payload: 8 bits in PERFINFO and EVENT_HEADER.
    pub version: u16,
    /// Performance counters of a PERFINFO header, up to 7.
    pub counters: Vec<u64>,
    /// PEBS index of a PERFINFO header.
    pub pebs_index: Option<u64>,
    /// Extended items of an EVENT_HEADER.
    pub items: Vec<(ExtendedType, Vec<u8>)>,
}

impl EventHeader {
    /// A header without counters and items.
    pub fn new(kind: HeaderKind, id: EventId, timestamp: Tick) -> Self {
        let (counters, items) = (Vec::new(), Vec::new());
        Self { kind, id, timestamp, thread: 0, process: 0, version: 0, counters, pebs_index: None, items }
    }

    /// The header of an event that was read: kind, what it is about, time, thread, process and version. Counters and
    /// extended items are left out; [`Self::with_extensions`] adds them.
    pub fn of(event: &Event<'_>) -> Self {
        Self {
            thread: event.thread.unwrap_or(0),
            process: event.process.unwrap_or(0),
            version: event.version,
            ..Self::new(event.kind, event.id, event.timestamp.unwrap_or_default())
        }
    }

    /// The same with the counters and extended items of `event`.
    #[must_use]
    pub fn with_extensions(self, event: &Event<'_>) -> Self {
        let (words, _) = event.counters.as_chunks::<8>();
        Self {
            counters: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
            pebs_index: event.pebs_index,
            items: event.extended_items().map(|item| (item.kind, item.data.to_vec())).collect(),
            ..self
        }
    }

    /// Appends header and payload to `out`.
    pub(super) fn encode(&self, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let mut to = Sink { out };
        let size_at = match (self.kind.0, self.id) {
            (1..=4, EventId::Hook(hook)) => self.system(hook, &mut to),
            (16 | 17, EventId::Hook(hook)) => self.perfinfo(hook, &mut to)?,
            (10 | 11 | 20 | 21, EventId::Class { guid, opcode, level }) => self.full(guid, opcode, level, &mut to),
            (18 | 19, EventId::Provider(event)) => self.provider(&event, &mut to)?,
            (18 | 19, EventId::Class { guid, opcode, level }) => {
                let mut event = ProviderEvent::new(guid, 0);
                (event.opcode, event.level, event.flags) = (opcode, level, CLASSIC_HEADER);
                self.provider(&event, &mut to)?
            }
            (_, EventId::Message(message)) if self.kind == HeaderKind::WPP => self.message(&message, &mut to),
            _ => return Err(Error::layout("event header", (self.kind, self.id))),
        };
        out.extend_from_slice(payload);
        let size = out.len() - start;
        let size = u16::try_from(size).map_err(|_| Error::size("event", size as u64, u16::MAX.into()))?;
        out[start + size_at..start + size_at + 2].copy_from_slice(&size.to_le_bytes());
        Ok(())
    }

    /// SYSTEM_TRACE_HEADER; the COMPACT form ends before the processor times. Answers where the size is.
    fn system(&self, hook: HookId, to: &mut Sink<'_>) -> usize {
        to.u16(self.version).u8(self.kind.0 as u8).u8(EVENT).u16(0).u16(hook.0);
        to.u32(self.thread).u32(self.process).i64(self.timestamp.0);
        if matches!(self.kind, HeaderKind::SYSTEM32 | HeaderKind::SYSTEM64) {
            to.u64(0);
        }
        4
    }

    /// PERFINFO_TRACE_HEADER, with the bits in its version that announce what follows it.
    fn perfinfo(&self, hook: HookId, to: &mut Sink<'_>) -> Result<usize> {
        const MOST: usize = 7;
        if self.counters.len() > MOST {
            return Err(Error::size("performance counters", 8 * self.counters.len() as u64, 8 * MOST as u64));
        }
        let pebs = if self.pebs_index.is_some() { 0x8000 } else { 0 };
        to.u16(self.version & 0xff | (self.counters.len() as u16) << 8 | pebs).u8(self.kind.0 as u8).u8(EVENT);
        to.u16(0).u16(hook.0).i64(self.timestamp.0);
        for &word in self.pebs_index.iter().chain(&self.counters) {
            to.u64(word);
        }
        Ok(4)
    }

    /// EVENT_TRACE_HEADER, and EVENT_INSTANCE_GUID_HEADER with instances of zero.
    fn full(&self, guid: Guid, opcode: u8, level: u8, to: &mut Sink<'_>) -> usize {
        to.u16(0).u8(self.kind.0 as u8).u8(EVENT).u8(opcode).u8(level).u16(self.version);
        to.u32(self.thread).u32(self.process).i64(self.timestamp.0).bytes(&guid.0).u64(0);
        if matches!(self.kind, HeaderKind::INSTANCE32 | HeaderKind::INSTANCE64) {
            to.bytes(&[0; 24]);
        }
        0
    }

    /// EVENT_HEADER and its extended items.
    fn provider(&self, event: &ProviderEvent, to: &mut Sink<'_>) -> Result<usize> {
        let extended = u16::from(!self.items.is_empty());
        to.u16(0).u8(self.kind.0 as u8).u8(EVENT).u16(event.flags & !EXTENDED_INFO | extended).u16(0);
        to.u32(self.thread).u32(self.process).i64(self.timestamp.0).bytes(&event.provider.0);
        to.u16(event.id).u8(self.version as u8).u8(event.channel).u8(event.level).u8(event.opcode).u16(event.task);
        to.u64(event.keyword).u64(0).bytes(&event.activity.0);
        for (index, (kind, data)) in self.items.iter().enumerate() {
            let total = (8 + data.len()).next_multiple_of(8);
            let total = u16::try_from(total).map_err(|_| Error::size("extended item", total as u64, 0xfff8))?;
            let more = index + 1 < self.items.len();
            to.u16(total).u16(kind.0).u16(more.into()).u16(data.len() as u16).bytes(data);
            to.bytes(&[0; 7][..usize::from(total) - 8 - data.len()]);
        }
        Ok(0)
    }

    /// MESSAGE_TRACE_HEADER, and what its options announce.
    fn message(&self, message: &WppMessage, to: &mut Sink<'_>) -> usize {
        to.u16(0).u8(0).u8(MESSAGE).u16(message.number).u16(message.options);
        if message.has_sequence() {
            to.u32(message.sequence.unwrap_or(0));
        }
        if message.has_guid() {
            to.bytes(&message.guid.unwrap_or(Guid([0; 16])).0);
        } else if message.has_component() {
            to.u32(message.component.unwrap_or(0));
        }
        if message.has_timestamp() {
            to.i64(self.timestamp.0);
        }
        if message.has_system_info() {
            to.u32(self.thread).u32(self.process);
        }
        0
    }
}

/// Marker byte of an event: TRACE_HEADER_FLAG and TRACE_HEADER_EVENT_TRACE.
const EVENT: u8 = 0xc0;
/// Marker byte of a WPP message.
const MESSAGE: u8 = 0x90;
/// EVENT_HEADER_FLAG_EXTENDED_INFO.
const EXTENDED_INFO: u16 = 1;
/// EVENT_HEADER_FLAG_CLASSIC_HEADER.
const CLASSIC_HEADER: u16 = 0x100;

/// Little-endian numbers and bytes, appended.
pub(super) struct Sink<'o> {
    pub out: &'o mut Vec<u8>,
}

impl Sink<'_> {
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// UTF-16 text with its NUL; a NUL inside ends it.
    pub fn utf16(&mut self, text: &str) -> &mut Self {
        for unit in text.encode_utf16().take_while(|&unit| unit != 0).chain([0]) {
            self.u16(unit);
        }
        self
    }

    /// UTF-8 text with its NUL; a NUL inside ends it.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.split('\0').next().unwrap_or_default().as_bytes()).u8(0)
    }
}
