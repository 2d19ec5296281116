//! The buffers of a session: what the header says, where the data end, and the records up to there.
//!
//! ```text
//! WMI_BUFFER_HEADER                 a buffer                  SavedOffset    CurrentOffset
//! 00 u32 BufferSize                 never used                0              48
//! 04 u32 SavedOffset                current on a processor    0              the end
//! 08 u32 CurrentOffset              given back by a flush     the end        BufferSize + the end
//! 10 i64 TimeStamp                  given back when full      the end        the end + the event that did not fit
//! 18 i64 SequenceNumber             filling up right now      0              more than BufferSize
//! 28 u16 processor, u16 session
//! 2c u32 State, 30 u32 Offset, 34 u16 BufferFlag, 36 u16 BufferType, 38 LIST_ENTRY GlobalEntry
//! ```
//!
//! After 102 buffers of two real dumps, but for the last row, which was not seen. A free buffer still has its last events.

use etl_file::write::{Body, Packing, Plan, Writer};
use etl_file::{LogHeader, Tick, Trace};

use crate::memory::{Reader, long, short, word};

/// Bytes of `WMI_BUFFER_HEADER`.
pub(crate) const HEADER: u32 = 0x48;
/// The smallest buffer of a session; sizes are multiples of it.
pub(crate) const MIN_BUFFER: u32 = 0x400;
/// The largest one.
pub(crate) const MAX_BUFFER: u32 = 16 << 20;
/// `BufferFlag` of a buffer whose body is compressed.
const COMPRESSED: u16 = 0x40;
/// `BufferType` of a buffer with compact records of context switches.
const CONTEXT_SWAP: u16 = 2;

/// What a buffer is being used for: `_ETW_BUFFER_STATE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferState(pub u32);

impl BufferState {
    /// At rest; it may hold the events of its last use.
    pub const FREE: Self = Self(0);
    /// A processor's current one.
    pub const GENERAL_LOGGING: Self = Self(1);
    /// Takes compact records of context switches.
    pub const CSWITCH: Self = Self(2);
    /// Being written out.
    pub const FLUSH: Self = Self(3);
    /// Waits to be compressed.
    pub const PENDING_COMPRESSION: Self = Self(4);
    /// Compressed.
    pub const COMPRESSED: Self = Self(5);
    /// Stands for a buffer that is elsewhere.
    pub const PLACEHOLDER: Self = Self(6);

    /// The kernel's name.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::FREE => "free",
            Self::GENERAL_LOGGING => "general-logging",
            Self::CSWITCH => "cswitch",
            Self::FLUSH => "flush",
            Self::PENDING_COMPRESSION => "pending-compression",
            Self::COMPRESSED => "compressed",
            Self::PLACEHOLDER => "placeholder",
            _ => return None,
        })
    }
}

/// A buffer that can hold events.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionBuffer {
    /// Where it is in the memory that the session was read of.
    pub address: u64,
    /// The processor whose events it holds.
    pub processor: u16,
    /// Its number; a current buffer still has that of its last use.
    pub sequence: i64,
    /// When it was given back, by the session's clock; 0 for a current one.
    pub time: Tick,
    /// What it is being used for.
    pub state: BufferState,
    /// Where the data end by its header, counted from its start.
    pub end: u32,
    /// How many events there are.
    pub events: u64,
    /// Bytes of the events, with what fills them up to multiples of 8.
    pub bytes: u64,
    /// Tick of the first event that has one, and of the last.
    pub first: Option<Tick>,
    /// See `first`.
    pub last: Option<Tick>,
    /// Bytes before `end` that are no records, or are not held.
    pub cut: u32,
}

/// The header of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub size: u32,
    pub saved: u32,
    pub current: u32,
    pub time: i64,
    pub sequence: i64,
    pub processor: u16,
    pub session: u16,
    pub state: BufferState,
    pub flags: u16,
    pub kind: u16,
}

/// Why a buffer is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    Compact,
    Compressed,
    Placeholder,
}

impl Header {
    pub fn read(reader: Reader<'_>, address: u64) -> Option<Self> {
        Some(Self::parse(&reader.bytes::<{ HEADER as usize }>(address, 0)?))
    }

    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            size: word(bytes, 0),
            saved: word(bytes, 4),
            current: word(bytes, 8),
            time: long(bytes, 0x10) as i64,
            sequence: long(bytes, 0x18) as i64,
            processor: short(bytes, 0x28),
            session: short(bytes, 0x2a),
            state: BufferState(word(bytes, 0x2c)),
            flags: short(bytes, 0x34),
            kind: short(bytes, 0x36),
        }
    }

    /// Where the data end; the header's length when there are none.
    pub fn end(&self) -> u32 {
        let end = match (self.current, self.saved) {
            (current, _) if current <= self.size => current,
            // An event did not fit, and the switch to another buffer had not happened yet.
            (_, 0) => self.size,
            (_, saved) if saved <= self.size => saved,
            _ => HEADER,
        };
        end.max(HEADER)
    }

    pub fn skip(&self) -> Option<Skip> {
        match self.state {
            BufferState::CSWITCH => Some(Skip::Compact),
            BufferState::PENDING_COMPRESSION | BufferState::COMPRESSED => Some(Skip::Compressed),
            BufferState::PLACEHOLDER => Some(Skip::Placeholder),
            _ if self.flags & COMPRESSED != 0 => Some(Skip::Compressed),
            _ if self.kind == CONTEXT_SWAP => Some(Skip::Compact),
            _ => None,
        }
    }
}

