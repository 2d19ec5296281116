//! Buffers: what a file consists of.

use crate::bytes::{Bytes, is_zero};
use crate::clock::Tick;
use crate::compress::{self, CompressionFormat, Scratch};
use crate::error::{Error, Result};
use crate::event::Events;
use crate::log_header::{LogFileMode, LogHeader};
use crate::raw::{BUFFER_HEADER, BufferFlags, BufferType, MAX_BUFFER, WmiBufferHeader};
use std::ops::Range;

/// What a buffer's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferHeader {
    /// Distance to the next buffer, in bytes.
    pub size: u32,
    /// Valid bytes, header included, once decompressed (FilledBytes).
    pub filled: u32,
    /// When the buffer was flushed, in ticks; in merged files a FILETIME (measured).
    pub flushed: Tick,
    /// Counts the session's buffers, those of all processors together; need not start at 0.
    pub sequence: i64,
    /// Processor whose events the buffer holds.
    pub processor: u16,
    /// Session; 0 in merged files.
    pub logger_id: u16,
    /// What the buffer is and what was lost before it.
    pub flags: BufferFlags,
    /// What it is for.
    pub kind: BufferType,
}

impl BufferHeader {
    /// The header of a buffer to be written with events of `processor`. Size and fill follow when it is written.
    pub fn new(processor: u16, sequence: i64) -> Self {
        Self {
            size: 0,
            filled: 0,
            flushed: Tick(0),
            sequence,
            processor,
            logger_id: 0,
            flags: BufferFlags::PROCESSOR_INDEX,
            kind: BufferType::GENERIC,
        }
    }

    /// The header of a file's first buffer, to be written.
    pub fn first() -> Self {
        Self { kind: BufferType::HEADER, ..Self::new(0, 0) }
    }

    fn from_raw(raw: &WmiBufferHeader) -> Self {
        let flags = BufferFlags(raw.buffer_flag.get());
        let index = raw.processor_index.get();
        Self {
            size: raw.buffer_size.get(),
            filled: raw.filled_bytes.get(),
            flushed: Tick(raw.time_stamp.get()),
            sequence: raw.sequence_number.get(),
            // Without the flag the field is a byte, and the next byte is an alignment that Windows 7 sets to 8.
            processor: if flags.has(BufferFlags::PROCESSOR_INDEX) { index & 0x7ff } else { index & 0xff },
            logger_id: raw.logger_id.get(),
            flags,
            kind: BufferType(raw.buffer_type.get()),
        }
    }
}

/// One buffer of a file.
#[derive(Clone, Copy, Debug)]
pub struct Buffer<'a> {
    offset: u64,
    header: BufferHeader,
    format: CompressionFormat,
    /// What follows the header, up to the end of the events or of the file.
    body: &'a [u8],
    /// Bytes of the body once decompressed; for a plain buffer, where the events end.
    filled: usize,
    /// True when the file ends inside the events.
    cut: bool,
}

impl<'a> Buffer<'a> {
    /// File offset of the header.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The header.
    pub fn header(&self) -> &BufferHeader {
        &self.header
    }

    /// True when the body must be decompressed before its events can be read.
    pub fn is_compressed(&self) -> bool {
        self.header.flags.has(BufferFlags::COMPRESSED)
    }

    /// The body as the file holds it: events, or a compressed stream of them.
    pub fn stored(&self) -> &'a [u8] {
        self.body
    }

    /// The events of a plain buffer, borrowed from the file; `None` when it is compressed.
    pub fn plain_events(&self) -> Option<Events<'a>> {
        (!self.is_compressed()).then(|| Events::new(self.body, self.offset, false, self.header.processor, self.cut))
    }

    /// The events, decompressed into `scratch` if need be.
    ///
    /// # Errors
    /// A compressed body that cannot be decompressed as a whole is lost as a whole.
    pub fn events<'s>(&self, scratch: &'s mut Scratch) -> Result<Events<'s>>
    where
        'a: 's,
    {
        self.unpack(scratch)?;
        Ok(self.opened(scratch))
    }

    /// Decompresses the body into `scratch`, if it is compressed.
    pub(crate) fn unpack(&self, scratch: &mut Scratch) -> Result<()> {
        if !self.is_compressed() {
            return Ok(());
        }
        let lost = |what| Error::lost(self.offset, u64::from(self.header.size), "compressed buffer", what);
        if self.cut {
            return Err(lost("the file ends inside it").losing((BUFFER_HEADER + self.body.len()) as u64));
        }
        let taken = compress::fill(self.format, self.body, self.filled, scratch).map_err(lost)?;
        // Real streams end at most 4 bytes before their buffer does (measured). If there is room for another buffer, then
        // this one's size is wrong.
        if self.body.len() - taken >= BUFFER_HEADER {
            return Err(lost("its data ends long before it does"));
        }
        Ok(())
    }

    /// The events, once [`Self::unpack`] has filled `scratch`.
    pub(crate) fn opened<'s>(&self, scratch: &'s Scratch) -> Events<'s>
    where
        'a: 's,
    {
        let compressed = self.is_compressed();
        let body = if compressed { scratch.first(self.filled) } else { self.body };
        Events::new(body, self.offset, compressed, self.header.processor, self.cut)
    }
}

