//! `DUMP_HEADER64`: the values that go into it, and its bytes.

use zerocopy::{FromZeros, IntoBytes};

use super::raw::{self, ExceptionRecord64, Header64};
use super::{DumpType, Machine, Parts};
use crate::Error;

/// The dumped machine, as the header tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct System {
    /// Architecture.
    pub machine: Machine,
    /// True for a checked build of Windows; the debugger prints "Checked" or "Free".
    pub checked: bool,
    /// Build number, for example 19041.
    pub build: u32,
    /// Processors; at least 1.
    pub processors: u32,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product_type: u32,
    /// `VER_SUITE_*` bits; 0x110 on a workstation: terminal server, single user.
    pub suite_mask: u32,
    /// When the dump was made: FILETIME, 100 ns since 1601 UTC.
    pub time: u64,
    /// Time since boot in units of 100 ns.
    pub up_time: u64,
    /// Number of the boot that the dump is of; 0 unknown.
    pub boot_id: u32,
}

impl Default for System {
    fn default() -> System {
        System {
            machine: Machine::AMD64,
            checked: false,
            build: 0,
            processors: 1,
            product_type: 1,
            suite_mask: 0x110,
            time: 0,
            up_time: 0,
            boot_id: 0,
        }
    }
}

/// Why the machine stopped. Code 0 in a synthetic dump: it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Bugcheck {
    /// The stop code, for example 0x1000007E.
    pub code: u32,
    /// Its parameters.
    pub parameters: [u64; 4],
}

/// The exception that a dump stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exception {
    /// NTSTATUS; a bugcheck dump has 0x80000003 and the address of the bugcheck call.
    pub code: u32,
    /// `EXCEPTION_NONCONTINUABLE` is 1.
    pub flags: u32,
    /// Address of a nested `EXCEPTION_RECORD`, or 0.
    pub nested: u64,
    /// Address of the instruction.
    pub address: u64,
    /// Up to 15 values that explain the code.
    pub parameters: Vec<u64>,
}

/// Addresses from which a debugger sets out. 0 where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Anchors {
    /// Physical address of the system's page table root.
    pub directory_table_base: u64,
    /// Address of the variable `MmPfnDatabase`.
    pub pfn_database: u64,
    /// Address of the list head `PsLoadedModuleList`.
    pub ps_loaded_module_list: u64,
    /// Address of the list head `PsActiveProcessHead`.
    pub ps_active_process_head: u64,
    /// Address of `KdDebuggerDataBlock`.
    pub debugger_data_block: u64,
}

/// `EXCEPTION_MAXIMUM_PARAMETERS` (winnt.h).
const MAXIMUM_PARAMETERS: usize = 15;

impl Exception {
    /// From its on-disk form. A count of more than 15 parameters counts as 15.
    pub fn from_raw(raw: &ExceptionRecord64) -> Exception {
        let count = usize::try_from(raw.number_parameters.get()).unwrap_or(usize::MAX);
        Exception {
            code: raw.code.get(),
            flags: raw.flags.get(),
            nested: raw.record.get(),
            address: raw.address.get(),
            parameters: raw.information.iter().take(count).map(|value| value.get()).collect(),
        }
    }

    fn to_raw(&self) -> Result<ExceptionRecord64, Error> {
        let mut information = [0.into(); MAXIMUM_PARAMETERS];
        let Some(places) = information.get_mut(..self.parameters.len()) else {
            let found = self.parameters.len().to_string();
            return Err(Error::rule("EXCEPTION_RECORD64.NumberParameters", found, "0 to 15", "all readers"));
        };
        for (place, &value) in places.iter_mut().zip(&self.parameters) {
            *place = value.into();
        }
        Ok(ExceptionRecord64 {
            code: self.code.into(),
            flags: self.flags.into(),
            record: self.nested.into(),
            address: self.address.into(),
            number_parameters: (self.parameters.len() as u32).into(),
            pad: 0.into(),
            information,
        })
    }
}

/// What a header is made of.
pub(super) struct Values<'v> {
    pub(super) system: &'v System,
    pub(super) bugcheck: &'v Bugcheck,
    pub(super) anchors: &'v Anchors,
    pub(super) exception: &'v Exception,
    pub(super) context: &'v [u8],
    pub(super) comment: &'v str,
    pub(super) parts: Parts,
}

/// The header's bytes, everything unwritten filled with "PAGE" as Windows fills it. `RequiredDumpSpace` is left for the
/// layout.
pub(super) fn encode(values: &Values<'_>) -> Result<Box<Header64>, Error> {
    let Values { system, bugcheck, anchors, exception, context, comment, parts } = values;
    let mut header = Box::new(Header64::new_zeroed());
    for chunk in header.as_mut_bytes().chunks_exact_mut(4) {
        chunk.copy_from_slice(&raw::SIGNATURE.to_le_bytes());
    }
    header.valid_dump = raw::VALID_DUMP64.into();
    header.major_version = if system.checked { 12 } else { 15 }.into();
    header.minor_version = system.build.into();
    header.directory_table_base = anchors.directory_table_base.into();
    header.pfn_data_base = anchors.pfn_database.into();
    header.ps_loaded_module_list = anchors.ps_loaded_module_list.into();
    header.ps_active_process_head = anchors.ps_active_process_head.into();
    header.machine_image_type = system.machine.0.into();
    header.number_processors = system.processors.into();
    header.bug_check_code = bugcheck.code.into();
    header.bug_check_parameters = bugcheck.parameters.map(Into::into);
    header.kd_debugger_data_block = anchors.debugger_data_block.into();
    let space = header.context_record.get_mut(..context.len()).ok_or_else(|| {
        let allowed = format!("at most {:#x} bytes", raw::CONTEXT_SPACE);
        Error::rule("DUMP_HEADER64.ContextRecord", format!("{:#x} bytes", context.len()), allowed, "dbgeng")
    })?;
    space.copy_from_slice(context);
    header.exception = exception.to_raw()?;
    header.dump_type = DumpType::TRIAGE.0.into();
    header.system_time = system.time.into();
    header.comment = comment_bytes(comment)?;
    header.system_up_time = system.up_time.into();
    header.mini_dump_fields = parts.0.into();
    header.product_type = system.product_type.into();
    header.suite_mask = system.suite_mask.into();
    header.writer_status = 0.into();
    header.unused1 = 0;
    header.kd_secondary_version = 0;
    header.attributes = 0.into();
    header.boot_id = system.boot_id.into();
    Ok(header)
}

/// `Comment` is 128 bytes with a NUL at the end.
fn comment_bytes(comment: &str) -> Result<[u8; 128], Error> {
    let mut bytes = [0; 128];
    if comment.len() >= bytes.len() || comment.contains('\0') {
        let found = format!("{} bytes", comment.len());
        return Err(Error::rule("DUMP_HEADER64.Comment", found, "at most 127 bytes without NUL", "dbgeng"));
    }
    bytes[..comment.len()].copy_from_slice(comment.as_bytes());
    Ok(bytes)
}
