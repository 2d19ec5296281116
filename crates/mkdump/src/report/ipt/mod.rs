//! `mkdump ipt`: `docs/schema/ipt.json` and `docs/schema/ipt-flow.json` describe the JSON.

use intel_pt::flow::{Evidence, Quality};
use ipt_analysis::choose::Facts;
use ipt_analysis::quality::doubt;
use serde::Serialize;

use super::{Hex, KernelCfgReport, ModeReport, OverrideVerdictReport, SourceReport};
use crate::jobs::ipt::chosen::Chosen;

mod analysis;
mod calls;
mod coverage;
mod diagnose;
mod flow;
mod functions;

pub use analysis::analyse;
pub use calls::{
    CallEntry, CallKind, CallsChoice, CallsReport, CallsSummary, SymbolPattern, debugger_name, trace_calls,
};
pub use coverage::{CoverageReport, CoveredModule, cover, write_drcov, write_offsets};
pub use diagnose::diagnose;
pub use flow::{FlowEntry, FlowReport, FlowSummary, MissingModule, PlaceReport, trace_flow};
pub use functions::{FunctionModule, FunctionReport, FunctionsReport, UnknownCalls, list_functions};
pub use ipt_analysis::calls::write_folded;

/// What the Intel PT data of a trace says.
#[derive(Clone, Debug, Serialize)]
pub struct IptReport {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// The trace, or the dump that names the modules.
    pub source: SourceReport,
    /// The chosen snapshots: those of the trace by processor and time, then those from files.
    pub snapshots: Vec<SnapshotReport>,
    /// How many there are to choose from.
    pub snapshots_total: usize,
    /// Kernel modules that the data reaches, by address.
    pub modules: Vec<ReachedModule>,
    /// Threads, by process and thread id; one entry without ids for data whose threads are not known.
    pub threads: Vec<ThreadReport>,
    /// Addresses in no kernel module, by page.
    pub unknown: Vec<UnknownPage>,
    /// Whether code was changed at load time.
    pub verdict: VerdictReport,
    /// The instruction flow over the modules that are there.
    pub flow: FlowTotals,
    /// Where the data could not be read or followed, by snapshot and offset: the first [`IptReport::ERRORS`] of them.
    pub errors: Vec<IptErrorReport>,
    /// How many there are.
    pub errors_total: u64,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

impl IptReport {
    /// Errors that are listed one by one.
    pub const ERRORS: usize = 1000;

    /// Why the flow of some of the snapshots is not to be believed, in one sentence; `None` when all of it is good.
    pub fn doubt(&self) -> Option<String> {
        let each = self.snapshots.iter().map(|one| (one.facts.index, one.quality.as_ref()));
        doubt_of(self.flow.quality.as_ref(), each)
    }
}

/// Why the flow of some of the snapshots is not to be believed: all of them together, and each with its number.
fn doubt_of<'q>(
    whole: Option<&QualityReport>,
    each: impl ExactSizeIterator<Item = (usize, Option<&'q QualityReport>)>,
) -> Option<String> {
    let all = each.len();
    let doubtful: Vec<(usize, &str)> =
        each.filter_map(|(index, quality)| Some((index, quality?.doubt.as_deref()?))).collect();
    let (index, first) = doubtful.first()?;
    Some(match (whole.and_then(|quality| quality.doubt.as_deref()), doubtful.len()) {
        (Some(whole), _) => whole.to_owned(),
        (None, 1) => format!("of 1 of {all} snapshots ({index}): {first}"),
        (None, some) => format!("of {some} of {all} snapshots, first of {index}: {first}"),
    })
}

/// One snapshot.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct SnapshotReport {
    /// Which it is.
    #[serde(flatten)]
    pub facts: SnapshotFacts,
    /// Synchronisation points.
    pub psb: u64,
    /// Addresses in packets.
    pub hits: u64,
    /// Stretches that are lost: overflows of the processor's buffer, and bytes that are not packets.
    pub gaps: u64,
    /// How many of them are overflows.
    pub overflows: u64,
    /// Bytes before the first synchronisation point, which cannot be read.
    pub before_sync: u64,
    /// The events that it was split over, in order; none for data from a file.
    pub pieces: Vec<PieceReport>,
    /// What the words at offset 28 of these events may mean: `ring-position`, `index`, `bytes-left`.
    pub word28_fits: Vec<&'static str>,
    /// How well the flow could follow it. `None` without any module's code.
    pub quality: Option<QualityReport>,
    /// What is odd about it.
    pub remarks: Vec<String>,
}

/// One of the events that a snapshot was split over.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct PieceReport {
    /// Bytes of data that are there.
    pub bytes: u64,
    /// Bytes of data that the event declares.
    pub declared: u32,
    /// The word at offset 28 of the event, whose meaning is not known for sure.
    pub word28: u32,
}

