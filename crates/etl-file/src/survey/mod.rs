//! One pass over a trace that answers with plain values: the system, its modules, processes and threads, and the
//! Intel PT snapshots.

mod ipt;
mod lives;
mod lookup;
mod losses;
mod part;
mod pass;
mod system;

use crate::clock::{Clock, Tick};
use crate::error::Diagnostic;
use crate::log_header::LogHeader;
use crate::raw::{HeaderKind, HookId};
use crate::timeline::Module;
use crate::trace::Trace;
use std::borrow::Cow;

pub use ipt::RingOrder;
pub use losses::Losses;
pub use part::Part;

impl<'a> Trace<'a> {
    /// Reads the whole trace once, in parallel over its buffers, and answers what it holds as plain values.
    ///
    /// Damage does not stop it: [`Survey::warnings`] says what was lost.
    ///
    /// Memory is proportional to what is collected, not to the file: about ten times the bytes of the collected events,
    /// plus 16 MiB per thread at worst for decompression. Intel PT data is borrowed from the file, or copied when
    /// compressed.
    pub fn survey(&self, options: &SurveyOptions) -> Survey<'a> {
        self.survey_with_progress(options, &|_| ())
    }

    /// The same; `progress` is called now and then, on any thread, with how many bytes of the file are done.
    pub fn survey_with_progress(&self, options: &SurveyOptions, progress: &(dyn Fn(u64) + Sync)) -> Survey<'a> {
        Part::read(self, options, progress).alone()
    }
}

/// What [`Trace::survey`] collects besides the kernel's modules. The default is everything but user modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SurveyOptions {
    /// Modules of user processes too.
    pub user_modules: bool,
    /// Processes and threads.
    pub processes: bool,
    /// Intel PT snapshots; otherwise they are only counted.
    pub ipt: bool,
}

impl SurveyOptions {
    /// Sets [`Self::user_modules`].
    #[must_use]
    pub fn user_modules(self, wanted: bool) -> Self {
        Self { user_modules: wanted, ..self }
    }

    /// Sets [`Self::processes`].
    #[must_use]
    pub fn processes(self, wanted: bool) -> Self {
        Self { processes: wanted, ..self }
    }

    /// Sets [`Self::ipt`].
    #[must_use]
    pub fn ipt(self, wanted: bool) -> Self {
        Self { ipt: wanted, ..self }
    }
}

impl Default for SurveyOptions {
    fn default() -> Self {
        Self { user_modules: false, processes: true, ipt: true }
    }
}

/// What one pass found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survey<'a> {
    /// The log-file header.
    pub header: LogHeader,
    /// The session's clock: turns every [`Tick`] here into seconds or UTC.
    pub clock: Clock,
    /// How many events and buffers there are.
    pub counts: Counts,
    /// What was lost.
    pub losses: Losses,
    /// The traced system.
    pub system: System,
    /// Base of the kernel image (hook 0x1421).
    pub kernel_base: Option<u64>,
    /// Modules, by process, base and time: kernel ones first. One module is one (process, base) between its load or
    /// first mention and its unload.
    pub modules: Vec<Module>,
    /// Processes, by id and first event.
    pub processes: Vec<Process>,
    /// Threads, by id and first event.
    pub threads: Vec<Thread>,
    /// The volumes' NT and DOS names.
    pub volumes: Vec<Volume>,
    /// Intel PT snapshots, by processor and then in the order in which they were logged.
    pub ipt: Vec<IptSnapshot<'a>>,
    /// Local damage, and remarks about a healthy file; at most [`WARNINGS_KEPT`], in file order.
    pub warnings: Vec<Diagnostic>,
    /// Warnings that were counted but not kept.
    pub warnings_dropped: u64,
}

/// Warnings that a survey keeps, so that a file of nothing but damage does not fill memory.
pub const WARNINGS_KEPT: usize = 1000;

/// How much a trace holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Counts {
    /// Events with a whole header and body; the log-file header and WPP messages are events too.
    pub events: u64,
    /// Buffers whose header is there.
    pub buffers: u64,
    /// Events that carry Intel PT data.
    pub ipt_events: u64,
    /// Events that the session could not log, by the log-file header.
    pub events_lost: u32,
    /// Buffers that the session could not write, by the log-file header.
    pub buffers_lost: u32,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.buffers += other.buffers;
        self.ipt_events += other.ipt_events;
        self.events_lost = self.events_lost.saturating_add(other.events_lost);
        self.buffers_lost = self.buffers_lost.saturating_add(other.buffers_lost);
    }
}

