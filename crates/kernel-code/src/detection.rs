//! From bound modules to the plain values that [`call_forms`] takes: the code that the walks read, the import sites, where
//! functions start, where retpoline stubs lie.

use std::ops::Range;

use address_map::ModuleId;
use call_forms::{Answer, Importer, IndirectReturn, Input, Site, Verdict};
use pe_image::{Capabilities, Outcome, Policy, Reason, Site as ListedSite, SiteEncoding, SiteKind, StubBlock};
use rayon::prelude::*;

use crate::address_space::AddressSpace;
use crate::binding::Bound;
use crate::functions::Functions;

/// The call forms of the modules of one snapshot.
///
/// It covers all modules that were loaded at the chosen moment and whose files were found. Modules that the user leaves
/// out by name are included, because their code ran too.
#[derive(Debug)]
pub struct Detection<'b, 'a> {
    modules: Vec<Known>,
    bound: &'b Bound<'a>,
    stubs: Option<&'b StubBlock>,
    /// By what calls of overridden functions are re-pointed; nothing when they are as linked.
    overrides: Option<&'b Capabilities>,
    stub_pages: Vec<Range<u64>>,
}

/// A module with a file.
#[derive(Debug)]
struct Known {
    module: ModuleId,
    base: u64,
    end: u64,
    functions: Functions,
    sites: Vec<Site>,
    indirect_returns: Vec<IndirectReturn>,
    /// The import stub after it.
    stub: Option<u64>,
}

impl<'b, 'a> Detection<'b, 'a> {
    /// Reads what the files say. `stubs` are those of the snapshot's own kernel ([`Bound::stubs`]); `overrides` says by what
    /// calls of overridden functions are re-pointed, if they are.
    pub fn new(bound: &'b Bound<'a>, stubs: Option<&'b StubBlock>, overrides: Option<&'b Capabilities>) -> Self {
        let ids: Vec<ModuleId> = bound.ids().collect();
        let modules: Vec<Known> = ids.into_par_iter().filter_map(|module| known(bound, stubs, module)).collect();
        let stub_pages = stub_pages(bound, stubs);
        Self { modules, bound, stubs, overrides, stub_pages }
    }

    /// The modules that a verdict is about, in the order of [`Verdict::per_module`].
    pub fn modules(&self) -> impl ExactSizeIterator<Item = ModuleId> + '_ {
        self.modules.iter().map(|known| known.module)
    }

    /// The code as linked, or with `retpoline` with indirect branches through stubs. Import sites are as linked, or go
    /// through the stubs, either way: a walk that stops at them tries both forms itself.
    pub fn code(&self, retpoline: bool) -> AddressSpace<'b> {
        let policy = Policy::AS_LINKED.with_retpoline(retpoline).with_function_overrides(self.overrides.is_some());
        let image = |known: &Known| {
            let name = &self.bound.entry(known.module).module.name;
            let policy = policy.with_second_mapping(Policy::is_second_mapping(name));
            let mapped = self.bound.map(known.module, policy, self.stubs)?;
            Some((
                known.module,
                match self.overrides {
                    Some(capabilities) => mapped.with_capabilities(capabilities),
                    None => mapped,
                },
            ))
        };
        AddressSpace::new(self.bound.owners(), self.modules.iter().filter_map(image))
    }

    /// Decides over `streams`: IPT snapshots in the order in which they were written.
    ///
    /// Retpoline is decided first, over the code as linked. If it was on, code and import sites are looked at once more
    /// with the stubs in place.
    pub fn detect(&self, streams: &[&[u8]]) -> Verdict {
        let verdict = self.detect_with(streams, false);
        if verdict.retpoline != Answer::On || self.stubs.is_none() {
            return verdict;
        }
        // Walks over the right code see more, but what was proof before stays proof.
        let retpoline_votes = verdict.retpoline_votes;
        Verdict { retpoline: Answer::On, retpoline_votes, ..self.detect_with(streams, true) }
    }

    fn detect_with(&self, streams: &[&[u8]], retpoline: bool) -> Verdict {
        let code = self.code(retpoline);
        let importers = self.modules.iter().map(|module| Importer {
            name: self.bound.entry(module.module).module.name.clone(),
            sites: module.sites.clone(),
            stub: module.stub.filter(|_| retpoline),
        });
        let function_start = |address| self.function_start(address);
        call_forms::detect(&Input {
            function_start: &function_start,
            stub_pages: self.stub_pages.clone(),
            indirect_returns: self.modules.iter().flat_map(|module| module.indirect_returns.iter().copied()).collect(),
            ..Input::new(&code, importers.collect(), streams.to_vec())
        })
    }

    /// Whether a function starts at an address. Nothing where no table says.
    pub fn function_start(&self, address: u64) -> Option<bool> {
        let after = self.modules.partition_point(|module| module.base <= address);
        let module = self.modules[..after].last().filter(|module| address < module.end)?;
        module.functions.starts_at(u32::try_from(address - module.base).ok()?)
    }

    /// The retpoline stub pages after the images and in the kernel, whether retpoline is on or not.
    pub fn stub_pages(&self) -> &[Range<u64>] {
        &self.stub_pages
    }
}

