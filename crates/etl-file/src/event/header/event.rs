//! EVENT_HEADER: 80 bytes, then extended items, then the payload.

use super::{Event, EventId, RawEvent, blank, too_short};
use crate::bytes::Bytes;
use crate::clock::Tick;
use crate::error::{Error, Result};
use crate::guid::Guid;
use crate::raw::{ExtendedType, RawEventHeader};

/// An event of a provider: a manifest's, or one that describes itself (TraceLogging).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderEvent {
    /// The provider.
    pub provider: Guid,
    /// Number of the event; 0 for TraceLogging events.
    pub id: u16,
    /// Channel: 11 for TraceLogging events.
    pub channel: u8,
    /// Severity: 1 critical to 5 verbose.
    pub level: u8,
    /// Step in an activity.
    pub opcode: u8,
    /// Component of the provider.
    pub task: u16,
    /// Category bits.
    pub keyword: u64,
    /// Activity that the event belongs to.
    pub activity: Guid,
    /// EVENT_HEADER_FLAG_* bits of evntcons.h.
    pub flags: u16,
}

impl ProviderEvent {
    /// An event of a provider to be written: informational, everything else zero.
    pub fn new(provider: Guid, id: u16) -> Self {
        Self { provider, id, channel: 0, level: 4, opcode: 0, task: 0, keyword: 0, activity: Guid([0; 16]), flags: 0 }
    }
}

/// EVENT_HEADER_FLAG_EXTENDED_INFO.
const EXTENDED_INFO: u16 = 1;
/// EVENT_HEADER_FLAG_CLASSIC_HEADER: the event was logged in the form from before manifests. The provider is its class
/// and the opcode its type.
pub(in crate::event) const CLASSIC_HEADER: u16 = 0x100;

pub(super) fn parse<'d>(raw: &RawEvent<'d>) -> Result<Event<'d>> {
    const HEADER: usize = size_of::<RawEventHeader>();
    let bytes = Bytes(raw.bytes);
    let header: &RawEventHeader = bytes.raw(0).ok_or_else(|| too_short(raw, "EVENT_HEADER", HEADER))?;
    let after = bytes.rest(HEADER);
    let extended = match header.flags.get() & EXTENDED_INFO {
        0 => &[][..],
        _ => ExtendedItems::extent(after).ok_or_else(|| {
            Error::lost(raw.offset, raw.bytes.len() as u64, "EVENT_HEADER", "its extended items run past its end")
        })?,
    };
    let provider = ProviderEvent {
        provider: Guid(header.provider_id),
        id: header.id.get(),
        channel: header.channel,
        level: header.level,
        opcode: header.opcode,
        task: header.task.get(),
        keyword: header.keyword.get(),
        activity: Guid(header.activity_id),
        flags: header.flags.get(),
    };
    let id = match provider.flags & CLASSIC_HEADER {
        0 => EventId::Provider(provider),
        _ => EventId::Class { guid: provider.provider, opcode: provider.opcode, level: provider.level },
    };
    Ok(Event {
        id,
        timestamp: Some(Tick(header.time_stamp.get())),
        thread: Some(header.thread_id.get()),
        process: Some(header.process_id.get()),
        version: header.version.into(),
        extended,
        payload: &after[extended.len()..],
        ..blank(raw)
    })
}

/// One extended item of an EVENT_HEADER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtendedItem<'d> {
    /// What it is.
    pub kind: ExtendedType,
    /// Its data.
    pub data: &'d [u8],
}

/// The extended items of an EVENT_HEADER.
///
/// ```text
///   u16 TotalSize   this header and the data, rounded up to 8
///   u16 ExtType
///   u16 Linkage     bit 0: another item follows
///   u16 DataSize
/// ```
#[derive(Clone, Debug)]
pub struct ExtendedItems<'d>(Bytes<'d>);

impl<'d> ExtendedItems<'d> {
    pub(super) fn new(items: &'d [u8]) -> Self {
        Self(Bytes(items))
    }

    /// The bytes at the start of `bytes` that are items; `None` when an item runs past the end or cannot be one.
    fn extent(bytes: &'d [u8]) -> Option<&'d [u8]> {
        let mut end = 0;
        loop {
            let here = Bytes(bytes.get(end..)?);
            let (total, linkage, data) = (here.u16(0)?, here.u16(4)?, here.u16(6)?);
            if total < 8 || data > total - 8 {
                return None;
            }
            end += usize::from(total);
            if linkage & 1 == 0 {
                return bytes.get(..end);
            }
        }
    }
}

impl<'d> Iterator for ExtendedItems<'d> {
    type Item = ExtendedItem<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        let item =
            ExtendedItem { kind: ExtendedType(self.0.u16(2)?), data: self.0.slice(8, usize::from(self.0.u16(6)?))? };
        self.0 = Bytes(self.0.rest(usize::from(self.0.u16(0)?).max(8)));
        Some(item)
    }
}