/// What is left of the work that a dump may cause: no more bytes of headers and buffers than it holds.
#[derive(Debug)]
pub(crate) struct Budget(pub u64);

impl Budget {
    pub fn take(&mut self, bytes: u32) -> bool {
        let rest = self.0.checked_sub(bytes.into());
        self.0 = rest.unwrap_or(0);
        rest.is_some()
    }
}

/// The records of one buffer.
#[derive(Default)]
pub(crate) struct Records {
    pub body: Body,
    pub first: Option<Tick>,
    pub last: Option<Tick>,
    /// Bytes of the data, from the buffer's header on, up to the last record's end.
    pub end: u32,
}

/// Finds the records of a buffer of `processor`, whose `data` follow its header; what begins with the first that is none
/// is left out. `etl-file` reads them, in a file made for the purpose: a first buffer with nothing but a log-file header,
/// and one with the data. Work and memory are in proportion to the data.
pub(crate) fn records(processor: u16, data: &[u8]) -> Records {
    let mut found = Records { end: HEADER, ..Records::default() };
    if data.is_empty() {
        return found;
    }
    let filled = HEADER + data.len() as u32;
    let size = filled.next_multiple_of(MIN_BUFFER);
    let first = Plan::new(LogHeader::new(8, size), Packing::Plain).lay_out().and_then(|layout| {
        let mut writer = Writer::new(&layout, Vec::with_capacity(2 * size as usize));
        writer.buffer(&Body::default())?;
        writer.finish()
    });
    let Ok(mut file) = first else { return found };
    let mut header = [0; HEADER as usize];
    for (at, value) in [(0x00, size), (0x04, filled), (0x08, filled), (0x2c, 3), (0x30, filled), (0x34, 0x20)] {
        header[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    header[0x28..0x2a].copy_from_slice(&processor.to_le_bytes());
    file.extend_from_slice(&header);
    file.extend_from_slice(data);
    file.resize(2 * size as usize, 0xff);
    let Ok(trace) = Trace::parse(&file) else { return found };
    let Some(Ok(buffer)) = trace.buffers().nth(1) else { return found };
    for event in buffer.plain_events().into_iter().flatten().map_while(Result::ok) {
        found.end = HEADER + event.position + event.bytes.len() as u32;
        let tick = event.parse().ok().and_then(|event| event.timestamp);
        found.first = found.first.or(tick);
        found.last = tick.or(found.last);
        found.body.raw(&event);
    }
    found
}

/// The data of a buffer, as far as they are held, and their records.
pub(crate) fn read_records(reader: Reader<'_>, address: u64, processor: u16, end: u32) -> Records {
    let data = match address.checked_add(HEADER.into()) {
        Some(from) if end > HEADER => reader.up_to(from, (end - HEADER) as usize),
        _ => Vec::new(),
    };
    records(processor, &data)
}

impl SessionBuffer {
    /// Reads the buffer whose header this is.
    pub(crate) fn read(reader: Reader<'_>, address: u64, header: &Header) -> Self {
        let end = header.end();
        let found = read_records(reader, address, header.processor, end);
        Self {
            address,
            processor: header.processor,
            sequence: header.sequence,
            time: Tick(header.time),
            state: header.state,
            end,
            events: found.body.events(),
            bytes: found.body.len() as u64,
            first: found.first,
            last: found.last,
            // Padding after the last record is not a loss.
            cut: end - found.end.next_multiple_of(8).min(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BufferState, HEADER, Header, Skip};

    fn header(saved: u32, current: u32) -> Header {
        let mut bytes = [0; HEADER as usize];
        bytes[..4].copy_from_slice(&0x2000u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&saved.to_le_bytes());
        bytes[8..12].copy_from_slice(&current.to_le_bytes());
        Header::parse(&bytes)
    }

    #[test]
    fn where_data_end() {
        for (what, saved, current, end) in [
            ("never used", 0, 0x48, 0x48),
            ("current", 0, 0x120, 0x120),
            ("given back by a flush", 0x120, 0x2120, 0x120),
            ("given back when full", 0x1ff0, 0x2040, 0x1ff0),
            ("filling up", 0, 0x2040, 0x2000),
            ("both are wrong", 0x2001, 0x2001, 0x48),
            ("before the header's end", 0, 7, 0x48),
        ] {
            assert_eq!(header(saved, current).end(), end, "{what}");
        }
    }

    #[test]
    fn which_buffers_are_not_read() {
        for (state, flags, kind, expected) in [
            (0, 0x100, 0, None),
            (1, 0, 0, None),
            (2, 0, 0, Some(Skip::Compact)),
            (3, 0, 0, None),
            (4, 0, 0, Some(Skip::Compressed)),
            (5, 0, 0, Some(Skip::Compressed)),
            (6, 0, 0, Some(Skip::Placeholder)),
            (0, 0x40, 0, Some(Skip::Compressed)),
            (1, 0, 2, Some(Skip::Compact)),
        ] {
            let header = Header { state: BufferState(state), flags, kind, ..header(0, 0x48) };
            assert_eq!(header.skip(), expected, "state {state}, flags {flags:#x}, kind {kind}");
        }
    }
}
