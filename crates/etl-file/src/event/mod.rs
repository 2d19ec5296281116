//! The events in a buffer: first raw (kind, size, bytes), then with their header read.

mod filter;
mod header;

pub use filter::Filter;
pub use header::{Event, EventId, ExtendedItem, ExtendedItems, ProviderEvent, WppMessage};

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::raw::{BUFFER_HEADER, HeaderKind};

/// An event whose extent is known and whose header is not read yet.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RawEvent<'d> {
    /// The kind of its header.
    pub kind: HeaderKind,
    /// Header and payload.
    pub bytes: &'d [u8],
    /// File offset; for an event of a compressed buffer, that of the buffer.
    pub offset: u64,
    /// Position among the buffer's events in bytes: identifies an event in its buffer, and orders them.
    pub position: u32,
    /// Processor of the buffer.
    pub processor: u16,
}

impl<'d> RawEvent<'d> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the event is too short for its kind of header.
    pub fn parse(&self) -> Result<Event<'d>> {
        header::parse(self)
    }
}

/// The events of one buffer, in the order in which they were logged. Damage ends the buffer: nothing after an event of
/// unknown length can be found, so the iterator yields one error that says how much is lost, and then ends.
#[derive(Clone, Debug)]
pub struct Events<'d> {
    body: &'d [u8],
    at: usize,
    /// File offset of the buffer.
    buffer: u64,
    compressed: bool,
    processor: u16,
    /// The file ends inside the buffer: an event cut there is not further damage.
    cut: bool,
    seen: u64,
}

/// What begins at a position of a buffer.
enum Step {
    /// An event of this kind and size.
    Event(HeaderKind, usize),
    End,
    Damage,
}

/// The smallest header: that of a WPP message.
const SMALLEST: usize = 8;

impl<'d> Events<'d> {
    pub(crate) fn new(body: &'d [u8], buffer: u64, compressed: bool, processor: u16, cut: bool) -> Self {
        Self { body, at: 0, buffer, compressed, processor, cut, seen: 0 }
    }

    /// The same events from `position` on, which is where one begins.
    pub(crate) fn starting_at(self, position: usize) -> Self {
        Self { at: position, ..self }
    }

    /// Where the next event begins.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// Events passed so far, including those that a filter held back.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The next event that `filter` lets through. This is the fast path over a trace: an event that is not wanted costs
    /// a load of its first 8 bytes, and a class event that of its GUID.
    #[inline]
    pub fn next_matching(&mut self, filter: &Filter) -> Option<Result<RawEvent<'d>>> {
        loop {
            let at = self.at;
            // What is shorter than any header is padding of the last event.
            let word = Bytes(self.body).u64(at)?;
            let (kind, size) = match step(word) {
                Step::Event(kind, size) => (kind, size),
                Step::End => return None,
                Step::Damage => return self.damage("event marker", word & 0xffff_ffff, "a trace marker"),
            };
            if size < header_length(kind) {
                return self.damage("event size", size as u64, "the size of its header and more");
            }
            let Some(bytes) = Bytes(self.body).slice(at, size) else { return self.overlong(size) };
            self.seen += 1;
            // Events are 8-byte aligned, and so is the body; the last one's padding may be missing.
            self.at = at + size.next_multiple_of(8);
            if filter.admits(kind, word, bytes) {
                return Some(Ok(RawEvent {
                    kind,
                    bytes,
                    offset: self.file_offset(at),
                    position: at as u32,
                    processor: self.processor,
                }));
            }
        }
    }

    /// Counts the remaining events.
    pub fn count_rest(&mut self) -> u64 {
        let before = self.seen;
        let nothing = Filter::none();
        while self.next_matching(&nothing).is_some() {}
        self.seen - before
    }

    fn file_offset(&self, at: usize) -> u64 {
        if self.compressed { self.buffer } else { self.buffer + (BUFFER_HEADER + at) as u64 }
    }

    #[cold]
    fn overlong(&mut self, size: usize) -> Option<Result<RawEvent<'d>>> {
        if self.cut {
            return None;
        }
        let left = (self.body.len() - self.at) as u64;
        let error = Error::short(self.file_offset(self.at), "event", left, size as u64);
        self.at = self.body.len();
        Some(Err(error))
    }

    #[cold]
    fn damage(&mut self, field: &'static str, found: u64, allowed: &'static str) -> Option<Result<RawEvent<'d>>> {
        let left = (self.body.len() - self.at) as u64;
        let error = Error::value(self.file_offset(self.at), "event", field, found, allowed).losing(left);
        self.at = self.body.len();
        Some(Err(error))
    }
}

impl<'d> Iterator for Events<'d> {
    type Item = Result<RawEvent<'d>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_matching(Filter::all())
    }
}

/// Reads kind and size out of an event's first 8 bytes.
///
/// ```text
///   byte 0  1  2     3       4  5  6  7
///        version type marker size  hook       SYSTEM, COMPACT, PERFINFO
///        size    type marker ...              everything else
/// ```
///
/// Marker: 0xC0 an event, 0x90 a WPP message (ntwmi.h in phnt, TRACE_HEADER_FLAG and following).
#[inline(always)]
fn step(word: u64) -> Step {
    let size_first = (word & 0xffff) as usize;
    let size_second = (word >> 32 & 0xffff) as usize;
    match (word >> 24) as u8 {
        0xc0 => {
            let kind = HeaderKind((word >> 16 & 0xff) as u16);
            let system = matches!(kind.0, 1..=4 | 16 | 17);
            Step::Event(kind, if system { size_second } else { size_first })
        }
        marker => rare_step(word, marker, size_first),
    }
}

#[cold]
fn rare_step(word: u64, marker: u8, size: usize) -> Step {
    const HEADER: u8 = 0x80;
    const EVENT: u8 = 0x40;
    const MESSAGE: u8 = 0x10;
    const ULONG32_TIME: u8 = 0xb0;
    if word as u32 == u32::MAX {
        // The unused tail of a buffer.
        Step::End
    } else if marker & HEADER == 0 {
        Step::Damage
    } else if marker & EVENT != 0 {
        // The other marker bits of an event have no published meaning; the type byte decides here too.
        step(word & !0xff00_0000 | 0xc000_0000)
    } else if marker & ULONG32_TIME == ULONG32_TIME {
        Step::Event(HeaderKind::ULONG32_TIME, size)
    } else if marker & MESSAGE != 0 {
        Step::Event(HeaderKind::WPP, size)
    } else {
        Step::Damage
    }
}

/// Bytes of the smallest header of a kind, by byte 2 of its marker.
#[inline(always)]
fn header_length(kind: HeaderKind) -> usize {
    const LENGTHS: [u8; 256] = {
        let mut lengths = [SMALLEST as u8; 256];
        (lengths[1], lengths[2], lengths[3], lengths[4]) = (32, 32, 24, 24);
        (lengths[10], lengths[20], lengths[11], lengths[21]) = (48, 48, 72, 72);
        (lengths[16], lengths[17], lengths[18], lengths[19]) = (16, 16, 80, 80);
        lengths
    };
    // Kinds above 255 have no such byte.
    if kind.0 > 0xff { SMALLEST } else { usize::from(LENGTHS[usize::from(kind.0 as u8)]) }
}
