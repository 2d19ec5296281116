//! `mkdump sessions`.

use etl_file::{ClockKind, FileTime};
use etw_sessions::{Found, LeftOut, Saved, Session, SessionBuffer, SessionSource, Sessions, Silo};
use serde::Serialize;

use super::{Hex, SourceReport};
use crate::jobs::sessions::SessionList;

/// `mkdump sessions`: the trace sessions of a dump.
#[derive(Clone, Debug, Serialize)]
pub struct SessionsReport {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// The dump.
    pub source: SourceReport,
    /// `logger-contexts` (the kernel's own structures), or `secondary-data` (its copy behind the dump).
    pub origin: &'static str,
    /// How the structures' layout was found; `null` for secondary data, whose form is fixed.
    pub layout: Option<FoundReport>,
    /// The host, and containers.
    pub silos: Vec<SiloReport>,
    /// False when only the host's sessions are listed: without the kernel's PDB containers cannot be found.
    pub all_silos: bool,
    /// The sessions, by silo and id.
    pub sessions: Vec<SessionReport>,
    /// What was written.
    pub saved: Vec<SavedReport>,
    /// What is damaged or doubtful.
    pub warnings: Vec<String>,
}

/// How the layout of the kernel's structures was found.
#[derive(Clone, Debug, Serialize)]
pub struct FoundReport {
    /// `pdb`, `known-kernel` (the PDB's GUID is in the table), `debugger-data` or `probing`.
    pub found_by: &'static str,
    /// The PDB that was read.
    pub pdb: Option<String>,
    /// Address of the array of contexts.
    pub contexts: Hex,
    /// Bytes of a context, when known.
    pub context_size: Option<Hex>,
}

/// The host, or a container.
#[derive(Clone, Debug, Serialize)]
pub struct SiloReport {
    /// Address of its silo state.
    pub state: Option<Hex>,
    /// True for the host.
    pub host: bool,
    /// Length of its array of contexts.
    pub max_sessions: u32,
    /// Its sessions.
    pub sessions: u32,
}

/// A trace session. What the dump does not say is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct SessionReport {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: Option<String>,
    /// Address of its context.
    pub context: Option<Hex>,
    /// Address of its silo's state.
    pub silo_state: Option<Hex>,
    /// Mode bits.
    pub mode: Hex,
    /// Their names, as far as they are known.
    pub mode_names: Vec<&'static str>,
    /// What its clock counts, in words.
    pub clock: String,
    /// The clock's number.
    pub clock_type: u32,
    /// Bytes of a buffer.
    pub buffer_size: u32,
    /// How many buffers it has.
    pub buffers: Option<u32>,
    /// The fewest that it was allowed.
    pub minimum_buffers: Option<u32>,
    /// The most that it was allowed.
    pub maximum_buffers: Option<u32>,
    /// How many were free.
    pub buffers_available: Option<u32>,
    /// Bytes that its buffers take.
    pub memory: u64,
    /// How many buffers with events the dump holds.
    pub buffers_with_events: u32,
    /// Buffers that were seen and not read.
    pub left_out: LeftOutReport,
    /// Events in its buffers.
    pub events: u64,
    /// Bytes of these events.
    pub event_bytes: u64,
    /// Events that it could not log.
    pub events_lost: Option<u32>,
    /// Buffers that it could not write.
    pub buffers_lost: Option<u32>,
    /// Buffers that it could not deliver.
    pub real_time_buffers_lost: Option<u32>,
    /// Buffers that it had written.
    pub buffers_written: Option<u32>,
    /// Seconds between flushes; 0 for none.
    pub flush_timer: Option<u32>,
    /// Its log file; empty for none.
    pub log_file: Option<String>,
    /// Largest size of that file.
    pub maximum_file_size: Option<u32>,
    /// When it was started: UTC, ISO 8601.
    pub start: Option<String>,
    /// When its first event in memory was logged.
    pub first_event: Option<String>,
    /// When its last event was logged.
    pub last_event: Option<String>,
    /// Whether its buffers could be paged out.
    pub paged: Option<bool>,
    /// Real-time consumers.
    pub consumers: Option<u32>,
    /// Flags of its context.
    pub flags: Option<Hex>,
    /// Whether it logs image events; known of system loggers.
    pub loader: Option<bool>,
    /// What it records of Intel PT.
    pub ipt: Option<IptSettingsReport>,
    /// `null`: which providers a session has enabled is not read.
    pub providers: Option<Vec<String>>,
    /// Its buffers, in the order of the kernel's list.
    pub buffer_list: Vec<BufferReport>,
}

