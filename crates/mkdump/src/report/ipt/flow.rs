//! The executed code in order.

use std::io;

use intel_pt::flow::Quality;
use ipt_analysis::flow::{Entry, Place};
use ipt_analysis::touched::PAGE;
use kernel_snapshot::{Progress, Reading};
use serde::Serialize;

use super::{QualityReport, SnapshotFacts, UnknownPage, doubt_of};
use crate::error::Result;
use crate::jobs::ipt::analyse::IptOptions;
use crate::jobs::ipt::named::{Lacking, Named};
use crate::jobs::ipt::trace_flow::{Traced, trace_flow_with};
use crate::pdb::SymbolOrigin;
use crate::report::{Hex, ModeReport};

/// Follows the chosen snapshots over the code as it was in memory, and hands the flow of each to `sink`, in order. What
/// is missing is collected over all of them.
///
/// Snapshots are followed in parallel, a megabyte at once; a single larger one takes memory of up to 1 GiB, where its
/// list is cut.
///
/// # Errors
/// As [`analyse`](super::analyse), and when there is no data, no module file, or `sink` fails.
pub fn trace_flow(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&FlowReport) -> io::Result<()>,
) -> Result<FlowSummary> {
    let mut report = |traced: Traced<'_, '_>| sink(&FlowReport::from(traced));
    trace_flow_with(reading, options, progress, &mut report, |lacking| FlowSummary::from(lacking))
}

/// The flow of one snapshot.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct FlowReport {
    /// The snapshot.
    pub snapshot: SnapshotFacts,
    /// What was executed, and what happened, in order.
    pub flow: Vec<FlowEntry>,
    /// True when the list is cut at its limit.
    pub cut: bool,
    /// How well the packets could be followed.
    pub quality: QualityReport,
}

/// One thing of a flow.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FlowEntry {
    /// Code was executed without a jump.
    Executed {
        /// Where it begins.
        #[serde(flatten)]
        at: PlaceReport,
        /// Bytes.
        size: u64,
        /// How often in a row.
        times: u64,
    },
    /// An interrupt or exception.
    Interrupt {
        /// The instruction that was not executed any more.
        from: PlaceReport,
        /// The handler.
        to: PlaceReport,
    },
    /// The processor lost packets.
    Overflow,
    /// Tracing began.
    Enabled,
    /// Tracing ended.
    Disabled,
    /// Another address space.
    Paging {
        /// CR3.
        cr3: Hex,
    },
    /// The walk came to code that is not there.
    Missing {
        /// Offset in the snapshot.
        offset: usize,
        /// Where the code would be.
        at: PlaceReport,
    },
    /// A direct call to an import whose module's file is missing: where it leads is not known.
    UnknownCall {
        /// Offset in the snapshot.
        offset: usize,
        /// The call.
        at: PlaceReport,
        /// The module that it leads to.
        to: Option<String>,
    },
    /// The walk lost its way and continues after it.
    Gap {
        /// Offset in the snapshot.
        offset: usize,
        /// Where the walk was.
        at: Option<PlaceReport>,
        /// What is wrong, with libipt's name for it first.
        what: String,
        /// The usual cause.
        likely: &'static str,
    },
}

/// An address.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct PlaceReport {
    /// The address.
    pub address: Hex,
    /// The module, by file name.
    pub module: Option<String>,
    /// Offset in the module.
    pub rva: Option<Hex>,
    /// Nearest symbol at or before it, with the distance in hexadecimal.
    pub symbol: Option<String>,
    /// `pdb`, or `exports`, of which the nearest may belong to another function.
    pub symbol_from: Option<&'static str>,
}

/// What a flow over all chosen snapshots lacked, and its sums.
#[derive(Clone, Debug, Serialize)]
pub struct FlowSummary {
    /// [`SCHEMA_VERSION`](crate::report::SCHEMA_VERSION).
    pub schema_version: u32,
    /// Modules that the flow came to and whose files are missing, by address.
    pub missing: Vec<MissingModule>,
    /// Addresses without code that are in no kernel module, by page.
    pub unknown: Vec<UnknownPage>,
    /// Import optimization, as assumed for modules without a verdict of their own, and why.
    pub import_optimization: ModeReport,
    /// Retpoline, as assumed, and why.
    pub retpoline: ModeReport,
    /// Function overrides, as assumed, and why.
    pub function_overrides: ModeReport,
    /// Calls of overridden functions that the files list.
    pub overridden_calls: u64,
    /// How well the packets of all snapshots together could be followed.
    pub quality: QualityReport,
    /// Why the flow of some of the snapshots is not to be believed, in one sentence; `None` when all of it is good.
    pub doubt: Option<String>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// A module whose file is missing.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct MissingModule {
    /// File name.
    pub name: String,
    /// First address.
    pub base: Hex,
    /// SizeOfImage.
    pub size: Hex,
    /// The symbol server's key.
    pub image_key: Option<String>,
    /// How often the flow came to it.
    pub times: u64,
    /// Why it is missing.
    pub reason: Option<String>,
}