/// The buffers of a file, in file order. Damage comes as an error that says what was skipped; the walk goes on after it.
#[derive(Clone, Debug)]
pub struct Buffers<'a> {
    data: &'a [u8],
    at: usize,
    rules: Rules,
    pending: Option<Error>,
    reserved_tail: Option<Range<u64>>,
}

/// What the log-file header says about every buffer.
#[derive(Clone, Copy, Debug)]
struct Rules {
    format: CompressionFormat,
    /// Distance between buffers of an uncompressed file; `None` when buffers vary in size.
    stride: Option<usize>,
    /// The largest body, header included.
    limit: u32,
    /// The session, as the first buffer names it.
    logger_id: u16,
}

impl<'a> Buffers<'a> {
    pub(crate) fn new(data: &'a [u8], log: &LogHeader, format: CompressionFormat) -> Self {
        let is_sane = |size: u32| size >= BUFFER_HEADER as u32 && size <= MAX_BUFFER;
        // Two places say how large buffers are. Where they differ, the one that leads to another buffer is right.
        let declared = log.buffer_size;
        let first = Bytes(data).u32(0).unwrap_or(declared);
        let leads_on = |size: u32| Bytes(data).u32(size as usize) == Some(size);
        let size = if is_sane(first) && leads_on(first) && !leads_on(declared) { first } else { declared };
        let compressed = log.mode.has(LogFileMode::COMPRESSED);
        let rules = Rules {
            format,
            stride: (is_sane(size) && !compressed).then_some(size as usize),
            limit: if is_sane(declared) { declared } else { MAX_BUFFER },
            logger_id: Bytes(data).raw::<WmiBufferHeader>(0).map_or(0, |raw| raw.logger_id.get()),
        };
        Self { data, at: 0, rules, pending: None, reserved_tail: None }
    }

    /// File offset of what comes next.
    pub fn offset(&self) -> u64 {
        self.at as u64
    }

    /// The file's tail, as a range of file offsets, when nothing but zeros follows the last buffer: space that the session
    /// had reserved and did not write, as in a file that was copied while the session ran. Known once the last buffer has
    /// been passed.
    pub fn reserved_tail(&self) -> Option<Range<u64>> {
        self.reserved_tail.clone()
    }

