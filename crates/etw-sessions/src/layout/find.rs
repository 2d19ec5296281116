//! The order of belief: the kernel's PDB, the table of kernels, the debugger's data, probing. Each is tried on the
//! memory before it is taken, and what fits nowhere is not known.

use super::context;
use super::debugger_data::DebuggerData;
use super::probe::{self, Fit, Slots};
use super::table::{self, KnownKernel, Pair};
use crate::kernel::Kernel;
use crate::memory::Reader;
use crate::types::{StructLayout, names};
use crate::warning::{Warning, Warnings};

/// The way a layout was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// The types and symbols of the kernel's PDB.
    Pdb,
    /// The row of the kernel's PDB in the table of known kernels.
    KnownKernel,
    /// What the kernel tells debuggers, `EtwpDebuggerData`.
    DebuggerData,
    /// Layouts of the dump's build, tried on the memory.
    Probing,
}

/// Where the sessions of the host are, and where their structures have their members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layout {
    /// How it was found.
    pub found: Found,
    /// Address of the host's silo state; Windows 10 10240 has none.
    pub state: Option<u64>,
    /// The host's contexts.
    pub slots: Slots,
    /// Layout of `_WMI_LOGGER_CONTEXT`.
    pub context: StructLayout,
    /// Layout of `_ETW_SILODRIVERSTATE`, when known.
    pub silo: Option<StructLayout>,
}

/// Finds the layout; `None` when it is not known.
pub(crate) fn find(kernel: &Kernel<'_>, reader: Reader<'_>, warnings: &mut Warnings) -> Option<Layout> {
    let row = kernel.pdb.and_then(table::kernel).filter(|row| is_the_dumps(row, kernel, warnings));
    let search = Search { kernel, reader, row };
    search
        .by_pdb(warnings)
        .or_else(|| search.by_row(warnings))
        .or_else(|| search.by_debugger_data(warnings))
        .or_else(|| search.by_probing())
}

/// The debugger's data must be where the row says it is.
fn is_the_dumps(row: &KnownKernel, kernel: &Kernel<'_>, warnings: &mut Warnings) -> bool {
    let Some((block, rva)) = kernel.debugger_data.zip(row.symbols.get("KdDebuggerDataBlock")) else { return true };
    let expected = kernel.base.checked_add(u64::from(*rva));
    if expected != Some(block) {
        let found = format!("the PDB of {}.{}", row.build, row.revision);
        let allowed = format!("a kernel whose debugger data lies at +{:#x}", block.wrapping_sub(kernel.base));
        warnings.push(Warning::at(kernel.base, "kernel image", found, allowed));
    }
    expected == Some(block)
}

struct Search<'s> {
    kernel: &'s Kernel<'s>,
    reader: Reader<'s>,
    row: Option<&'static KnownKernel>,
}

