//! What a file will be, and writing it.
//!
//! ```text
//!   plain                                            XPRESS
//!   ┌ header ┬ log-file header ┬ events ┬ ff … ┐     ┌ header ┬ log-file header ┬ events ┬ ff ┐   never compressed
//!   ├ header ┼ events ┬ ff …           ────────┤     ├ header ┼ compressed events ┤                as long as it comes out
//!   ├ header ┼ events                   ┬ ff … ┤     ├ header ┼ events ┤                           where that is shorter
//!   └ all of the same size ────────────────────┘
//! ```

use super::{Body, Error, Result, log_header, xpress};
use crate::buffer::BufferHeader;
use crate::compress::CompressionFormat;
use crate::log_header::{LogFileMode, LogHeader};
use crate::raw::{BUFFER_HEADER, BufferFlags, MAX_BUFFER, WmiBufferHeader};
use std::io::Write;
use zerocopy::IntoBytes;

/// How the buffers of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As they are, all of the same size.
    Plain,
    /// Compressed with plain XPRESS, those that become shorter by it.
    Xpress,
}

/// A buffer as planned.
#[derive(Clone, Copy, Debug)]
struct Planned {
    header: BufferHeader,
    /// Bytes of its events, without the log-file header.
    length: usize,
}

/// The sizes of a file's buffers, collected.
#[derive(Clone, Debug)]
pub struct Plan {
    log: LogHeader,
    packing: Packing,
    buffers: Vec<Planned>,
}

impl Plan {
    /// A file with this log-file header. Three of its fields follow from the plan: the number of buffers, the mode's bit
    /// for compression, and the size of buffers where the one given is too small.
    pub fn new(log: LogHeader, packing: Packing) -> Self {
        Self { log, packing, buffers: Vec::new() }
    }

    /// Adds a buffer with events of `length` bytes ([`Body::len`]). Size and fill of the header, and the flag for
    /// compression, are ignored: the layout decides them. Before the events of the first buffer comes the event
    /// of the log-file header, which is not counted in its length.
    ///
    /// # Errors
    /// When the buffer is larger than a session's can be, which is 16 MiB.
    pub fn add(&mut self, header: BufferHeader, length: usize) -> Result<()> {
        check_size(length)?;
        self.buffers.push(Planned { header, length });
        Ok(())
    }

    /// Lays the file out.
    ///
    /// # Errors
    /// When the first buffer is too large with the log-file header in it.
    pub fn lay_out(mut self) -> Result<Layout> {
        if self.buffers.is_empty() {
            self.buffers.push(Planned { header: BufferHeader::first(), length: 0 });
        }
        let first = log_header::encode(&self.log)?.len();
        check_size(first + self.buffers[0].length)?;
        let bodies =
            self.buffers.iter().enumerate().map(|(n, planned)| planned.length + if n == 0 { first } else { 0 });
        let needed = BUFFER_HEADER + bodies.max().unwrap_or(0);
        let declared = self.log.buffer_size as usize;
        let sane = (BUFFER_HEADER..=MAX_BUFFER as usize).contains(&declared);
        // A size that is not one, as a damaged header states it, gives way to that of a usual session.
        let declared = if sane { declared } else { 0x1_0000 };
        let buffer_size = if needed > declared { needed.next_multiple_of(1024) } else { declared };
        self.log.buffer_size = buffer_size as u32;
        self.log.buffers_written = u32::try_from(self.buffers.len()).unwrap_or(u32::MAX);
        let mode = self.log.mode.0 & !LogFileMode::COMPRESSED.0;
        self.log.mode = match self.packing {
            Packing::Plain => LogFileMode(mode),
            Packing::Xpress => LogFileMode(mode | LogFileMode::COMPRESSED.0),
        };
        let log_event = log_header::encode(&self.log)?;
        Ok(Layout { log: self.log, log_event, packing: self.packing, buffer_size, buffers: self.buffers })
    }
}

/// A buffer of a session is at most 16 MiB.
fn check_size(length: usize) -> Result<()> {
    let (size, allowed) = ((BUFFER_HEADER + length) as u64, u64::from(MAX_BUFFER));
    if size > allowed { Err(Error::size("buffer", size, allowed)) } else { Ok(()) }
}

/// A file whose sizes are decided.
#[derive(Clone, Debug)]
pub struct Layout {
    log: LogHeader,
    log_event: Vec<u8>,
    packing: Packing,
    buffer_size: usize,
    buffers: Vec<Planned>,
}

impl Layout {
    /// The log-file header, as it will be written.
    pub fn header(&self) -> &LogHeader {
        &self.log
    }

