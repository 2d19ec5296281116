//! A session's buffers as a trace file.
//!
//! The file is plain: a first buffer with the log-file header, then the buffers with events, by the time of each buffer's
//! first event, and numbered anew in that order. The numbers that the buffers had do not order them: a current one still
//! has that of its last use. Events are passed through byte for byte; pointers of the kernel in buffer headers are not
//! written.

use std::io::Write;

use etl_file::write::{self, Packing, Plan, Writer};
use etl_file::{BufferFlags, BufferHeader, Clock, ClockKind, FileTime, LogFileMode, LogHeader, Tick};

use crate::buffer::read_records;
use crate::machine::Machine;
use crate::memory::{Memory, Reader};
use crate::session::{Reference, Session};

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Bytes of the file.
    pub bytes: u64,
    /// Its buffers, the first one included.
    pub buffers: u64,
    /// Events, the log-file header included.
    pub events: u64,
}

/// Why a session cannot be saved.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SaveError(Problem);

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("nothing says which time belongs to the ticks of the session's clock: the kernel's PDB does")]
    NoReference,
    #[error(
        "{buffers} buffers of {size:#x} bytes for events of {bytes:#x} bytes: allowed is 1 GiB, or 64 times the events"
    )]
    TooSparse { buffers: u64, size: u32, bytes: u64 },
    #[error(transparent)]
    Write(#[from] write::Error),
}

/// Kinds of [`SaveError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SaveErrorKind {
    /// The time that belongs to a tick of the session's clock is not known.
    NoReference,
    /// The trace would be far larger than its events: a copy behind a dump cuts buffers at their data's end, and may
    /// claim any size of buffers.
    TooSparse,
    /// The trace cannot be written.
    Write,
}

impl SaveError {
    /// What is wrong.
    pub fn kind(&self) -> SaveErrorKind {
        match self.0 {
            Problem::NoReference => SaveErrorKind::NoReference,
            Problem::TooSparse { .. } => SaveErrorKind::TooSparse,
            Problem::Write(_) => SaveErrorKind::Write,
        }
    }
}

impl<E: Into<Problem>> From<E> for SaveError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// Mode bits of a session that delivers while it runs; a file on a disk has none of them.
const NOT_WRITTEN: u32 = 0x00c0_0100;
/// Larger files must consist of events to some part.
const SPARSE: u64 = 1 << 30;
/// One set of buffers for all processors.
const ONE_SET: u32 = 0x1000_0000;
/// The maximum file size is in KiB.
const KIB: u32 = 0x2000;

/// Writes a session's buffers as a trace. `memory` is what the session was read of: for secondary data, the block.
///
/// # Errors
/// When the session's clock cannot be told, or the output fails.
pub fn save<W: Write>(
    session: &Session,
    machine: &Machine,
    memory: &dyn Memory,
    out: W,
) -> Result<(W, Saved), SaveError> {
    let reference = session.reference.ok_or(Problem::NoReference)?;
    let mut buffers: Vec<_> = session.buffers.iter().filter(|buffer| buffer.events > 0).collect();
    let (count, size, bytes) = (buffers.len() as u64 + 1, session.buffer_size, session.bytes());
    if count * u64::from(size) > SPARSE.max(64 * bytes) {
        return Err(Problem::TooSparse { buffers: count, size, bytes }.into());
    }
    // Buffers without a time keep the order of the kernel's list, in front.
    buffers.sort_by_key(|buffer| buffer.first);
    let mut plan = Plan::new(log_header(session, machine, reference, buffers.len() as u64 + 1), Packing::Plain);
    let mut first = BufferHeader::first();
    first.logger_id = session.id as u16;
    first.flags = BufferFlags(first.flags.0 | 1);
    plan.add(first, 0)?;
    for (buffer, sequence) in buffers.iter().zip(1..) {
        let mut header = BufferHeader::new(buffer.processor & 0x7ff, sequence);
        header.logger_id = session.id as u16;
        header.flushed = if buffer.time == Tick(0) { buffer.last.unwrap_or_default() } else { buffer.time };
        plan.add(header, buffer.bytes as usize)?;
    }
    let layout = plan.lay_out()?;
    let mut writer = Writer::new(&layout, out);
    writer.buffer(&write::Body::default())?;
    for buffer in &buffers {
        let records = read_records(Reader(memory), buffer.address, buffer.processor, buffer.end);
        writer.buffer(&records.body)?;
    }
    let events = session.events() + 1;
    let saved = Saved { bytes: layout.file_length().unwrap_or(0), buffers: layout.buffers() as u64, events };
    Ok((writer.finish()?, saved))
}

fn log_header(session: &Session, machine: &Machine, reference: Reference, buffers: u64) -> LogHeader {
    let mut header = LogHeader::new(8, session.buffer_size);
    header.build = machine.build;
    header.processors = if session.mode & ONE_SET == 0 { machine.processors.max(1) } else { 1 };
    header.timer_resolution = machine.timer_resolution;
    header.cpu_mhz = machine.cpu_mhz;
    header.boot_time = machine.boot_time;
    header.perf_frequency = machine.perf_frequency;
    header.time_zone_bias = machine.time_zone_bias;
    header.mode = LogFileMode(session.mode & !NOT_WRITTEN);
    header.clock = ClockKind(session.clock);
    (header.start, header.start_time) = (reference.tick, reference.time);
    header.events_lost = session.events_lost.unwrap_or(0);
    header.buffers_lost = session.buffers_lost.unwrap_or(0);
    header.logger_name = session.name.clone().unwrap_or_default();
    header.maximum_file_size = session.maximum_file_size.unwrap_or(0);
    if header.mode.has(LogFileMode::CIRCULAR) {
        // Consumers read a circular file up to its maximum size only.
        let unit = if session.mode & KIB == 0 { 1 << 20 } else { 1 << 10 };
        let least = (buffers * u64::from(session.buffer_size)).div_ceil(unit);
        header.maximum_file_size = header.maximum_file_size.max(u32::try_from(least).unwrap_or(u32::MAX));
    }
    let last = session.span().map(|(_, last)| clock(session, machine, reference).utc(last));
    header.end_time = last.map_or(machine.time, |last| last.max(machine.time));
    header
}

/// The session's clock.
pub(crate) fn clock(session: &Session, machine: &Machine, reference: Reference) -> Clock {
    let kind = ClockKind(session.clock);
    Clock::new(kind, reference.tick, reference.time, machine.perf_frequency, machine.cpu_mhz)
}

impl Session {
    /// When a tick of the session's clock was, if the dump says so.
    pub fn time_of(&self, tick: Tick, machine: &Machine) -> Option<FileTime> {
        self.reference.map(|reference| clock(self, machine, reference).utc(tick))
    }
}
