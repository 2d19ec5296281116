//! A system made ready for following Intel PT data over its code.

use std::collections::HashMap;

use address_map::ModuleId;
use ipt_analysis::flow::{Layout, Placed};
use kernel_code::{AddressSpace, Entry, Exporter, Inclusion, System};

/// Pages are 4 KiB.
const PAGE: u64 = 0x1000;

/// A system's code, and what a walk over it has to know.
#[derive(Debug)]
pub(crate) struct Execution<'s, 'a> {
    /// The system.
    pub system: &'s System<'a>,
    /// Code in memory.
    pub code: AddressSpace<'s>,
    /// Where modules are.
    pub layout: Layout,
    /// Direct calls to imports whose module's file is missing, ascending, and that module.
    unknown_calls: Vec<(u64, ModuleId)>,
}

impl<'s, 'a> Execution<'s, 'a> {
    /// Makes it ready.
    pub fn new(system: &'s System<'a>) -> Self {
        Self { system, code: system.code(), layout: layout(system), unknown_calls: unknown_calls(system) }
    }

    /// Whether there is any code.
    pub fn has_code(&self) -> bool {
        !self.code.images().is_empty()
    }

    /// Direct calls whose targets are not known, ascending.
    pub fn unknown_calls(&self) -> Vec<u64> {
        self.unknown_calls.iter().map(|(site, _)| *site).collect()
    }

    /// The module that an unknown call leads to.
    pub fn callee(&self, site: u64) -> Option<ModuleId> {
        let at = self.unknown_calls.binary_search_by_key(&site, |(site, _)| *site).ok()?;
        Some(self.unknown_calls[at].1)
    }

    /// A module with what was found for it.
    pub fn entry(&self, module: ModuleId) -> &Entry {
        self.system.modules().entry(module)
    }

    /// Whether a module's file is there.
    pub fn is_present(&self, module: ModuleId) -> bool {
        self.entry(module).inclusion == Inclusion::Included
    }

    /// An address as module and offset.
    pub fn name(&self, address: u64) -> Option<String> {
        let place = self.layout.place(address);
        Some(format!("{}+{:#x}", self.entry(place.module?).module.name, place.offset))
    }
}

/// Import sites that the kernel made direct calls, as far as is known, to modules that were there and whose files are
/// not: the file says which module, but not where in it.
fn unknown_calls(system: &System<'_>) -> Vec<(u64, ModuleId)> {
    let modules = system.modules();
    let names = modules.by_name();
    let direct = modules.ids().filter(|&module| system.has_direct_imports(module));
    let unknown = direct.flat_map(|module| modules.direct_imports(module)).filter_map(|import| match import.exporter {
        Exporter::Known(_) => None,
        Exporter::WithoutFile(name) => Some((import.site, *names.get(&name.to_ascii_lowercase())?)),
    });
    let mut unknown: Vec<(u64, ModuleId)> = unknown.collect();
    unknown.sort_unstable();
    unknown
}

/// The modules that were there, with the stub pages after them when there are any.
fn layout(system: &System<'_>) -> Layout {
    let pages: HashMap<u64, u64> = system.stub_pages().iter().map(|pages| (pages.start, pages.end)).collect();
    let placed = system.modules().owners().places_from(0).map(|place| {
        let module = &system.modules().entry(place.module).module;
        let end = module.end();
        let stubs = end.checked_next_multiple_of(PAGE).and_then(|start| pages.get(&start));
        let size = stubs.copied().unwrap_or(end) - module.base;
        Placed { module: place.module, base: module.base, size }
    });
    Layout::new(placed.collect())
}