    /// How many buffers there are.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Bytes of the file, where they are known before it is compressed.
    pub fn file_length(&self) -> Option<u64> {
        (self.packing == Packing::Plain).then(|| self.buffers.len() as u64 * self.buffer_size as u64)
    }

    /// A whole buffer as the file will hold it. Buffers do not depend on each other, so several threads may do this at
    /// once.
    ///
    /// # Errors
    /// When the length of the events is not the planned one, or no buffer of this number was planned.
    pub fn encode(&self, number: usize, body: &Body) -> Result<Vec<u8>> {
        let planned = self.buffers.get(number);
        let planned = planned.ok_or_else(|| Error::plan(number, "its number", number as u64, self.buffers() as u64))?;
        if body.len() != planned.length {
            return Err(Error::plan(number, "the length of its events", body.len() as u64, planned.length as u64));
        }
        let log_event = if number == 0 { &self.log_event[..] } else { &[] };
        let filled = BUFFER_HEADER + log_event.len() + body.len();
        let mut out = vec![0; BUFFER_HEADER];
        let mut compressed = false;
        match self.packing {
            // The unused tail is sealed with 0xff, which is how a reader sees its beginning if all else fails.
            Packing::Plain => {
                out.extend_from_slice(log_event);
                out.extend_from_slice(body.bytes());
                out.resize(self.buffer_size, 0xff);
            }
            Packing::Xpress if number == 0 => {
                out.extend_from_slice(log_event);
                out.extend_from_slice(body.bytes());
                out.resize(filled.next_multiple_of(512), 0xff);
            }
            Packing::Xpress => {
                xpress::compress(body.bytes(), &mut out);
                compressed = out.len() < filled;
                if !compressed {
                    out.truncate(BUFFER_HEADER);
                    out.extend_from_slice(body.bytes());
                }
            }
        }
        let header = raw_header(&planned.header, out.len(), filled, compressed);
        out[..BUFFER_HEADER].copy_from_slice(header.as_bytes());
        Ok(out)
    }
}

/// The header of a buffer. Session-internal pointers and cursors are zero, or say that the buffer is full and at rest.
fn raw_header(header: &BufferHeader, size: usize, filled: usize, compressed: bool) -> WmiBufferHeader {
    // ETW_BUFFER_STATE 3 is a flushed buffer. In the first buffer the field holds the format, which is 3 too.
    const STATE: u32 = CompressionFormat::XPRESS.0 as u32;
    let plain = header.flags.0 & !BufferFlags::COMPRESSED.0;
    // Without the flag for a 16-bit index, Windows 7 has an alignment of 8 in the high byte.
    let wide = header.flags.has(BufferFlags::PROCESSOR_INDEX);
    let processor = if wide { header.processor & 0x7ff } else { header.processor & 0xff | 0x0800 };
    WmiBufferHeader {
        buffer_size: (size as u32).into(),
        saved_offset: (filled as u32).into(),
        current_offset: (filled as u32).into(),
        reference_count: 0.into(),
        time_stamp: header.flushed.0.into(),
        sequence_number: header.sequence.into(),
        clock_or_pointer: 0.into(),
        processor_index: processor.into(),
        logger_id: header.logger_id.into(),
        state: STATE.into(),
        filled_bytes: (filled as u32).into(),
        buffer_flag: (if compressed { plain | BufferFlags::COMPRESSED.0 } else { plain }).into(),
        buffer_type: header.kind.0.into(),
        reference_clock: [0.into(), 0.into()],
    }
}

/// Writes a file, buffer by buffer.
#[derive(Debug)]
pub struct Writer<'l, W> {
    layout: &'l Layout,
    out: W,
    next: usize,
}

impl<'l, W: Write> Writer<'l, W> {
    /// Nothing is written yet.
    pub fn new(layout: &'l Layout, out: W) -> Self {
        Self { layout, out, next: 0 }
    }

    /// Writes the next buffer.
    ///
    /// # Errors
    /// When it is not as planned, or the output fails.
    pub fn buffer(&mut self, body: &Body) -> Result<()> {
        let encoded = self.layout.encode(self.next, body)?;
        self.encoded(&encoded)
    }

    /// Writes the next buffer, which [`Layout::encode`] has made.
    pub(super) fn encoded(&mut self, buffer: &[u8]) -> Result<()> {
        self.out.write_all(buffer)?;
        self.next += 1;
        Ok(())
    }

    /// Ends the file, and gives the output back.
    ///
    /// # Errors
    /// When buffers are missing, or the output fails.
    pub fn finish(mut self) -> Result<W> {
        if self.next != self.layout.buffers() {
            return Err(Error::plan(self.next, "its number", self.next as u64, self.layout.buffers() as u64));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}
