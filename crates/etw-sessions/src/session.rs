//! A trace session, as plain values.

use etl_file::{FileTime, Tick};

use crate::buffer::{SessionBuffer, Skip};
use crate::layout::Layout;
use crate::machine::Machine;
use crate::warning::Warning;

/// The sessions of a dump.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sessions {
    /// Where they are from.
    pub source: SessionSource,
    /// What the dump says of the machine.
    pub machine: Machine,
    /// The silos: the host, and containers where they can be found. None from secondary data.
    pub silos: Vec<Silo>,
    /// True when containers were looked for too, for which the kernel's PDB is needed.
    pub has_all_silos: bool,
    /// The sessions, by silo and id.
    pub sessions: Vec<Session>,
    /// What is damaged or doubtful.
    pub warnings: Vec<Warning>,
}

/// Where sessions are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionSource {
    /// The kernel's contexts in a full or bitmap dump.
    Contexts(Box<Layout>),
    /// What the kernel copied when it stopped: the ETW block behind a dump.
    SecondaryData,
}

/// The sessions of the host, or of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Silo {
    /// Address of its `_ETW_SILODRIVERSTATE`; the first Windows 10 has none.
    pub state: Option<u64>,
    /// True for the host.
    pub is_host: bool,
    /// How many sessions it may have: the length of its array.
    pub max_sessions: u32,
    /// How many it has.
    pub sessions: u32,
}

/// A trace session. What the dump does not say is `None`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Session {
    /// Its id: the place in its silo's array.
    pub id: u32,
    /// Its name; untrusted.
    pub name: Option<String>,
    /// Address of its `_WMI_LOGGER_CONTEXT`.
    pub context: Option<u64>,
    /// Address of its silo's state.
    pub silo: Option<u64>,
    /// `EVENT_TRACE_*_MODE` bits.
    pub mode: u32,
    /// What its clock counts: 1 the performance counter, 2 system time, 3 processor cycles.
    pub clock: u32,
    /// Bytes of a buffer.
    pub buffer_size: u32,
    /// How many buffers it has, as the context says.
    pub number_of_buffers: Option<u32>,
    /// The fewest buffers that it was allowed.
    pub minimum_buffers: Option<u32>,
    /// The most buffers that it was allowed.
    pub maximum_buffers: Option<u32>,
    /// Buffers that were free.
    pub buffers_available: Option<u32>,
    /// Buffers that it had written to its file or delivered.
    pub buffers_written: Option<u32>,
    /// Events that it could not log.
    pub events_lost: Option<u32>,
    /// Buffers that it could not write.
    pub buffers_lost: Option<u32>,
    /// Buffers that it could not deliver.
    pub real_time_buffers_lost: Option<u32>,
    /// Seconds between flushes; 0 for none.
    pub flush_timer: Option<u32>,
    /// The file that it logs to; untrusted. Empty for none.
    pub log_file: Option<String>,
    /// Largest size of that file, in MiB, or KiB with mode bit 0x2000.
    pub maximum_file_size: Option<u32>,
    /// When it was started.
    pub start_time: Option<FileTime>,
    /// A time and the tick that belongs to it.
    pub reference: Option<Reference>,
    /// `_WMI_LOGGER_CONTEXT.Flags`.
    pub flags: Option<u32>,
    /// Whether its buffers are in pageable memory, which a kernel dump mostly does not hold.
    pub is_paged: Option<bool>,
    /// Consumers that it delivers to while it runs.
    pub consumers: Option<u32>,
    /// Its kernel event classes, for a system logger: the first word of its group mask.
    pub kernel_classes: Option<u32>,
    /// Its Intel PT data, when it records any.
    pub ipt: Option<IptSettings>,
    /// Its buffers that can hold events, in the order of the kernel's list.
    pub buffers: Vec<SessionBuffer>,
    /// Its other buffers.
    pub left_out: LeftOut,
}

/// A time and the tick of a session's clock that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The time.
    pub time: FileTime,
    /// The tick.
    pub tick: Tick,
}

/// What a session records of Intel PT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IptSettings {
    /// Options, as they were given to the processor's driver.
    pub options: u64,
    /// The events at which the processor's trace is taken.
    pub hooks: Vec<u16>,
}

/// Buffers that were seen and are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// With compact records of context switches.
    pub compact: u32,
    /// Compressed in memory, or waiting for it.
    pub compressed: u32,
    /// Placeholders of buffers that are elsewhere.
    pub placeholders: u32,
    /// In pages that the dump does not hold.
    pub unreadable: u32,
}

impl LeftOut {
    pub(crate) fn add(&mut self, skip: Skip) {
        match skip {
            Skip::Compact => self.compact += 1,
            Skip::Compressed => self.compressed += 1,
            Skip::Placeholder => self.placeholders += 1,
        }
    }

    /// All of them.
    pub fn all(&self) -> u32 {
        self.compact + self.compressed + self.placeholders + self.unreadable
    }
}

/// `EVENT_TRACE_FLAG_IMAGE_LOAD` in the first word of a group mask.
const IMAGE_LOAD: u32 = 4;
/// `_WMI_LOGGER_CONTEXT.Flags`: ProcessorTrace.
const PROCESSOR_TRACE: u32 = 1 << 26;

impl Session {
    /// Events in the buffers.
    pub fn events(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.events).sum()
    }

    /// Bytes of the events in the buffers.
    pub fn bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.bytes).sum()
    }

    /// Bytes that its buffers take.
    pub fn memory(&self) -> u64 {
        let buffers = self.number_of_buffers.map_or(self.buffers.len() as u64, u64::from);
        buffers * u64::from(self.buffer_size)
    }

    /// The ticks of the first and last event.
    pub fn span(&self) -> Option<(Tick, Tick)> {
        let first = self.buffers.iter().filter_map(|buffer| buffer.first).min()?;
        Some((first, self.buffers.iter().filter_map(|buffer| buffer.last).max()?))
    }

    /// Whether it logs the loading of images; `None` when that is not known.
    pub fn has_loader(&self) -> Option<bool> {
        self.kernel_classes.map(|classes| classes & IMAGE_LOAD != 0)
    }

    /// Whether it records Intel PT data; `None` when that is not known.
    pub fn has_ipt(&self) -> Option<bool> {
        self.flags.map(|flags| flags & PROCESSOR_TRACE != 0)
    }
}