/// Buffers that were seen and not read.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LeftOutReport {
    /// With compact records of context switches.
    pub compact: u32,
    /// Compressed in memory.
    pub compressed: u32,
    /// Placeholders.
    pub placeholders: u32,
    /// In pages that the dump does not hold.
    pub unreadable: u32,
}

/// What a session records of Intel PT.
#[derive(Clone, Debug, Serialize)]
pub struct IptSettingsReport {
    /// Options.
    pub options: Hex,
    /// Hooks at which the processor's trace is taken.
    pub hooks: Vec<Hex>,
}

/// A buffer.
#[derive(Clone, Debug, Serialize)]
pub struct BufferReport {
    /// Its address; `null` for secondary data.
    pub address: Option<Hex>,
    /// The processor whose events it holds.
    pub processor: u16,
    /// Its number.
    pub sequence: i64,
    /// What it was being used for: `free`, `general-logging`, `flush`, or a number.
    pub state: String,
    /// Where its data end, from its start on.
    pub end: u32,
    /// Its events.
    pub events: u64,
    /// Bytes before `end` that are no events, or not held.
    pub cut: u32,
}

/// A session that was saved.
#[derive(Clone, Debug, Serialize)]
pub struct SavedReport {
    /// The session's id.
    pub id: u32,
    /// The trace.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its buffers, the first one included.
    pub buffers: u64,
    /// Its events, the log-file header included.
    pub events: u64,
}

impl SavedReport {
    /// What became of a session.
    pub fn new(session: &Session, file: impl Into<String>, saved: Saved) -> Self {
        let Saved { bytes, buffers, events, .. } = saved;
        Self { id: session.id, file: file.into(), bytes, buffers, events }
    }
}

/// Mode bits by their names in evntrace.h, without their prefix and suffix.
const MODES: [(u32, &str); 22] = [
    (0x1, "sequential"),
    (0x2, "circular"),
    (0x4, "append"),
    (0x8, "new-file"),
    (0x20, "preallocate"),
    (0x40, "nonstoppable"),
    (0x80, "secure"),
    (0x100, "real-time"),
    (0x200, "delay-open-file"),
    (0x400, "buffering"),
    (0x800, "private-logger"),
    (0x1000, "add-header"),
    (0x2000, "kbytes-for-size"),
    (0x4000, "global-sequence"),
    (0x8000, "local-sequence"),
    (0x1_0000, "relog"),
    (0x100_0000, "paged-memory"),
    (0x200_0000, "system-logger"),
    (0x400_0000, "compressed"),
    (0x1000_0000, "no-per-processor-buffering"),
    (0x2000_0000, "independent-session"),
    (0x8000_0000, "add-to-triage-dump"),
];

