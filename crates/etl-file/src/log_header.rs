//! The log-file header: what the session says about the whole file.

use crate::bytes::Bytes;
use crate::clock::{Clock, ClockKind, FileTime, Tick};
use crate::error::{Error, Result};
use crate::raw;
use std::fmt;

/// TRACE_LOGFILE_HEADER: the payload of a file's first event (evntrace.h, the 64- or 32-bit form after the event's
/// own header), and the timestamp of that event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
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
    /// The header of a trace to be written: Windows 10 or later on one processor, a performance counter of 10 MHz, all
    /// times zero, no names. `pointer_size` is 4 or 8; `buffer_size` is in bytes, header included.
    pub fn new(pointer_size: u32, buffer_size: u32) -> Self {
        Self {
            buffer_size,
            os_major: 10,
            os_minor: 0,
            build: 0,
            processors: 1,
            end_time: FileTime(0),
            timer_resolution: 156_250,
            maximum_file_size: 0,
            mode: LogFileMode::SEQUENTIAL,
            buffers_written: 0,
            pointer_size,
            events_lost: 0,
            cpu_mhz: 0,
            time_zone_bias: 0,
            boot_time: FileTime(0),
            perf_frequency: 10_000_000,
            start_time: FileTime(0),
            clock: ClockKind::QPC,
            buffers_lost: 0,
            logger_name: String::new(),
            log_file_name: String::new(),
            start: Tick(0),
        }
    }

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

/// LogFileMode bits (Microsoft Learn, "Logging Mode Constants"; the relog and compressed bits after ntwmi.h in phnt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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

    /// True for a process's own session, whose header states the pointer size of that process and not the machine's.
    pub fn is_private(self) -> bool {
        self.has(Self::PRIVATE) || self.has(Self::PRIVATE_IN_PROC)
    }

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
