//! The file as a whole.

use crate::buffer::Buffers;
use crate::bytes::Bytes;
use crate::clock::Clock;
use crate::compress::CompressionFormat;
use crate::error::{Error, Result};
use crate::event::{EventId, Events};
use crate::log_header::{LogFileMode, LogHeader};
use crate::raw::{self, HookId, WmiBufferHeader};
use std::fmt;
use std::ops::Range;

/// A trace file.
#[derive(Clone)]
pub struct Trace<'a> {
    data: &'a [u8],
    header: LogHeader,
    format: CompressionFormat,
    ahead: Option<&'a dyn ReadAhead>,
}

/// Where a trace's bytes lie, told which of them will be read next. A file that is mapped into memory can then have its pages
/// mapped many at once, which costs less than one by one as they are touched.
pub trait ReadAhead: Sync {
    /// The bytes at these offsets of the file are about to be read: a MiB at a time, on all threads.
    fn read_ahead(&self, part: Range<u64>);
}

impl fmt::Debug for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("header", &self.header).field("format", &self.format).finish_non_exhaustive()
    }
}

impl<'a> Trace<'a> {
    /// Reads the log-file header of a file in memory; everything else is read when it is asked for.
    ///
    /// # Errors
    /// When the file does not begin with a buffer whose first event is a log-file header.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        const STRUCTURE: &str = "first buffer";
        let bytes = Bytes(data);
        let raw: &WmiBufferHeader =
            bytes.raw(0).ok_or_else(|| Error::short(0, STRUCTURE, data.len() as u64, raw::BUFFER_HEADER as u64))?;
        // The first buffer is never compressed. Its own sizes are not needed for its first event.
        let first = Events::new(bytes.rest(raw::BUFFER_HEADER), 0, false, 0, true)
            .next()
            .ok_or_else(|| Error::lost(raw::BUFFER_HEADER as u64, 0, STRUCTURE, "it holds no event"))??;
        let event = first.parse()?;
        if event.id != EventId::Hook(HookId::LOG_HEADER) {
            return Err(Error::lost(event.offset, 0, STRUCTURE, "its first event is not a log-file header"));
        }
        // The event's own header says which form the payload has; the PointerSize in it does not.
        let wide = event.pointer_size == 8;
        let payload_offset = event.offset + (first.bytes.len() - event.payload.len()) as u64;
        let header = LogHeader::parse(event.payload, payload_offset, wide, event.timestamp.unwrap_or_default())?;
        // In the first buffer of a compressed file, the state field holds the format.
        let format = match header.mode.has(LogFileMode::COMPRESSED) {
            true => CompressionFormat(raw.state.get() as u16),
            false => CompressionFormat::NONE,
        };
        Ok(Self { data, header, format, ahead: None })
    }

    /// Has `ahead` told of bytes shortly before the passes over the whole trace read them: [`Self::survey`],
    /// [`Self::par_fold`], [`Self::rewrite`].
    #[must_use]
    pub fn with_read_ahead(self, ahead: &'a dyn ReadAhead) -> Self {
        Self { ahead: Some(ahead), ..self }
    }

    pub(crate) fn ahead(&self) -> Option<&'a dyn ReadAhead> {
        self.ahead
    }

    /// The log-file header.
    pub fn header(&self) -> &LogHeader {
        &self.header
    }

    /// The session's clock.
    pub fn clock(&self) -> Clock {
        self.header.session_clock()
    }

    /// How compressed buffers are compressed; [`CompressionFormat::NONE`] for a file without any.
    pub fn compression(&self) -> CompressionFormat {
        self.format
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.data.len() as u64
    }

    /// Never true of an opened trace, which holds at least its header.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The buffers in file order, which is the order in which they were flushed: not that of time.
    pub fn buffers(&self) -> Buffers<'a> {
        Buffers::new(self.data, &self.header, self.format)
    }
}