/// The traced system.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct System {
    /// Windows major version, such as 10.
    pub major: u8,
    /// Windows minor version.
    pub minor: u8,
    /// Windows build, such as 26100.
    pub build: u32,
    /// Update build revision, such as 4652.
    pub revision: Option<u32>,
    /// Processors: the system's own count where it is logged, else the log-file header's.
    pub processors: u32,
    /// Bytes per pointer, 4 or 8.
    pub pointer_size: u8,
    /// Processor architecture (PROCESSOR_ARCHITECTURE_* of winnt.h: 0 x86, 9 AMD64, 12 ARM64).
    pub architecture: Option<u16>,
    /// The processors' make.
    pub cpu: Option<CpuInfo>,
    /// Computer name.
    pub computer_name: Option<String>,
    /// Build lab string, such as `26100.1.amd64fre.ge_release.240331-1435`.
    pub build_lab: Option<String>,
    /// Product name, such as `Windows 11 Pro`.
    pub product: Option<String>,
}

/// The processors' make, as far as the trace says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CpuInfo {
    /// Vendor string, such as `GenuineIntel`.
    pub vendor: Option<String>,
    /// Brand string.
    pub name: Option<String>,
    /// Family (ProcessorLevel of SYSTEM_INFO).
    pub family: u16,
    /// Model (high byte of ProcessorRevision).
    pub model: u16,
    /// Stepping (low byte of ProcessorRevision).
    pub stepping: u16,
    /// Nominal speed in MHz.
    pub mhz: u32,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Session id.
    pub session: u32,
    /// Image file name, such as `svchost.exe`.
    pub name: String,
    /// Command line; empty when not logged.
    pub command_line: String,
    /// DirectoryTableBase: CR3 of the kernel's page tables, which PIP packets of Intel PT name.
    pub directory_table_base: Option<u64>,
    /// The first event that names it.
    pub first_seen: Tick,
    /// When it started, if the trace saw it.
    pub started: Option<Tick>,
    /// When it ended, if the trace saw it.
    pub ended: Option<Tick>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// Its process's id.
    pub pid: u32,
    /// Name; empty when it has none.
    pub name: String,
    /// The first event that names it.
    pub first_seen: Tick,
    /// When it started, if the trace saw it.
    pub started: Option<Tick>,
    /// When it ended, if the trace saw it.
    pub ended: Option<Tick>,
}

/// A volume's two names (SystemConfigEx VolumeMapping).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Volume {
    /// Such as `\Device\HarddiskVolume3\`.
    pub nt: String,
    /// Such as `C:\`.
    pub dos: String,
}

/// Intel PT data that was logged for one event: the trace of one processor and thread up to that event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IptSnapshot<'a> {
    /// Timestamp of the event that triggered it.
    pub trigger_time: Tick,
    /// Processor that traced.
    pub processor: u16,
    /// Process of the traced thread.
    pub pid: u32,
    /// The traced thread.
    pub tid: u32,
    /// The IPT options word that the session was configured with.
    pub options: u64,
    /// The word after TraceSize, of the first piece: probably where the ring buffer's writer stood.
    pub ring_offset: u32,
    /// The event that triggered it, if the trace holds it.
    pub trigger: Option<Trigger>,
    /// Bytes that the events declare; more than the pieces hold when one was cut.
    pub declared: u64,
    /// The data as logged: one piece per event, in order. Borrowed from the file unless its buffer is compressed.
    pub pieces: Vec<Cow<'a, [u8]>>,
    /// The event of each piece.
    pub events: Vec<IptEvent>,
}

/// One of the events that a snapshot's data was logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IptEvent {
    /// The kind of its header.
    pub header: HeaderKind,
    /// Bytes of the header.
    pub header_length: usize,
    /// Bytes of data that it declares: TraceSize.
    pub declared: u32,
    /// The word at offset 28 of its payload, after TraceSize. What it means is not known for sure.
    pub word28: u32,
}

/// The event that an Intel PT snapshot belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Trigger {
    /// Its kind.
    pub hook: HookId,
    /// Its kind's name, such as `CSwitch`, if known.
    pub name: Option<&'static str>,
}
