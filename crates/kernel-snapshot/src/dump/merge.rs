//! Several triage dumps of one boot: together they show more than each.
//!
//! Windows writes a triage dump at a bugcheck, and live ones while it runs (`LiveKernelReports`). Modules stay where
//! they are for the length of a boot, so code captured by one dump is code of all; stacks and data are of the moment at
//! which each was taken.

use mdmp::read::Segments;

use super::{Content, Dump};
use crate::snapshot::Module;

/// Triage dumps of one boot as one source.
#[derive(Debug)]
pub struct Boot<'a> {
    /// The dumps; the first one is the one that the result is of.
    pub dumps: Vec<Dump<'a>>,
    /// Modules of all, in the order of their bases; where two dumps differ on an address, the first dump's.
    pub modules: Vec<Module>,
    /// Memory of all; where two dumps hold the same address, the first dump's.
    pub memory: Segments<'a>,
    /// What does not fit together.
    pub warnings: Vec<String>,
}

/// Why dumps cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct MergeError(Problem);

/// What keeps dumps from being merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MergeErrorKind {
    /// Nothing to merge.
    Empty,
    /// One is not a triage dump; only triage dumps hold parts of one whole.
    NotTriage,
    /// Another machine, or another boot of the same.
    OtherBoot,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("no dump was given")]
    Empty,
    #[error("dump {index} is a {kind} dump; only triage dumps of one boot can be merged")]
    NotTriage { index: usize, kind: &'static str },
    #[error("dump {index} is not of the boot of dump 0: {what} is {found}, there {expected}")]
    OtherBoot { index: usize, what: &'static str, found: String, expected: String },
}

impl MergeError {
    /// What keeps the dumps from being merged.
    pub fn kind(&self) -> MergeErrorKind {
        match self.0 {
            Problem::Empty => MergeErrorKind::Empty,
            Problem::NotTriage { .. } => MergeErrorKind::NotTriage,
            Problem::OtherBoot { .. } => MergeErrorKind::OtherBoot,
        }
    }

    /// The dump that does not belong to the others: its position in the list, from 0.
    pub fn index(&self) -> Option<usize> {
        match self.0 {
            Problem::Empty => None,
            Problem::NotTriage { index, .. } | Problem::OtherBoot { index, .. } => Some(index),
        }
    }
}

/// Time of dump minus time since boot: the clock may be set and slewed while Windows runs, but not by more than this
/// many units of 100 ns (a minute), or it is not the same boot.
const BOOT_TIME_TOLERANCE: u64 = 60 * 10_000_000;

impl<'a> Boot<'a> {
    /// Merges dumps of one boot. A single dump counts as a boot too.
    ///
    /// # Errors
    /// When a dump is not a triage dump, or differs in build, kernel base, kernel image or boot time.
    pub fn merge(dumps: Vec<Dump<'a>>) -> Result<Boot<'a>, MergeError> {
        let Some(first) = dumps.first() else { return Err(MergeError(Problem::Empty)) };
        let mut memory = Segments::default();
        let mut modules: Vec<Module> = Vec::new();
        let mut warnings = Vec::new();
        for (index, dump) in dumps.iter().enumerate() {
            let Content::Triage(triage) = &dump.content else {
                return Err(MergeError(Problem::NotTriage { index, kind: dump.kind.name() }));
            };
            same_boot(index, first, dump)?;
            memory.fill(triage.memory());
            warnings.extend(dump.warnings.iter().cloned());
            // Those of earlier dumps by base: a clash can only be with a neighbour.
            let known = modules.len();
            for module in &dump.snapshot.modules {
                let end = modules[..known].partition_point(|other| other.base <= module.base);
                let clash = modules[..known][end.saturating_sub(1)..]
                    .iter()
                    .take(2)
                    .find(|other| other.base < module.end() && module.base < other.end());
                match clash {
                    None => modules.push(module.clone()),
                    Some(other) if same_image(other, module) => {}
                    Some(other) => warnings.push(format!(
                        "dump {index}: {} at {:#x} is left out; {} at {:#x} was there in an earlier dump",
                        module.name, module.base, other.name, other.base
                    )),
                }
            }
            modules.sort_by_key(|module| module.base);
        }
        Ok(Boot { dumps, modules, memory, warnings })
    }
}

fn same_image(one: &Module, other: &Module) -> bool {
    one.base == other.base && one.size == other.size && one.timestamp == other.timestamp
}

fn same_boot(index: usize, first: &Dump<'_>, dump: &Dump<'_>) -> Result<(), MergeError> {
    let other =
        |what, found: String, expected: String| Err(MergeError(Problem::OtherBoot { index, what, found, expected }));
    let (Some(a), Some(b)) = (first.triage(), dump.triage()) else { return Ok(()) };
    let (system, expected) = (b.header().system(), a.header().system());
    if system.build != expected.build {
        return other("build", system.build.to_string(), expected.build.to_string());
    }
    let kernel = |dump: &Dump<'_>| {
        let base = dump.snapshot.kernel_base.unwrap_or(0);
        let module = dump.snapshot.modules.iter().find(|module| module.base == base);
        (base, module.and_then(Module::image_key))
    };
    let (found, expected_kernel) = (kernel(dump), kernel(first));
    if found != expected_kernel {
        let show = |(base, key): (u64, Option<String>)| format!("{base:#x} ({})", key.unwrap_or_default());
        return other("kernel", show(found), show(expected_kernel));
    }
    let boot = |system: &mdmp::kernel::System| system.time.wrapping_sub(system.up_time);
    let (found, expected) = (boot(&system), boot(&expected));
    if found.abs_diff(expected) > BOOT_TIME_TOLERANCE {
        return other("boot time (FILETIME)", format!("{found:#x}"), format!("{expected:#x}"));
    }
    Ok(())
}