    fn header_at(&self, at: usize) -> Option<&'a WmiBufferHeader> {
        Bytes(self.data).raw(at)
    }

    /// True when a header has the shape of one: sizes, flags and type in range.
    fn has_shape(&self, raw: &WmiBufferHeader) -> bool {
        let (size, filled) = (raw.buffer_size.get(), raw.filled_bytes.get());
        let flags = raw.buffer_flag.get();
        let size_fits = match self.rules.stride {
            Some(stride) => size as usize == stride,
            // An incompressible body may come out a little longer than it went in.
            None => size >= BUFFER_HEADER as u32 && size <= self.rules.limit + self.rules.limit / 8 + 0x100,
        };
        let compressed = flags & BufferFlags::COMPRESSED.0 != 0;
        size_fits
            && flags & !BufferFlags::KNOWN == 0
            && raw.buffer_type.get() < BufferType::MAX
            && (!compressed || filled as usize >= BUFFER_HEADER && filled <= self.rules.limit)
    }

    /// True when the buffer at `at` ends where another begins, where unused space does, or where the file ends. This is
    /// how a buffer of any size is distinguished from bytes that look like one.
    fn is_followed(&self, at: usize, raw: &WmiBufferHeader) -> bool {
        let end = at.saturating_add(raw.buffer_size.get() as usize);
        match self.header_at(end) {
            Some(next) => self.has_shape(next) || Bytes(self.data).slice(end, BUFFER_HEADER).is_some_and(is_zero),
            None => end == self.data.len(),
        }
    }

    /// True when the buffer at the current position, where one is due, is one. If what follows it is not a buffer, then
    /// either the file was cut, or the next header is damaged, or this size is wrong and may swallow every buffer after it.
    fn is_due(&self, raw: &WmiBufferHeader) -> bool {
        if !self.has_shape(raw) {
            return false;
        }
        if self.rules.stride.is_some() || self.is_followed(self.at, raw) {
            return true;
        }
        let end = self.at + raw.buffer_size.get() as usize;
        if self.find_header(self.at + BUFFER_HEADER, end).is_some() {
            return false;
        }
        let readable =
            || self.clone().take_buffer(raw).events(&mut Scratch::default()).is_ok_and(|mut e| e.all(|e| e.is_ok()));
        end > self.data.len() || readable()
    }

    /// True when the scan for the next buffer may stop at `at`. In a compressed file nothing says where
    /// buffers begin, so this one must also end where another begins, be of this session and have no references, which
    /// holds for all buffers in files (measured), and say where its events end: any number with zeros behind it has the
    /// shape of a header otherwise.
    fn may_resume(&self, at: usize, raw: &WmiBufferHeader) -> bool {
        let is_ours = || raw.logger_id.get() == self.rules.logger_id && raw.reference_count.get() == 0;
        let says_end = || raw.buffer_flag.get() & BufferFlags::COMPRESSED.0 != 0 || end_of_events(raw).is_some();
        let is_certain = || is_ours() && says_end() && self.is_followed(at, raw);
        self.has_shape(raw) && (self.rules.stride.is_some() || is_certain())
    }

    /// Where the first buffer between `from` and `to` begins, in a file whose buffers may begin anywhere.
    fn find_header(&self, from: usize, to: usize) -> Option<usize> {
        // A header's first word is not zero, so zeros can be skipped, except for the last bytes of each step.
        const STEP: usize = 4096;
        let to = to.min(self.data.len());
        let mut at = from;
        while at < to {
            let next = at + STEP - 3;
            if !Bytes(self.data).slice(at, STEP).is_some_and(is_zero) {
                let is_header = |at: &usize| self.header_at(*at).is_some_and(|raw| self.may_resume(*at, raw));
                if let Some(found) = (at..next.min(to)).find(is_header) {
                    return Some(found);
                }
            }
            at = next;
        }
        None
    }

    /// Reads the buffer at `at`, whose header is plausible, and steps over it.
    fn take_buffer(&mut self, raw: &WmiBufferHeader) -> Buffer<'a> {
        let at = self.at;
        let header = BufferHeader::from_raw(raw);
        let size = header.size as usize;
        let rest = Bytes(self.data).rest(at);
        let available = size.min(rest.len());
        let compressed = header.flags.has(BufferFlags::COMPRESSED);
        let end = if compressed { size } else { end_of_events(raw).unwrap_or(BUFFER_HEADER) };
        let body = &rest[BUFFER_HEADER.min(available)..end.min(available).max(BUFFER_HEADER.min(available))];
        let cut = end > available;
        if size > available {
            // A compressed buffer reports its own loss, when it is opened.
            self.pending = (!compressed).then(|| {
                let what = if cut { "the file ends inside it" } else { "the file ends in its unused tail" };
                Error::lost((at + available) as u64, (size - available) as u64, "buffer", what)
            });
        }
        self.at = at + available;
        let filled = header.filled as usize;
        Buffer {
            offset: at as u64,
            header,
            format: self.rules.format,
            body,
            filled: filled.saturating_sub(BUFFER_HEADER),
            cut,
        }
    }

    /// Steps over what is not a buffer, to the next one, or to the end of the file. Answers what was lost; nothing was in
    /// a reserved tail.
    fn resynchronise(&mut self) -> Option<Error> {
        let (from, end) = (self.at, self.data.len());
        self.at = match self.rules.stride {
            Some(stride) => {
                let is_header = |at: &usize| self.header_at(*at).is_some_and(|raw| self.may_resume(*at, raw));
                (from..end).step_by(stride).skip(1).find(is_header).unwrap_or(end)
            }
            None => self.find_header(from + 1, end).unwrap_or(end),
        };
        let length = (self.at - from) as u64;
        if self.at == end && is_zero(&self.data[from..]) {
            self.reserved_tail = Some(from as u64..end as u64);
            return None;
        }
        Some(Error::lost(from as u64, length, "buffer", "no buffer header where one is due"))
    }
}

impl<'a> Iterator for Buffers<'a> {
    type Item = Result<Buffer<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.pending.take() {
            return Some(Err(error));
        }
        if self.at >= self.data.len() {
            return None;
        }
        match self.header_at(self.at) {
            Some(raw) if self.is_due(raw) => Some(Ok(self.take_buffer(raw))),
            _ => self.resynchronise().map(Err),
        }
    }
}

/// Where the events of a plain buffer end, counted from the start of its header and inside `buffer_size`; `None` when it
/// does not say.
///
/// FilledBytes is the rule: in the first buffer of merged files it is the only one of three that covers all events
/// (measured). SavedOffset serves where FilledBytes cannot be right; CurrentOffset is all there is in a buffer that
/// was never flushed, as saved out of a crash dump.
fn end_of_events(raw: &WmiBufferHeader) -> Option<usize> {
    let size = raw.buffer_size.get();
    let allowed = BUFFER_HEADER as u32..=size;
    [raw.filled_bytes.get(), raw.saved_offset.get().min(size), raw.current_offset.get().min(size)]
        .into_iter()
        .find(|offset| allowed.contains(offset))
        .map(|offset| offset as usize)
}
