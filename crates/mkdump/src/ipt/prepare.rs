//! From chosen snapshots to what is needed to follow them: files, verdict, and code as it was in memory.

use std::collections::HashMap;

use pe_image::{ImportCalls, MappedImage, Outcome, Policy, Reason, Unbound};

use super::analyse::{Data, IptOptions};
use super::detect::Detection;
use super::flow::{Layout, Placed};
use crate::build::evidence::Evidence;
use crate::build::modes::{self, Mode};
use crate::error::Result;
use crate::images::{AddressSpace, Bound, Files};
use crate::progress::Progress;
use crate::report::ModeReport;
use crate::snapshot::{AddressMap, Module, ModuleId, Owners};
use crate::source::Reading;
use call_forms::{Answer, RetpolineVotes, Verdict};

/// Everything that is known before the flow is followed.
pub(super) struct Prepared<'a> {
    /// The moment whose address space the flow is followed over, in seconds from the start of the trace.
    pub moment: f64,
    /// The kernel's modules with their files.
    pub bound: &'a Bound<'a>,
    /// The verdict, and the entry of each of its modules.
    pub evidence: Evidence,
    /// Import optimization, as the code has it.
    pub import_optimization: ModeReport,
    /// Retpoline.
    pub retpoline: Mode,
    /// For each entry whether its import calls are taken for direct.
    direct: Vec<bool>,
    /// Where modules are that were there at the time of the snapshots.
    pub layout: Layout,
    /// The entry of each module of the layout.
    pub entries: Vec<usize>,
    /// Direct calls to imports whose module's file is missing, ascending, and the entry of that module.
    pub unknown_calls: Vec<(u64, usize)>,
    /// Code in memory.
    pub code: AddressSpace<'a>,
    /// Files that were looked at.
    pub looked_at: usize,
    /// What went wrong.
    pub warnings: Vec<String>,
}

/// Prepares, and hands over what lives no longer than the call.
pub(super) fn prepare<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    data: &Data<'_>,
    progress: &dyn Progress,
    then: impl FnOnce(&Prepared<'_>) -> Result<T>,
) -> Result<T> {
    let modules: Vec<Module> = reading.snapshot.modules.iter().filter(|module| module.kernel).cloned().collect();
    // Snapshots end with the event that triggered them, so the last one's time is the latest that matters.
    let moment = data.last().unwrap_or(reading.end);
    let map = AddressMap::of(&modules);
    let owners = map.at(moment);
    let winner = |winner: ModuleId| format!("{} held these addresses at {moment:.3} s", modules[winner.0].name);
    let excluded: Vec<Option<String>> =
        (0..modules.len()).map(|index| owners.displaced_by(ModuleId(index)).map(winner)).collect();
    let index = options.search.index(&modules, progress)?;
    progress.phase("reading module files", None);
    let mut files = Files::find(&modules, &excluded, &index);
    let parsed = files.parse();
    let bound = parsed.bind(&map, moment);
    let mut warnings = displacement_warnings(&modules, &owners, data);
    warnings.extend(index.notes().iter().cloned());
    let stubs = bound.stubs().unwrap_or_else(|error| {
        warnings.push(format!("the kernel's retpoline stubs: {error}"));
        None
    });

    progress.phase("weighing import calls", None);
    let detection = Detection::new(&bound, stubs.as_ref());
    let packets = data.packets();
    let entries: Vec<usize> = detection.modules().collect();
    let verdict = if entries.is_empty() { nothing_to_decide() } else { detection.detect(&packets) };
    let evidence = Evidence { verdict, modules: entries };
    let said = Some(&evidence).filter(|evidence| !evidence.modules.is_empty());
    let import_modes = modes::import_optimization(options.import_optimization, &reading.snapshot.machine, said);
    let retpoline = modes::retpoline(options.retpoline, said);
    if retpoline.on && stubs.is_none() {
        warnings
            .push("retpoline is on, but the kernel's file with the stubs is not there: sites stay as linked".into());
    }
    let direct: Vec<bool> = (0..modules.len()).map(|entry| import_modes.of(entry).on).collect();
    let policy = |entry: usize| Policy {
        import_calls: if direct[entry] { ImportCalls::Optimized } else { ImportCalls::AsLinked },
        retpoline: retpoline.on,
        second_mapping: Policy::is_second_mapping(&modules[entry].name),
    };
    let kernel_stubs = stubs.as_ref().filter(|_| retpoline.on);
    let image = |entry: usize| Some((ModuleId(entry), bound.map(entry, policy(entry), kernel_stubs)?));
    let images: Vec<(ModuleId, MappedImage<'_>)> = (0..modules.len()).filter_map(image).collect();
    let unknown_calls = unknown_calls(&bound, &direct);
    let (layout, entries) = layout(&bound, &detection, retpoline.on);
    let prepared = Prepared {
        moment,
        bound: &bound,
        evidence,
        import_optimization: import_modes.report,
        retpoline,
        direct,
        layout,
        entries,
        unknown_calls,
        code: AddressSpace::new(&owners, images),
        looked_at: index.looked_at(),
        warnings,
    };
    then(&prepared)
}

impl Prepared<'_> {
    /// Whether a module's import calls are taken for direct ones.
    pub fn import_calls_direct(&self, entry: usize) -> bool {
        self.direct[entry]
    }

    /// Whether there is any code.
    pub fn has_code(&self) -> bool {
        !self.code.images().is_empty()
    }

    /// The addresses of [`Prepared::unknown_calls`].
    pub fn unknown_call_addresses(&self) -> Vec<u64> {
        self.unknown_calls.iter().map(|(site, _)| *site).collect()
    }

    /// The entry of the module that an unknown call leads to.
    pub fn callee(&self, site: u64) -> Option<usize> {
        let at = self.unknown_calls.binary_search_by_key(&site, |(site, _)| *site).ok()?;
        Some(self.unknown_calls[at].1)
    }

    /// An address as module and offset.
    pub fn name(&self, address: u64) -> Option<String> {
        let place = self.layout.place(address);
        Some(format!("{}+{:#x}", self.layout.modules()[place.module?].name, place.offset))
    }
}

