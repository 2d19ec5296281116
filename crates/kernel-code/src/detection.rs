//! From bound modules to the plain values that [`call_forms`] takes: the code that the walks read, the import sites, where
//! functions start, where retpoline stubs lie. (`junctions` has what is asked of function overrides.)

use std::collections::BTreeSet;
use std::ops::Range;

use address_map::ModuleId;
use call_forms::{Answer, Importer, IndirectReturn, Input, Site, Verdict};
use pe_image::{
    Capabilities, MappedImage, Outcome, Policy, Reason, Site as ListedSite, SiteEncoding, SiteKind, StubBlock,
};
use rayon::prelude::*;

use crate::address_space::AddressSpace;
use crate::binding::Bound;
use crate::functions::Functions;
use crate::junctions::{Junctions, Question};

/// The call forms of the modules of one snapshot.
///
/// It covers all modules that were loaded at the chosen moment and whose files were found. Modules that the user leaves
/// out by name are included, because their code ran too.
#[derive(Debug)]
pub struct Detection<'b, 'a> {
    modules: Vec<Weighed>,
    bound: &'b Bound<'a>,
    known: Known<'b>,
    overrides: Scope,
    stub_pages: Vec<Range<u64>>,
}

/// What is known of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'b> {
    /// The stubs and shared code of the snapshot's own kernel ([`Bound::stubs`]).
    pub stubs: Option<&'b StubBlock>,
    /// Modules after which there is no room for a copy of them.
    pub crowded: &'b BTreeSet<ModuleId>,
    /// By what calls of overridden functions are re-pointed.
    pub capabilities: &'b Capabilities,
}

/// For whom a vote about an overridden function counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Calls are as linked: nothing is asked.
    Nothing,
    /// For the module alone: the kernel does it to some of them.
    Modules,
    /// For all modules but the kernel and the HAL, which the kernel itself leaves alone.
    Machine,
}

/// A module with a file.
#[derive(Debug)]
struct Weighed {
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
    /// Reads what the files say. `overrides` says whom votes about overridden functions count for.
    pub fn new(bound: &'b Bound<'a>, known: Known<'b>, overrides: Scope) -> Self {
        let ids: Vec<ModuleId> = bound.ids().collect();
        let modules = ids.into_par_iter().filter_map(|module| weighed(bound, known.stubs, module)).collect();
        let stub_pages = stub_pages(bound, known.stubs);
        Self { modules, bound, known, overrides, stub_pages }
    }

