//! `mkdump threads`.

use kernel_snapshot::threads::{Found, Thread};
use kernel_snapshot::{Progress, Reading};
use serde::Serialize;

use super::{Hex, SourceReport};
use crate::error::Result;
use crate::jobs::threads::{ThreadList, ThreadListOptions};

/// Lists the threads of a triage dump, or of several of one boot.
///
/// # Errors
/// When the source is not a triage dump, or the PDB that was given cannot be read or has no thread types. A PDB that was
/// looked for and not found, or that is unfit, is a warning.
pub fn list_threads(
    reading: &Reading<'_>,
    options: &ThreadListOptions,
    progress: &dyn Progress,
) -> Result<ThreadsReport> {
    Ok(crate::jobs::threads::list_threads(reading, options, progress)?.into())
}

/// `mkdump threads`: a triage dump's threads.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadsReport {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// The dump.
    pub source: SourceReport,
    /// Where a thread object keeps what.
    pub layout: LayoutReport,
    /// The threads: the current one, then those that something names, then those that scanning found.
    pub threads: Vec<ThreadReport>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// Offsets in `ETHREAD` by which threads were found and read.
#[derive(Clone, Debug, Serialize)]
pub struct LayoutReport {
    /// `built-in` (Windows 10 19041), or `pdb`.
    pub origin: &'static str,
    /// The PDB that they were read from.
    pub pdb: Option<String>,
    /// `KTHREAD.Process`; the caller's when one was given.
    pub process: Hex,
    /// `KTHREAD.KernelStack`; the dump's own when it states one.
    pub kernel_stack: Hex,
    /// `KTHREAD.StackLimit`.
    pub stack_limit: Hex,
    /// `KTHREAD.StackBase`.
    pub stack_base: Hex,
    /// `ETHREAD.Cid`.
    pub client_id: Hex,
}

/// A thread. What was not captured is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadReport {
    /// Address of the `ETHREAD`.
    pub address: Hex,
    /// `current`, `running`, `bugcheck`, `listed` or `scanned`.
    pub found: &'static str,
    /// The bugcheck parameter that is its address, from 1.
    pub parameter: Option<u8>,
    /// True when a captured field of the object shows that it is a thread; false when only a pointer says so.
    pub verified: bool,
    /// Address of its `EPROCESS`.
    pub process: Option<Hex>,
    /// Process id.
    pub process_id: Option<u64>,
    /// Thread id.
    pub thread_id: Option<u64>,
    /// The processor that it ran on.
    pub processor: Option<u32>,
    /// Stack pointer.
    pub stack_pointer: Option<Hex>,
    /// The stack's lowest address and the first one after it.
    pub stack: Option<[Hex; 2]>,
    /// What was captured of the stack from the stack pointer upwards: first address, one past the last.
    pub captured: Option<[Hex; 2]>,
}

impl From<&Thread> for ThreadReport {
    fn from(thread: &Thread) -> Self {
        let (found, parameter) = match thread.found {
            Found::Current => ("current", None),
            Found::Running => ("running", None),
            Found::Bugcheck(number) => ("bugcheck", Some(number)),
            Found::Listed => ("listed", None),
            Found::Scanned => ("scanned", None),
        };
        let extent = |from: u64| [Hex(from), Hex(from.saturating_add(thread.captured))];
        Self {
            address: Hex(thread.address),
            found,
            parameter,
            verified: thread.verified,
            process: thread.process.map(Hex),
            process_id: thread.client_id.map(|(process, _)| process),
            thread_id: thread.client_id.map(|(_, id)| id),
            processor: thread.processor,
            stack_pointer: thread.stack_pointer.map(Hex),
            stack: thread.stack.map(|(limit, base)| [Hex(limit), Hex(base)]),
            captured: thread.stack_pointer.filter(|_| thread.captured > 0).map(extent),
        }
    }
}

impl From<ThreadList<'_>> for ThreadsReport {
    fn from(list: ThreadList<'_>) -> Self {
        let layout = list.layout;
        Self {
            schema_version: super::SCHEMA_VERSION,
            source: (&list.reading.summary).into(),
            layout: LayoutReport {
                origin: if list.pdb.is_some() { "pdb" } else { "built-in" },
                pdb: list.pdb.map(|path| path.to_string_lossy().into_owned()),
                process: Hex(layout.process.into()),
                kernel_stack: Hex(layout.kernel_stack.into()),
                stack_limit: Hex(layout.stack_limit.into()),
                stack_base: Hex(layout.stack_base.into()),
                client_id: Hex(layout.client_id.into()),
            },
            threads: list.threads.iter().map(ThreadReport::from).collect(),
            warnings: list.warnings,
        }
    }
}