/// Import sites that the kernel made direct calls, as far as is known, to modules that were there and whose files are
/// not: the file says which module, but not where in it.
fn unknown_calls(bound: &Bound<'_>, direct: &[bool]) -> Vec<(u64, usize)> {
    let loaded = (0..bound.entries().len()).filter(|&entry| bound.was_loaded(entry));
    let by_name: HashMap<String, usize> =
        loaded.clone().map(|entry| (bound.entries()[entry].module.name.to_ascii_lowercase(), entry)).collect();
    let calls = |entry: usize| -> Option<Vec<(u64, usize)>> {
        let second_mapping = Policy::is_second_mapping(&bound.entries()[entry].module.name);
        let mapped = bound.map(entry, Policy { second_mapping, ..Policy::default() }, None)?;
        let call = |site: pe_image::Site| {
            if site.outcome != Outcome::AsLinked(Reason::Unbound) {
                return None;
            }
            let Err(Unbound::NoFile(exporter)) = &bound.binding(entry).import_of(&site)?.result else { return None };
            Some((mapped.address(site.rva), *by_name.get(&exporter.to_ascii_lowercase())?))
        };
        Some(mapped.sites().filter_map(call).collect())
    };
    let mut found: Vec<(u64, usize)> = loaded.filter(|&entry| direct[entry]).filter_map(calls).flatten().collect();
    found.sort_unstable();
    found
}

fn nothing_to_decide() -> Verdict {
    Verdict {
        import_optimization: Answer::Undecided,
        votes_on: 0,
        votes_off: 0,
        per_module: Vec::new(),
        retpoline: Answer::Undecided,
        retpoline_votes: RetpolineVotes::default(),
        missing: Default::default(),
    }
}

/// Modules that held addresses of others while some of the snapshots were taken.
fn displacement_warnings(modules: &[Module], owners: &Owners, data: &Data<'_>) -> Vec<String> {
    let times = || data.chosen.iter().filter_map(|&index| data.facts[index].time);
    let warning = |&(module, winner): &(ModuleId, ModuleId)| {
        let (module, winner) = (&modules[module.0], &modules[winner.0]);
        let count = times().filter(|&time| module.live_at(time) && !winner.live_at(time)).count();
        (count > 0).then(|| {
            format!(
                "{} lay where {} was later; {count} of the snapshots are from before: choose them by --to to see it",
                module.name, winner.name
            )
        })
    };
    owners.displaced().iter().filter_map(warning).collect()
}

/// The modules that were there, with the stub pages behind them when there are any.
fn layout(bound: &Bound<'_>, detection: &Detection<'_, '_>, retpoline: bool) -> (Layout, Vec<usize>) {
    const PAGE: u64 = 0x1000;
    let entries: Vec<usize> = bound.owners().places_from(0).map(|place| place.module.0).collect();
    let pages = detection.stub_pages().iter().filter(|_| retpoline);
    let pages: HashMap<u64, u64> = pages.map(|pages| (pages.start, pages.end)).collect();
    let placed = entries.iter().map(|&entry| {
        let module = &bound.entries()[entry].module;
        let end = module.end();
        let stubs = end.checked_next_multiple_of(PAGE).and_then(|start| pages.get(&start));
        let size = stubs.copied().unwrap_or(end) - module.base;
        Placed { name: module.name.clone(), base: module.base, size }
    });
    (Layout::new(placed.collect()), entries)
}
