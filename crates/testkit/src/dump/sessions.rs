//! Trace sessions in the memory of a made-up kernel: silo states, contexts, rings of both shapes, buffers.
//!
//! Offsets are those of public type listings of five kernels, written down here once more: the crate that is tested reads
//! them from a table.

mod copied;
mod place;
mod sample;

pub use copied::{copied, secondary};
pub use sample::sample;

use super::kernel::Machine;
use super::{pdb, pdb_symbols};

/// Where one kernel has the members that matter.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Build of Windows.
    pub build: u32,
    /// Bytes of a context.
    pub size: usize,
    /// What the members from the names to the flags lie before those of the older family: 0 or 10.
    before: usize,
    global_list: usize,
    silo_state: usize,
    ipt_data: Option<usize>,
    /// Where the silo state has the number of sessions and the pointer to their contexts; else the array itself.
    slots: Result<(usize, usize), usize>,
    settings: Option<usize>,
    silo_size: usize,
}

/// Windows 10 1607: the array lies in the silo state.
pub const W14393: Layout = Layout {
    build: 14393,
    size: 0x440,
    before: 0x10,
    global_list: 0x60,
    silo_state: 0x388,
    ipt_data: None,
    slots: Err(0x390),
    settings: None,
    silo_size: 0x13a8,
};
/// Windows 10 1803.
pub const W17134: Layout = Layout {
    build: 17134,
    size: 0x510,
    before: 0,
    global_list: 0x60,
    silo_state: 0x458,
    ipt_data: Some(0x3f8),
    slots: Ok((0x10, 0x1b0)),
    settings: Some(0x104c),
    silo_size: 0x11c0,
};
/// Windows 10 2004 as it came out.
pub const W19041: Layout = Layout {
    build: 19041,
    size: 0x550,
    silo_state: 0x458,
    slots: Ok((0x10, 0x1c8)),
    settings: Some(0x1070),
    silo_size: 0x1220,
    ..W17134
};
/// Windows 10 2004 with the updates from 1466 on: the silo state moved.
pub const W19041B: Layout = Layout { size: 0x530, silo_state: 0x438, ..W19041 };
/// Windows 11.
pub const W22000B: Layout = Layout {
    build: 22000,
    size: 0x540,
    before: 0x10,
    global_list: 0x50,
    silo_state: 0x448,
    ipt_data: Some(0x408),
    slots: Ok((0x10, 0x1c8)),
    settings: Some(0x1088),
    silo_size: 0x1238,
};

/// A later one, after a listing without its build: no table has it.
pub const NEWEST: Layout = Layout {
    build: 26100,
    size: 0x600,
    silo_state: 0x550,
    ipt_data: None,
    slots: Ok((0x10, 0x2c8)),
    settings: None,
    silo_size: 0x1348,
    ..W22000B
};

/// All of them but the last.
pub const LAYOUTS: [Layout; 5] = [W14393, W17134, W19041, W19041B, W22000B];

/// The shape of a session's list of buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Through the buffers themselves.
    Direct,
    /// Through nodes that point to them.
    Nodes,
}

/// A buffer: what its header says, and the bytes behind it.
#[derive(Clone, Debug, Default)]
pub struct Buffer {
    /// Processor.
    pub processor: u16,
    /// SequenceNumber.
    pub sequence: i64,
    /// State.
    pub state: u32,
    /// BufferFlag.
    pub flags: u16,
    /// BufferType.
    pub kind: u16,
    /// SavedOffset.
    pub saved: u32,
    /// CurrentOffset.
    pub current: u32,
    /// TimeStamp.
    pub time: i64,
    /// What follows the header; what is left of the buffer is stale.
    pub body: Vec<u8>,
}

impl Buffer {
    /// Never used.
    pub fn unused() -> Self {
        Self { flags: 0x100, current: 0x48, ..Self::default() }
    }

    /// Current on a processor; it keeps the low number of its last use.
    pub fn current(processor: u16, sequence: i64, events: &[Vec<u8>]) -> Self {
        let body = body(events);
        Self { processor, sequence, state: 1, current: 0x48 + body.len() as u32, body, ..Self::default() }
    }