/// A kernel module that the data reaches.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct ReachedModule {
    /// File name.
    pub name: String,
    /// First address.
    pub base: Hex,
    /// SizeOfImage.
    pub size: Hex,
    /// The symbol server's key.
    pub image_key: Option<String>,
    /// Addresses in it that packets name.
    pub hits: u64,
    /// The same by thread.
    pub threads: Vec<ThreadHits>,
    /// Instructions in it that the flow executed.
    pub instructions: u64,
    /// How often the flow came to it and could not go on because its file is missing.
    pub lacked: u64,
    /// How it is reached.
    pub reached_by: ReachedBy,
    /// For the import closure: the module whose direct calls lead to it.
    pub reached_from: Option<String>,
    /// Whether its file is there.
    pub status: FileStatus,
    /// The file, or the nearest one of another build.
    pub file: Option<String>,
    /// Why it is missing, or what to know about it.
    pub reason: Option<String>,
}

/// How a module is reached; the strongest reason counts.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ReachedBy {
    /// A packet names an address in it.
    Packets,
    /// The instruction flow came to it, by a direct branch.
    Flow,
    /// A direct import call of such a module leads to it; whether it was executed is not known.
    ImportClosure,
}

/// Whether a module's file is there.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// A file of the right identity was found.
    Present,
    /// None was.
    Missing,
}

/// A thread's share of a module's hits; both ids are 0 for data whose thread is not known.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct ThreadHits {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Addresses.
    pub hits: u64,
}

/// A thread with data.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct ThreadReport {
    /// Process.
    pub pid: Option<u32>,
    /// Thread.
    pub tid: Option<u32>,
    /// Name of the process.
    pub process: Option<String>,
    /// Name of the thread.
    pub thread: Option<String>,
    /// Its snapshots.
    pub snapshots: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Addresses in them.
    pub hits: u64,
}

/// A page that is in no kernel module.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
pub struct UnknownPage {
    /// Its first address.
    pub address: Hex,
    /// How often packets name an address in it.
    pub hits: u64,
}

/// Whether code was changed at load time.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct VerdictReport {
    /// `on`, `off`, `undecided` or, without import sites, `irrelevant`.
    pub import_optimization: &'static str,
    /// Call sites that only direct calls explain.
    pub votes_on: u32,
    /// Call sites that only calls through the table explain.
    pub votes_off: u32,
    /// One sentence.
    pub reason: String,
    /// Each module with import sites that the data runs through.
    pub per_module: Vec<ModuleVerdictReport>,
    /// `on`, `off` or `undecided`.
    pub retpoline: &'static str,
    /// What speaks for and against retpoline.
    pub retpoline_votes: RetpolineReport,
    /// What executed calls of overridden functions say, diagram by diagram.
    pub overrides: Vec<OverrideVerdictReport>,
    /// What guarded calls say of kernel CFG; `None` without a kernel that has a function for them.
    pub kernel_cfg: Option<KernelCfgReport>,
}

/// The verdict on one module's import sites.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct ModuleVerdictReport {
    /// File name.
    pub name: String,
    /// First address.
    pub base: Hex,
    /// `on`, `off`, `undecided` or `irrelevant`.
    pub import_optimization: &'static str,
    /// Sites that were direct calls.
    pub votes_on: u32,
    /// Sites that went through the table.
    pub votes_off: u32,
    /// Sites that both forms explain.
    pub ambiguous: u32,
    /// Sites whose table entry points elsewhere: Driver Verifier, a shim, a hook.
    pub redirected: u32,
    /// Sites that neither form explains.
    pub contradictory: u32,
    /// Sites where packets end, or code is missing, before they decide.
    pub open: u32,
    /// One sentence.
    pub reason: String,
    /// The votes one by one, when asked for.
    pub evidence: Option<Vec<EvidenceReport>>,
}

/// Evidence on retpoline.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct RetpolineReport {
    /// Addresses in stub pages.
    pub in_stubs: u32,
    /// Returns to the address after a rewritten call.
    pub rewritten_returns: u32,
    /// Returns to the address after a call as linked.
    pub linked_returns: u32,
}

/// One vote.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct EvidenceReport {
    /// The import site.
    pub site: Hex,
    /// Its place in the module.
    pub rva: Hex,
    /// Where the imported function is.
    pub expected: Hex,
    /// The same as module and place.
    pub expected_name: Option<String>,
    /// Number of the snapshot.
    pub snapshot: usize,
    /// Offset of the packet in it.
    pub offset: usize,
    /// `on`, `off` or `redirected`.
    pub says: &'static str,
    /// Where the call went instead, when redirected.
    pub to: Option<Hex>,
    /// `walked`: both forms were tried; `returned`: a return to the address after the call gives it away.
    pub how: &'static str,
}