    /// The modules that a verdict is about, in the order of [`Verdict::per_module`].
    pub fn modules(&self) -> impl ExactSizeIterator<Item = ModuleId> + '_ {
        self.modules.iter().map(|known| known.module)
    }

    /// The code as linked, or with `retpoline` with indirect branches through stubs. Import sites are as linked, or go
    /// through the stubs, either way: a walk that stops at them tries both forms itself.
    pub fn code(&self, retpoline: bool) -> AddressSpace<'b> {
        let images = self.modules.iter().filter_map(|known| Some((known.module, self.image(known.module, retpoline)?)));
        AddressSpace::new(self.bound.owners(), images)
    }

    /// A module's image. Calls of overridden functions lead where the machine is taken to have them lead, as far as
    /// [`Junctions`] do not ask; its bytes there do not matter where they do.
    fn image(&self, module: ModuleId, retpoline: bool) -> Option<MappedImage<'a>> {
        let name = &self.bound.entry(module).module.name;
        let policy = Policy::AS_LINKED
            .with_retpoline(retpoline)
            .with_function_overrides(self.overrides == Scope::Machine)
            .with_second_mapping(Policy::is_second_mapping(name));
        let mapped = self.bound.map(module, policy, None)?.with_capabilities(self.known.capabilities);
        Some(match self.known.stubs {
            Some(stubs) if self.known.crowded.contains(&module) => mapped.with_stubs(&stubs.clone().without_copy()),
            Some(stubs) => mapped.with_stubs(stubs),
            None => mapped,
        })
    }

    /// What is asked of function overrides. With retpoline, every guarded call leads through a stub that takes the same
    /// packets, so that nothing is asked then.
    fn junctions(&self, retpoline: bool) -> Junctions {
        let mut junctions = Junctions::default();
        if self.overrides == Scope::Nothing || retpoline {
            return junctions;
        }
        let stubs = self.known.stubs;
        for module in self.modules() {
            let Some(image) = self.image(module, false) else { continue };
            let name = &self.bound.entry(module).module.name;
            let is_left_alone = pe_image::is_kernel_file_name(name) || name.eq_ignore_ascii_case("hal.dll");
            junctions.add(module, &image, stubs, self.overrides == Scope::Modules || is_left_alone);
        }
        if let Some((stubs, page)) = stubs.and_then(|stubs| Some((stubs, stubs.address()?.0))) {
            junctions.add_guarded_calls(stubs, page);
        }
        junctions
    }

    /// Decides over `streams`: IPT snapshots in the order in which they were written.
    ///
    /// Retpoline is decided first, over the code as linked. If it was on, code and import sites are looked at once more
    /// with the stubs in place.
    pub fn detect(&self, streams: &[&[u8]]) -> (Verdict, Vec<Question>) {
        let (verdict, questions) = self.detect_with(streams, false);
        if verdict.retpoline != Answer::On || self.known.stubs.is_none() {
            return (verdict, questions);
        }
        // Walks over the right code see more, but what was proof before stays proof.
        let retpoline_votes = verdict.retpoline_votes;
        let (verdict, questions) = self.detect_with(streams, true);
        (Verdict { retpoline: Answer::On, retpoline_votes, ..verdict }, questions)
    }

    fn detect_with(&self, streams: &[&[u8]], retpoline: bool) -> (Verdict, Vec<Question>) {
        let Junctions { questions, routes, junctions, .. } = self.junctions(retpoline);
        let code = self.code(retpoline);
        let importers = self.modules.iter().map(|module| Importer {
            name: self.bound.entry(module.module).module.name.clone(),
            sites: module.sites.clone(),
            stub: module.stub.filter(|_| retpoline),
        });
        let function_start = |address| self.function_start(address);
        let verdict = call_forms::detect(&Input {
            routes,
            junctions,
            function_start: &function_start,
            stub_pages: self.stubs_alone(),
            indirect_returns: self.modules.iter().flat_map(|module| module.indirect_returns.iter().copied()).collect(),
            ..Input::new(&code, importers.collect(), streams.to_vec())
        });
        (verdict, questions)
    }

    /// Whether a function starts at an address. Nothing where no table says.
    pub fn function_start(&self, address: u64) -> Option<bool> {
        let after = self.modules.partition_point(|module| module.base <= address);
        let module = self.modules[..after].last().filter(|module| address < module.end)?;
        module.functions.starts_at(u32::try_from(address - module.base).ok()?)
    }

    /// The parts of these pages that run with retpoline alone: shared code has functions behind its stubs to which calls lead
    /// without it.
    fn stubs_alone(&self) -> Vec<Range<u64>> {
        let functions = self.known.stubs.into_iter().flat_map(StubBlock::shared_functions);
        let size = functions.map(|&(_, offset)| u64::from(offset)).min().unwrap_or(u64::MAX);
        let pages = self.stub_pages.iter();
        pages.map(|page| page.start..page.end.min(page.start.saturating_add(size))).collect()
    }

    /// The retpoline stub pages after the images and in the kernel, whether retpoline is on or not.
    pub fn stub_pages(&self) -> &[Range<u64>] {
        &self.stub_pages
    }
}

fn weighed(bound: &Bound<'_>, stubs: Option<&StubBlock>, module: ModuleId) -> Option<Weighed> {
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
    Some(Weighed {
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