    /// Given back after a timer's flush, of a session with buffers of `size` bytes.
    pub fn flushed(processor: u16, sequence: i64, size: u32, events: &[Vec<u8>]) -> Self {
        let body = body(events);
        let end = 0x48 + body.len() as u32;
        Self { processor, sequence, saved: end, current: size + end, time: 1, body, ..Self::default() }
    }

    /// Given back because the next event, of `more` bytes, did not fit.
    pub fn full(processor: u16, sequence: i64, more: u32, events: &[Vec<u8>]) -> Self {
        let body = body(events);
        let end = 0x48 + body.len() as u32;
        Self { processor, sequence, saved: end, current: end + more, time: 2, body, ..Self::default() }
    }
}

/// Events one after another, each at a multiple of 8.
pub fn body(events: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for event in events {
        body.extend_from_slice(event);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    body
}

/// A trace session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its log file.
    pub log_file: String,
    /// LoggerMode.
    pub mode: u32,
    /// ClockType.
    pub clock: u32,
    /// BufferSize.
    pub buffer_size: u32,
    /// ReferenceTime: FILETIME and tick.
    pub reference: (i64, i64),
    /// EventsLost.
    pub events_lost: u32,
    /// FlushTimer, seconds.
    pub flush_timer: u32,
    /// Flags.
    pub flags: u32,
    /// Options and hooks of Intel PT.
    pub ipt: Option<(u64, Vec<u16>)>,
    /// Event classes of a system logger.
    pub classes: Option<u32>,
    /// The shape of its list.
    pub ring: Ring,
    /// Its buffers in the order of the list.
    pub buffers: Vec<Buffer>,
}

impl Session {
    /// A session on the performance counter with buffers of 8 KiB, and none of them.
    pub fn new(id: u32, name: &str) -> Self {
        Self {
            id,
            name: name.into(),
            log_file: String::new(),
            mode: 0x0280_0480,
            clock: 1,
            buffer_size: 0x2000,
            reference: (132_583_450_000_000_000, 1_000_000),
            events_lost: 0,
            flush_timer: 0,
            flags: 0,
            ipt: None,
            classes: None,
            ring: Ring::Direct,
            buffers: Vec::new(),
        }
    }
}

/// A kernel with sessions.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Where it has what.
    pub layout: Layout,
    /// GUID and age of its PDB, which its image names.
    pub pdb: ([u8; 16], u32),
    /// The host's sessions.
    pub sessions: Vec<Session>,
    /// The sessions of a container.
    pub container: Vec<Session>,
    /// Length of the array of contexts, where that is not fixed.
    pub max_loggers: u32,
    /// Whether the debugger's data lead to the sessions.
    pub has_debugger_data: bool,
}

/// Where things of this kernel are: addresses, and RVAs of symbols.
pub mod at {
    /// The host's silo state.
    pub const STATE: u64 = 0xffff_c08b_1000_0000;
    /// That of the container.
    pub const CONTAINER: u64 = 0xffff_c08b_1100_0000;
    /// From a silo state to an array that is not in it, to contexts, names, buffers and nodes.
    pub const ARRAY: u64 = 0x1_0000;
    /// Contexts, 1000 apart.
    pub const CONTEXTS: u64 = 0x10_0040;
    /// Names, 1000 apart.
    pub const NAMES: u64 = 0x20_0000;
    /// Buffers; each begins in the middle of a page.
    pub const BUFFERS: u64 = 0x40_0800;
    /// Nodes, 20 apart.
    pub const NODES: u64 = 0x30_0000;
    /// Pointer to the host's silo state.
    pub const HOST_STATE: u32 = 0x2_0000;
    /// The table for debuggers.
    pub const DEBUGGER_DATA: u32 = 0x2_0020;
    /// When the machine was started.
    pub const BOOT_TIME: u32 = 0x2_0048;
    /// Timer resolution.
    pub const MAXIMUM_INCREMENT: u32 = 0x2_0050;
    /// Head of the list of processes.
    pub const PROCESS_LIST: u32 = 0x2_0060;
    /// The image's debug directory.
    pub const DEBUG_DIRECTORY: u32 = 0x2_1000;
}

impl Kernel {
    /// A kernel without sessions.
    pub fn new(layout: Layout) -> Self {
        let pdb = (*b"kernel of a test", 1);
        let (sessions, container) = (Vec::new(), Vec::new());
        Self { layout, pdb, sessions, container, max_loggers: 64, has_debugger_data: true }
    }

