//! The file as a whole: its log-file header and what kind of file it is.

use crate::buffer::Buffers;
use crate::bytes::Bytes;
use crate::clock::{Clock, ClockKind, FileTime, Tick};
use crate::error::{Error, Result};
use crate::event::{EventId, Events};
use crate::raw::{self, HookId, WmiBufferHeader};
use std::fmt;

/// LogFileMode bits (Microsoft Learn, "Logging Mode Constants"; the relog and compressed bits after ntwmi.h in phnt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct LogFileMode(pub u32);

impl LogFileMode {
    /// One file, written from start to end.
    pub const SEQUENTIAL: Self = Self(0x1);
    /// The file wraps at its maximum size and overwrites its oldest buffers.
    pub const CIRCULAR: Self = Self(0x2);
    /// Appended to an existing file.
    pub const APPEND: Self = Self(0x4);
    /// A new file is begun whenever one is full; sequence numbers go on across files.
    pub const NEW_FILE: Self = Self(0x8);
    /// Space was reserved when the file was made.
    pub const PREALLOCATE: Self = Self(0x20);
    /// Delivered to consumers while it ran.
    pub const REAL_TIME: Self = Self(0x100);
    /// Held in memory only, until flushed.
    pub const BUFFERING: Self = Self(0x400);
    /// A process's own session.
    pub const PRIVATE: Self = Self(0x800);
    /// A process's own session that no other process can see.
    pub const PRIVATE_IN_PROC: Self = Self(0x2_0000);
    /// Written by the merger or relogger, not by a session.
    pub const RELOGGED: Self = Self(0x1_0000);
    /// A system logger: takes kernel events.
    pub const SYSTEM_LOGGER: Self = Self(0x0200_0000);
    /// Buffers may be compressed.
    pub const COMPRESSED: Self = Self(0x0400_0000);
    /// One set of buffers for all processors.
    pub const NO_PER_PROCESSOR_BUFFERING: Self = Self(0x1000_0000);

    /// True when every bit of `bits` is set.
    pub fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }
}

impl fmt::Display for LogFileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The compression format of a file's compressed buffers (COMPRESSION_FORMAT_* of ntifs.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CompressionFormat(pub u16);

impl CompressionFormat {
    /// Not compressed.
    pub const NONE: Self = Self(0);
    /// LZNT1.
    pub const LZNT1: Self = Self(2);
    /// Plain XPRESS: LZ77 without entropy coding.
    pub const XPRESS: Self = Self(3);
    /// XPRESS with Huffman coding.
    pub const XPRESS_HUFFMAN: Self = Self(4);
}

impl fmt::Display for CompressionFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("none"),
            Self::LZNT1 => f.write_str("LZNT1"),
            Self::XPRESS => f.write_str("XPRESS"),
            Self::XPRESS_HUFFMAN => f.write_str("XPRESS Huffman"),
            Self(other) => write!(f, "format {other}"),
        }
    }
}

/// TRACE_LOGFILE_HEADER: the payload of a file's first event (evntrace.h, the 64- or 32-bit form after the event's
/// own header), and the timestamp of that event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHeader {
    /// Bytes per buffer of the session; in a compressed file, per buffer once decompressed.
    pub buffer_size: u32,
    /// Windows major version.
    pub os_major: u8,
    /// Windows minor version.
    pub os_minor: u8,
    /// Windows build, such as 19045.
    pub build: u32,
    /// Processors, as the session saw them: 1 for a session without per-processor buffers.
    pub processors: u32,
    /// UTC at which the session ended; 0 when the file was never finalised.
    pub end_time: FileTime,
    /// Timer resolution in units of 100 ns.
    pub timer_resolution: u32,
    /// Largest size of the file, in MiB, or in KiB with mode bit 0x2000; 0 for no limit.
    pub maximum_file_size: u32,
    /// How the session logged.
    pub mode: LogFileMode,
    /// Buffers written, by the header; 0 when never finalised. Not to be trusted as a count.
    pub buffers_written: u32,
    /// Bytes per pointer on the traced system, 4 or 8.
    pub pointer_size: u32,
    /// Events that the session could not log.
    pub events_lost: u32,
    /// Nominal processor speed in MHz.
    pub cpu_mhz: u32,
    /// The time zone's bias: minutes to add to local time to get UTC.
    pub time_zone_bias: i32,
    /// UTC of the boot.
    pub boot_time: FileTime,
    /// Ticks per second of the performance counter.
    pub perf_frequency: i64,
    /// UTC at which the trace started.
    pub start_time: FileTime,
    /// What timestamps count.
    pub clock: ClockKind,
    /// Buffers that the session could not write.
    pub buffers_lost: u32,
    /// The session's name; "Relogger" for a merged file.
    pub logger_name: String,
    /// Path of the file on the traced system; "[multiple files]" for a merged file.
    pub log_file_name: String,
    /// Timestamp of the header event itself: the tick that belongs to `start_time`.
    pub start: Tick,
}

impl LogHeader {
    /// Reads a header event's payload. `wide`: the 64-bit form, which the event's own header type says.
    pub(crate) fn parse(payload: &[u8], offset: u64, wide: bool, start: Tick) -> Result<Self> {
        const STRUCTURE: &str = "log-file header";
        let bytes = Bytes(payload);
        // From the two name pointers on, the 64-bit form is 8 bytes further down.
        let (fixed, shift) = if wide { (raw::LOG_HEADER_64, 8) } else { (raw::LOG_HEADER_32, 0) };
        let read = || {
            let logger_name = bytes.utf16(fixed);
            Some(Self {
                buffer_size: bytes.u32(0x00)?,
                os_major: bytes.u8(0x04)?,
                os_minor: bytes.u8(0x05)?,
                build: bytes.u32(0x08)?,
                processors: bytes.u32(0x0c)?,
                end_time: FileTime(bytes.i64(0x10)?),
                timer_resolution: bytes.u32(0x18)?,
                maximum_file_size: bytes.u32(0x1c)?,
                mode: LogFileMode(bytes.u32(0x20)?),
                buffers_written: bytes.u32(0x24)?,
                pointer_size: bytes.u32(0x2c)?,
                events_lost: bytes.u32(0x30)?,
                cpu_mhz: bytes.u32(0x34)?,
                time_zone_bias: bytes.u32(0x40 + shift)? as i32,
                boot_time: FileTime(bytes.i64(0xf0 + shift)?),
                perf_frequency: bytes.i64(0xf8 + shift)?,
                start_time: FileTime(bytes.i64(0x100 + shift)?),
                clock: ClockKind(bytes.u32(0x108 + shift)?),
                buffers_lost: bytes.u32(0x10c + shift)?,
                log_file_name: bytes.utf16(logger_name.1).0,
                logger_name: logger_name.0,
                start,
            })
        };
        read().ok_or_else(|| Error::short(offset, STRUCTURE, payload.len() as u64, fixed as u64))
    }

    /// The clock of the trace.
    pub fn session_clock(&self) -> Clock {
        Clock::new(self.clock, self.start, self.start_time, self.perf_frequency, self.cpu_mhz)
    }
}

/// A trace file.
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    data: &'a [u8],
    header: LogHeader,
    format: CompressionFormat,
}

impl<'a> Trace<'a> {
    /// Opens a file that lies in memory, or is mapped there. Only its first event, the log-file header, is read.
    ///
    /// # Errors
    /// When the file does not begin with a buffer whose first event is a log-file header.
    pub fn open(data: &'a [u8]) -> Result<Self> {
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
        Ok(Self { data, header, format })
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
