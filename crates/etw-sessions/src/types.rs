//! The kernel's structures and symbols by name, as a PDB or a table says them.

use std::collections::BTreeMap;

use etl_file::Guid;

/// Where a structure has its members: bytes from its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StructLayout {
    /// Bytes of the structure, when known.
    pub size: Option<u32>,
    /// Members by the kernel's names.
    pub members: BTreeMap<String, u32>,
}

impl StructLayout {
    /// Where a member is; `None` when the structure has no such member, or its place is not known.
    pub fn offset(&self, member: &str) -> Option<u32> {
        self.members.get(member).copied()
    }

    /// The members on whose places all layouts agree.
    pub(crate) fn agreed<'l>(layouts: impl IntoIterator<Item = &'l Self>) -> Self {
        let mut layouts = layouts.into_iter();
        let Some(mut agreed) = layouts.next().cloned() else { return Self::default() };
        for other in layouts {
            agreed.size = agreed.size.filter(|_| agreed.size == other.size);
            agreed.members.retain(|member, offset| other.offset(member) == Some(*offset));
        }
        agreed
    }
}

/// The kernel's names of structures.
pub mod names {
    /// The context of a session.
    pub const CONTEXT: &str = "_WMI_LOGGER_CONTEXT";
    /// The sessions of a silo: the host, or a container.
    pub const SILO: &str = "_ETW_SILODRIVERSTATE";
    /// What a silo has of its own.
    pub const SILO_GLOBALS: &str = "_ESERVERSILO_GLOBALS";
    /// A job; silos are jobs.
    pub const JOB: &str = "_EJOB";
    /// A process.
    pub const PROCESS: &str = "_EPROCESS";
    /// A processor.
    pub const PROCESSOR: &str = "_KPRCB";

    /// The structures that are read of a kernel's PDB.
    pub const STRUCTURES: [&str; 6] = [CONTEXT, SILO, SILO_GLOBALS, JOB, PROCESS, PROCESSOR];

    /// Pointer to the host's silo state.
    pub const HOST_STATE: &str = "EtwpHostSiloState";
    /// The host's silo globals.
    pub const HOST_GLOBALS: &str = "PspHostSiloGlobals";
    /// What debuggers are told of trace sessions.
    pub const DEBUGGER_DATA: &str = "EtwpDebuggerData";
    /// When the machine was started.
    pub const BOOT_TIME: &str = "KeBootTime";
    /// Resolution of the timer.
    pub const MAXIMUM_INCREMENT: &str = "KeMaximumIncrement";
    /// The array of contexts in kernels that have no silo state.
    pub const CONTEXTS: &str = "WmipLoggerContext";
    /// Head of the list of processes.
    pub const PROCESS_LIST: &str = "PsActiveProcessHead";

    /// The symbols that are read of a kernel's PDB.
    pub const SYMBOLS: [&str; 7] =
        [HOST_STATE, HOST_GLOBALS, DEBUGGER_DATA, BOOT_TIME, MAXIMUM_INCREMENT, CONTEXTS, PROCESS_LIST];
}

/// What a kernel's PDB says: structures and symbols, by the kernel's names. Either may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTypes {
    /// The structures of [`names::STRUCTURES`] that the PDB defines.
    pub structures: BTreeMap<String, StructLayout>,
    /// RVAs of the symbols of [`names::SYMBOLS`] that the PDB has.
    pub symbols: BTreeMap<String, u32>,
}

/// The PDB that a kernel was linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PdbKey {
    /// Its GUID, as stored.
    pub guid: Guid,
    /// Its age.
    pub age: u32,
}