impl SessionsReport {
    /// The report on sessions, and on those that were saved.
    pub fn new(list: &SessionList<'_>, saved: Vec<SavedReport>) -> Self {
        let sessions = &list.found.sessions;
        let (origin, layout) = match &sessions.source {
            SessionSource::SecondaryData => ("secondary-data", None),
            SessionSource::Contexts(layout) => {
                let found_by = match layout.found {
                    Found::Pdb => "pdb",
                    Found::KnownKernel => "known-kernel",
                    Found::DebuggerData => "debugger-data",
                    Found::Probing => "probing",
                };
                let found = FoundReport {
                    found_by,
                    pdb: list.pdb.as_ref().map(|path| path.to_string_lossy().into_owned()),
                    contexts: Hex(layout.slots.address),
                    context_size: layout.context.size.map(|size| Hex(size.into())),
                };
                ("logger-contexts", Some(found))
            }
        };
        Self {
            schema_version: super::SCHEMA_VERSION,
            source: (&list.reading.summary).into(),
            origin,
            layout,
            silos: sessions.silos.iter().map(SiloReport::from).collect(),
            all_silos: sessions.has_all_silos,
            sessions: sessions.sessions.iter().map(|session| report(session, sessions)).collect(),
            saved,
            warnings: list.warnings.clone(),
        }
    }
}

impl From<&Silo> for SiloReport {
    fn from(silo: &Silo) -> Self {
        let (max_sessions, sessions) = (silo.max_sessions, silo.sessions);
        Self { state: silo.state.map(Hex), host: silo.is_host, max_sessions, sessions }
    }
}

fn report(session: &Session, all: &Sessions) -> SessionReport {
    let mode = session.mode;
    let time = |time: FileTime| Some(time.to_string()).filter(|_| time.0 != 0);
    let event = |tick| session.time_of(tick, &all.machine).and_then(time);
    let span = session.span();
    let is_copy = all.source == SessionSource::SecondaryData;
    SessionReport {
        id: session.id,
        name: session.name.clone(),
        context: session.context.map(Hex),
        silo_state: session.silo.map(Hex),
        mode: Hex(mode.into()),
        mode_names: MODES.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, name)| *name).collect(),
        clock: ClockKind(session.clock).to_string(),
        clock_type: session.clock,
        buffer_size: session.buffer_size,
        buffers: session.number_of_buffers,
        minimum_buffers: session.minimum_buffers,
        maximum_buffers: session.maximum_buffers,
        buffers_available: session.buffers_available,
        memory: session.memory(),
        buffers_with_events: session.buffers.iter().filter(|buffer| buffer.events > 0).count() as u32,
        left_out: session.left_out.into(),
        events: session.events(),
        event_bytes: session.bytes(),
        events_lost: session.events_lost,
        buffers_lost: session.buffers_lost,
        real_time_buffers_lost: session.real_time_buffers_lost,
        buffers_written: session.buffers_written,
        flush_timer: session.flush_timer,
        log_file: session.log_file.clone(),
        maximum_file_size: session.maximum_file_size,
        start: session.start_time.and_then(time),
        first_event: span.and_then(|(first, _)| event(first)),
        last_event: span.and_then(|(_, last)| event(last)),
        paged: session.is_paged,
        consumers: session.consumers,
        flags: session.flags.map(|flags| Hex(flags.into())),
        loader: session.has_loader(),
        ipt: session.ipt.as_ref().map(|ipt| IptSettingsReport {
            options: Hex(ipt.options),
            hooks: ipt.hooks.iter().map(|hook| Hex((*hook).into())).collect(),
        }),
        providers: None,
        buffer_list: session.buffers.iter().map(|buffer| buffer_report(buffer, is_copy)).collect(),
    }
}

fn buffer_report(buffer: &SessionBuffer, is_copy: bool) -> BufferReport {
    BufferReport {
        address: Some(Hex(buffer.address)).filter(|_| !is_copy),
        processor: buffer.processor,
        sequence: buffer.sequence,
        state: buffer.state.name().map_or_else(|| buffer.state.0.to_string(), str::to_owned),
        end: buffer.end,
        events: buffer.events,
        cut: buffer.cut,
    }
}

impl From<LeftOut> for LeftOutReport {
    fn from(left_out: LeftOut) -> Self {
        let LeftOut { compact, compressed, placeholders, unreadable, .. } = left_out;
        Self { compact, compressed, placeholders, unreadable }
    }
}