impl From<Traced<'_, '_>> for FlowReport {
    fn from(mut traced: Traced<'_, '_>) -> Self {
        let (trace, named) = (std::mem::take(&mut traced.trace), traced.named);
        let mut flow: Vec<FlowEntry> = Vec::new();
        for entry in trace.entries {
            if let Entry::Executed(range) = &entry
                && let Some(FlowEntry::Executed { at, size, times }) = flow.last_mut()
                && (at.address.0, *size) == (named.address(range.start), range.len)
            {
                *times += 1;
                continue;
            }
            flow.push(flow_entry(named, entry));
        }
        let quality = QualityReport::from(&trace.quality);
        Self { snapshot: SnapshotFacts::of(named.chosen, traced.number), cut: trace.cut, quality, flow }
    }
}

fn flow_entry(named: &Named<'_, '_>, entry: Entry) -> FlowEntry {
    let place = |place| PlaceReport::of(named, place);
    match entry {
        Entry::Executed(range) => FlowEntry::Executed { at: place(range.start), size: range.len, times: 1 },
        Entry::Interrupt { from, to } => FlowEntry::Interrupt { from: place(from), to: place(to) },
        Entry::Overflow => FlowEntry::Overflow,
        Entry::Enabled => FlowEntry::Enabled,
        Entry::Disabled => FlowEntry::Disabled,
        Entry::Paging { cr3 } => FlowEntry::Paging { cr3: Hex(cr3) },
        Entry::Missing { offset, at } => FlowEntry::Missing { offset, at: place(at) },
        Entry::UnknownCall { offset, at } => {
            let to = named.callee(named.address(at)).map(ToOwned::to_owned);
            FlowEntry::UnknownCall { offset, at: place(at), to }
        }
        Entry::Gap { offset, at, what, likely } => FlowEntry::Gap { offset, at: at.map(place), what, likely },
    }
}

impl PlaceReport {
    /// A place of the code that was followed.
    pub(super) fn of(named: &Named<'_, '_>, place: Place) -> Self {
        let symbol = named.symbol(place);
        Self {
            address: Hex(named.address(place)),
            module: place.module.map(|module| named.execution.entry(module).module.name.clone()),
            rva: place.module.map(|_| Hex(place.offset)),
            symbol: symbol.map(|symbol| symbol.to_string()),
            symbol_from: symbol.map(|symbol| match symbol.origin {
                SymbolOrigin::Pdb => "pdb",
                SymbolOrigin::Exports => "exports",
            }),
        }
    }
}

impl From<Lacking<'_, '_>> for FlowSummary {
    fn from(lacking: Lacking<'_, '_>) -> Self {
        let missing = |(&module, &times): (&address_map::ModuleId, &u64)| {
            let known = lacking.execution.entry(module);
            MissingModule {
                name: known.module.name.clone(),
                base: Hex(known.module.base),
                size: Hex(known.module.size),
                image_key: known.module.image_key(),
                times,
                reason: known.reason.clone(),
            }
        };
        let mut modules: Vec<MissingModule> = lacking.modules.iter().map(missing).collect();
        modules.sort_by_key(|module| module.base);
        let page = |(&page, &hits): (&u64, &u64)| UnknownPage { address: Hex(page * PAGE), hits };
        let system = lacking.execution.system;
        let quality = QualityReport::from(&lacking.quality.iter().map(|(_, one)| *one).sum::<Quality>());
        let each: Vec<(usize, QualityReport)> =
            lacking.quality.iter().map(|(number, one)| (*number, QualityReport::from(one))).collect();
        let doubt = doubt_of(Some(&quality), each.iter().map(|(number, one)| (*number, Some(one))));
        Self {
            schema_version: crate::report::SCHEMA_VERSION,
            missing: modules,
            unknown: lacking.pages.iter().map(page).collect(),
            import_optimization: ModeReport::from(system.import_optimization()),
            retpoline: ModeReport::from(system.retpoline()),
            function_overrides: ModeReport::from(system.function_overrides()),
            overridden_calls: system.overridden_calls(),
            quality,
            doubt,
            warnings: lacking.warnings,
        }
    }
}