fn known(bound: &Bound<'_>, stubs: Option<&StubBlock>, module: ModuleId) -> Option<Known> {
    // With import optimization, since that says where each site would lead; nothing of it is read here.
    let second_mapping = Policy::is_second_mapping(&bound.entry(module).module.name);
    let mapped = bound.map(module, Policy::default().with_second_mapping(second_mapping), None)?;
    let base = mapped.base().0;
    let mut sites = Vec::new();
    let mut indirect_returns = Vec::new();
    for listed in mapped.sites() {
        match listed.kind {
            SiteKind::Import { call, .. } => {
                sites.extend(import_site(bound, module, base, &listed, call));
            }
            SiteKind::Indirect { call: true, .. } => {
                let end = |encoding| {
                    let end = listed.kind.branch_end(encoding)?;
                    Some(base.wrapping_add(listed.rva.0.into()).wrapping_add(end.into()))
                };
                if let (Some(linked), Some(rewritten)) = (end(SiteEncoding::Linked), end(SiteEncoding::Stub)) {
                    indirect_returns.push(IndirectReturn { linked, rewritten });
                }
            }
            _ => {}
        }
    }
    Some(Known {
        module,
        base,
        end: bound.entry(module).module.end(),
        functions: Functions::of(mapped.file()),
        sites,
        indirect_returns,
        stub: stubs.map(|stubs| mapped.address(mapped.stub_rva()).wrapping_add(stubs.offsets().import.into()).0),
    })
}

/// An import site as the verdict sees it; nothing for bytes that no linker wrote, or a site without a slot.
fn import_site(bound: &Bound<'_>, module: ModuleId, base: u64, listed: &ListedSite, call: bool) -> Option<Site> {
    if listed.outcome == Outcome::AsLinked(Reason::UnexpectedBytes) {
        return None;
    }
    let slot = listed.slot?;
    let target = bound.binding(module).import_of(listed).and_then(|slot| slot.result.as_ref().ok());
    Some(Site {
        va: base.wrapping_add(listed.rva.0.into()),
        slot: base.wrapping_add(slot.0.into()),
        target: target.map(|target| target.address.0),
        call,
        can_be_direct: matches!(listed.outcome, Outcome::Direct(_)),
    })
}

const PAGE: u64 = 0x1000;

/// Where stub pages would lie: after each image, unless another module is there, and in the kernel's own section.
fn stub_pages(bound: &Bound<'_>, stubs: Option<&StubBlock>) -> Vec<Range<u64>> {
    // Without the kernel's file the size is not known; there is one page at least.
    let size = stubs.map_or(PAGE, |stubs| stubs.bytes().len() as u64);
    let loaded = bound.ids().filter(|&module| bound.was_loaded(module));
    let pages = loaded.filter_map(|module| room_for_stubs(bound, module, size));
    pages.filter(|pages| !pages.is_empty()).collect()
}

/// The addresses that a module's stubs would take, up to where another module begins; fewer than `size` bytes when it
/// begins earlier.
pub(crate) fn room_for_stubs(bound: &Bound<'_>, module: ModuleId, size: u64) -> Option<Range<u64>> {
    let own = bound.map(module, Policy::AS_LINKED, None).map(|mapped| mapped.address(mapped.stub_rva()).0);
    let start = own.or_else(|| bound.entry(module).module.end().checked_next_multiple_of(PAGE))?;
    let next = bound.owners().places_from(start).find(|place| place.first >= start);
    Some(start..start.saturating_add(size).min(next.map_or(u64::MAX, |place| place.first)))
}