impl Search<'_> {
    /// The address of a symbol of the PDB, else of the table's row.
    fn symbol(&self, name: &str) -> Option<u64> {
        let from_pdb = self.kernel.types.and_then(|types| types.symbols.get(name));
        let rva = from_pdb.or_else(|| self.row.and_then(|row| row.symbols.get(name)))?;
        self.kernel.base.checked_add(u64::from(*rva))
    }

    fn state(&self) -> Option<u64> {
        self.reader.pointer(self.symbol(names::HOST_STATE)?, 0)
    }

    fn fit(&self, layout: &Layout) -> Fit {
        probe::fit(self.reader, layout.slots, &layout.context, layout.state)
    }

    /// A layout that is certain is taken if it fits any context; a warning says when it does not fit most of them.
    fn certain(&self, layout: Layout, warnings: &mut Warnings) -> Option<Layout> {
        let fit = self.fit(&layout);
        if !fit.is_good() {
            let found = format!("{} of {} contexts as {} has them", fit.sound, fit.contexts, origin(layout.found));
            warnings.push(Warning::at(layout.slots.address, "array of logger contexts", found, "most of them"));
        }
        (fit.sound > 0 || fit.is_good()).then_some(layout)
    }

    fn by_pdb(&self, warnings: &mut Warnings) -> Option<Layout> {
        let types = self.kernel.types?;
        let context = types.structures.get(names::CONTEXT)?;
        if let Some(lacking) = context::REQUIRED.iter().find(|member| context.offset(member).is_none()) {
            let found = format!("no member {lacking} in the PDB");
            warnings.push(Warning::at(self.kernel.base, names::CONTEXT, found, "the kernel's types"));
            return None;
        }
        let silo = types.structures.get(names::SILO);
        let state = self.state();
        let in_state = state.zip(silo).and_then(|(state, silo)| probe::slots(self.reader, state, silo));
        // The first Windows 10 has its array outside of the silo state.
        let slots = in_state.or_else(|| Some(Slots { address: self.symbol(names::CONTEXTS)?, count: 64 }));
        let Some(slots) = slots else {
            let (at, found) = match state {
                Some(state) => (state, "no array of contexts that can be read"),
                None => (self.kernel.base, "no host silo state that can be read"),
            };
            warnings.push(Warning::at(at, names::SILO, found, "what the PDB says"));
            return None;
        };
        let layout = Layout { found: Found::Pdb, state, slots, context: context.clone(), silo: silo.cloned() };
        self.certain(layout, warnings)
    }

    fn by_row(&self, warnings: &mut Warnings) -> Option<Layout> {
        let row = self.row?;
        let (context, silo) = table::layout(row.context).zip(table::layout(row.silo))?;
        let rva = row.symbols.get(names::HOST_STATE)?;
        let state = self.reader.pointer(self.kernel.base, *rva);
        let slots = state.and_then(|state| probe::slots(self.reader, state, silo));
        let Some((state, slots)) = state.zip(slots) else {
            let at = state.unwrap_or(self.kernel.base);
            let found = "no silo state with an array of contexts";
            let allowed = format!("what kernel {}.{} has", row.build, row.revision);
            warnings.push(Warning::at(at, names::SILO, found, allowed));
            return None;
        };
        let (context, silo) = (context.clone(), Some(silo.clone()));
        self.certain(Layout { found: Found::KnownKernel, state: Some(state), slots, context, silo }, warnings)
    }

    /// Layouts to try: those of the build, or all when no kernel of the build was seen.
    fn candidates(&self) -> Vec<Pair> {
        let listed = table::pairs(self.kernel.build);
        if listed.is_empty() { table::all_pairs() } else { listed }
    }

    /// The pairs that fit, with the array that each names.
    fn fitting(&self, state: u64, pairs: Vec<Pair>, is_wanted: impl Fn(Pair, Slots) -> bool) -> Vec<(Pair, Slots)> {
        let mut fitting = Vec::new();
        for pair in pairs {
            let Some(slots) = probe::slots(self.reader, state, pair.1) else { continue };
            // An array without any session shows nothing about contexts.
            let fits = |slots| {
                let fit = probe::fit(self.reader, slots, pair.0, Some(state));
                fit.is_good() && fit.contexts > 0
            };
            if is_wanted(pair, slots) && fits(slots) {
                fitting.push((pair, slots));
            }
        }
        fitting
    }

    fn by_debugger_data(&self, warnings: &mut Warnings) -> Option<Layout> {
        let data = DebuggerData::read(self.kernel, self.symbol(names::DEBUGGER_DATA), self.reader, warnings)?;
        let fitting = self.fitting(data.state, self.candidates(), |(context, _), slots| {
            data.agrees(context) && slots.address == data.array
        });
        if let Some(layout) = agreed(Found::DebuggerData, data.state, &fitting) {
            return Some(layout);
        }
        // No layout that was seen: what the table itself says, and the members between that all layouts of its family
        // have at the same distance.
        let pairs = table::all_pairs();
        let family = pairs.iter().map(|(context, _)| *context).filter(|context| data.agrees(context));
        let mut context = StructLayout::agreed(family);
        let end = context.offset(context::FLAGS).unwrap_or(0);
        context.members.retain(|_, offset| *offset <= end);
        context.size = None;
        if context.members.is_empty() {
            context = data.layout();
        }
        let silos = pairs.iter().filter_map(|(_, silo)| probe::slots(self.reader, data.state, silo));
        let mut counts: Vec<u32> = silos.filter(|slots| slots.address == data.array).map(|slots| slots.count).collect();
        counts.sort_unstable();
        counts.dedup();
        let count = if let [count] = counts[..] { count } else { 64 };
        let slots = Slots { address: data.array, count };
        let layout = Layout { found: Found::DebuggerData, state: Some(data.state), slots, context, silo: None };
        let fit = self.fit(&layout);
        if !fit.is_good() || fit.contexts == 0 {
            let found = format!("{} of {} contexts as it says", fit.sound, fit.contexts);
            warnings.push(Warning::at(data.address, names::DEBUGGER_DATA, found, "most of them"));
            return None;
        }
        if counts.len() != 1 {
            let found = "a silo state whose layout is not known";
            warnings.push(Warning::at(
                data.state,
                names::SILO,
                found,
                "one that was seen; sessions from 64 on are not listed",
            ));
        }
        Some(layout)
    }

    fn by_probing(&self) -> Option<Layout> {
        let state = self.state()?;
        agreed(Found::Probing, state, &self.fitting(state, self.candidates(), |_, _| true))
    }
}

/// Of several pairs that fit, what they agree on; they must name one array.
fn agreed(found: Found, state: u64, fitting: &[(Pair, Slots)]) -> Option<Layout> {
    let (_, slots) = fitting.first()?;
    if fitting.iter().any(|(_, other)| other != slots) {
        return None;
    }
    let context = StructLayout::agreed(fitting.iter().map(|((context, _), _)| *context));
    let silo = StructLayout::agreed(fitting.iter().map(|((_, silo), _)| *silo));
    Some(Layout { found, state: Some(state), slots: *slots, context, silo: Some(silo) })
}

fn origin(found: Found) -> &'static str {
    match found {
        Found::Pdb => "the PDB",
        Found::KnownKernel => "the table of kernels",
        Found::DebuggerData => "the debugger's data",
        Found::Probing => "the layout",
    }
}