/// The instruction flow, summed up.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct FlowTotals {
    /// Import optimization, as the code is taken to have had it: from the verdict, else from the build of Windows.
    pub import_optimization: ModeReport,
    /// Retpoline, likewise.
    pub retpoline: ModeReport,
    /// Function overrides, likewise.
    pub function_overrides: ModeReport,
    /// Instructions executed.
    pub instructions: u64,
    /// Interrupts and exceptions.
    pub interrupts: u64,
    /// Times that the walk fell out of step.
    pub errors: u64,
    /// How many of them because code is missing.
    pub lacking: u64,
    /// How well the flow could follow all chosen snapshots together. `None` without any module's code.
    pub quality: Option<QualityReport>,
}

/// How well the flow could follow packets.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct QualityReport {
    /// Bytes of packets after the first synchronisation point.
    pub bytes: u64,
    /// How many of them were followed.
    pub followed: u64,
    /// The same as a share, 0 to 1. `None` when there are no bytes.
    pub share_followed: Option<f64>,
    /// Times that packets and code contradicted each other, or the packets were damaged. Missing code does not count.
    pub out_of_step: u64,
    /// The same for each MiB of packets. `None` when there are no bytes.
    pub out_of_step_per_mib: Option<f64>,
    /// What confirmed the flow.
    pub confirmed: ConfirmedReport,
    /// Why the result is not to be believed; `None` when the numbers are good.
    pub doubt: Option<String>,
}

/// Packets that fit the code, and that would have contradicted other code with some probability.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct ConfirmedReport {
    /// Compressed returns, which lead to the address after a call that was followed.
    pub returns: u64,
    /// Indirect branches for which there was an address.
    pub branches: u64,
    /// Addresses that packets named and that the code led to.
    pub addresses: u64,
    /// How unlikely these packets are over other code, as the negative binary logarithm: a lower bound.
    pub bits: u64,
}

impl ConfirmedReport {
    /// All of these packets.
    pub fn packets(&self) -> u64 {
        self.returns.saturating_add(self.branches).saturating_add(self.addresses)
    }
}

impl From<Evidence> for ConfirmedReport {
    fn from(evidence: Evidence) -> Self {
        let Evidence { returns, branches, addresses, .. } = evidence;
        Self { returns, branches, addresses, bits: evidence.bits() }
    }
}

impl From<&Quality> for QualityReport {
    fn from(quality: &Quality) -> Self {
        Self {
            bytes: quality.bytes.saturating_sub(quality.before_sync),
            followed: quality.followed(),
            share_followed: quality.share_followed(),
            out_of_step: quality.out_of_step(),
            out_of_step_per_mib: quality.out_of_step_per_mib(),
            confirmed: quality.confirmed.into(),
            doubt: doubt(quality).map(|doubt| doubt.to_string()),
        }
    }
}

/// A place where the data could not be read or followed.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct IptErrorReport {
    /// Number of the snapshot.
    pub snapshot: usize,
    /// Byte of its data.
    pub offset: usize,
    /// Address that the flow had reached, when it was following code.
    pub ip: Option<Hex>,
    /// The same as module and place.
    pub place: Option<String>,
    /// What is wrong, with libipt's name for it first.
    pub kind: String,
    /// The usual cause.
    pub likely: &'static str,
}

/// What identifies a snapshot.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct SnapshotFacts {
    /// Its number among all snapshots, by which it is chosen.
    pub index: usize,
    /// Seconds from the start of the trace to the event that triggered it.
    pub time: Option<f64>,
    /// Logical processor.
    pub cpu: Option<u16>,
    /// Process.
    pub pid: Option<u32>,
    /// Thread.
    pub tid: Option<u32>,
    /// Name of the process.
    pub process: Option<String>,
    /// Name of the thread.
    pub thread: Option<String>,
    /// Kind of the event that triggered it.
    pub trigger: Option<String>,
    /// The file that it is from, when it is not from the trace.
    pub file: Option<String>,
    /// Bytes of packets.
    pub bytes: u64,
}

impl SnapshotFacts {
    /// What identifies one of all snapshots.
    fn of(chosen: &Chosen<'_>, index: usize) -> Self {
        Self::new(&chosen.facts[index], index, chosen.all[index].bytes.len() as u64)
    }

    /// What is known about a snapshot with its number and its bytes.
    pub(super) fn new(facts: &Facts, index: usize, bytes: u64) -> Self {
        let Facts { file, time, cpu, pid, tid, process, thread, trigger } = facts.clone();
        Self { index, time, cpu, pid, tid, process, thread, trigger, file, bytes }
    }
}