    /// The machine with all of it in memory.
    pub fn machine(&self) -> Machine {
        place::machine(self)
    }

    /// Address of the context of the host's session at `index`.
    pub fn context(&self, index: usize) -> u64 {
        at::STATE + at::CONTEXTS + 0x1000 * index as u64
    }

    /// Address of a buffer of that session.
    pub fn buffer(&self, session: usize, index: usize) -> u64 {
        place::buffer(at::STATE, session, index)
    }

    /// Address of the head of the list of that session's buffers.
    pub fn ring(&self, session: usize) -> u64 {
        self.context(session) + self.layout.global_list as u64
    }

    /// Address of a member of the context of that session: its name, size and place of the silo state.
    pub fn name_of(&self, session: usize) -> u64 {
        self.context(session) + (0x98 - self.layout.before) as u64
    }

    /// Address of that session's `SiloState`.
    pub fn silo_of(&self, session: usize) -> u64 {
        self.context(session) + self.layout.silo_state as u64
    }

    /// Address of the array's entry of an id.
    pub fn slot(&self, id: u32) -> u64 {
        place::array(&self.layout, at::STATE) + 8 * u64::from(id)
    }

    /// The kernel's PDB, with types or stripped of them.
    pub fn pdb(&self, has_types: bool) -> Vec<u8> {
        let (guid, age) = self.pdb;
        let publics: Vec<_> = self.symbols().into_iter().map(|(name, rva)| (1, rva, name)).collect();
        // The section's offset 0 is the image's, so that offsets are RVAs.
        if !has_types {
            return pdb_symbols::symbols(guid, age, &[0], &publics, &[]);
        }
        let structures = self.structures();
        let structures: Vec<(&str, &[(&str, u16)])> =
            structures.iter().map(|(name, list)| (*name, &list[..])).collect();
        pdb_symbols::with_types(guid, age, &[0], &publics, &pdb::type_stream(&structures))
    }

    /// Symbols and their RVAs.
    pub fn symbols(&self) -> Vec<(&'static str, u32)> {
        vec![
            ("EtwpHostSiloState", at::HOST_STATE),
            ("EtwpDebuggerData", at::DEBUGGER_DATA),
            ("KeBootTime", at::BOOT_TIME),
            ("KeMaximumIncrement", at::MAXIMUM_INCREMENT),
            ("PsActiveProcessHead", at::PROCESS_LIST),
        ]
    }

    /// Structures with their members' offsets.
    pub fn structures(&self) -> Vec<(&'static str, Vec<(&'static str, u16)>)> {
        let job = vec![("ParentJob", place::JOB_PARENT as u16), ("ServerSiloGlobals", place::JOB_GLOBALS as u16)];
        vec![
            ("_WMI_LOGGER_CONTEXT", self.context_members()),
            ("_ETW_SILODRIVERSTATE", self.silo_members()),
            ("_ESERVERSILO_GLOBALS", vec![("EtwSiloState", place::GLOBALS_STATE as u16)]),
            ("_EJOB", job),
            ("_EPROCESS", vec![("ActiveProcessLinks", place::LINKS as u16), ("Job", place::JOB as u16)]),
            ("_KPRCB", vec![("MHz", 0x44)]),
        ]
    }

    fn context_members(&self) -> Vec<(&'static str, u16)> {
        let layout = &self.layout;
        let family = place::FAMILY.iter().map(|(name, offset)| (*name, (offset - layout.before) as u16));
        let mut members: Vec<(&str, u16)> = vec![("LoggerId", 0), ("BufferSize", 4), ("LoggerMode", 0xc)];
        members.push(("GlobalList", layout.global_list as u16));
        members.extend(family);
        members.push(("SiloState", layout.silo_state as u16));
        members.extend(layout.ipt_data.map(|at| ("IptData", at as u16)));
        members
    }

    fn silo_members(&self) -> Vec<(&'static str, u16)> {
        let mut members = match self.layout.slots {
            Ok((count, array)) => vec![("MaxLoggers", count as u16), ("EtwpLoggerContext", array as u16)],
            Err(inline) => vec![("EtwpLoggerContext", inline as u16)],
        };
        members.extend(self.layout.settings.map(|at| ("SystemLoggerSettings", at as u16)));
        members
    }
}
