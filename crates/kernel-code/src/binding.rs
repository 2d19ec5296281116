//! Modules in their places, their imports resolved against each other.

use std::collections::HashMap;

use address_map::{AddressMap, Claim, ModuleId, Owners};
use pe_image::{Binding, MappedImage, Modules, Outcome, Policy, Reason, SiteKind, StubBlock, Unbound};
use rayon::prelude::*;

use crate::files::{Entry, Inclusion, Parsed};

/// Modules whose imports are resolved against each other at a moment.
#[derive(Debug)]
pub struct Bound<'a> {
    parsed: &'a Parsed<'a>,
    entries: Vec<Entry>,
    map: AddressMap,
    owners: Owners,
    /// Number of each module in `set`; nothing for a module that does not have its place.
    numbers: Vec<Option<pe_image::ModuleId>>,
    /// The module of each number.
    by_number: Vec<ModuleId>,
    set: Modules<'a>,
    bindings: Vec<Binding<'a>>,
}

impl<'a> Bound<'a> {
    /// Gives the modules their places at a moment and resolves every import of those that have one. Where nothing about
    /// time decides between two modules, the one whose file is at hand gets the place. Modules without their places
    /// export nothing, and are left out for the reason that `displaced` gives; its argument is the winner.
    pub(crate) fn new(parsed: &'a Parsed<'a>, moment: f64, displaced: impl Fn(&Entry) -> String) -> Self {
        let mut entries = parsed.entries.to_vec();
        let claim = |(index, entry): (usize, &Entry)| Claim {
            has_file: parsed.file(ModuleId(index)).is_some(),
            ..Claim::from(&entry.module)
        };
        let map = AddressMap::new(entries.iter().enumerate().map(claim));
        let owners = map.at(moment);
        for &(module, winner) in owners.displaced() {
            let reason = displaced(&entries[winner.0]);
            entries[module.0].exclude(reason);
        }
        let (mut numbers, mut by_number, mut loaded) = (vec![None; entries.len()], Vec::new(), Vec::new());
        for (index, entry) in parsed.entries.iter().enumerate() {
            let id = ModuleId(index);
            if entry.module.kernel && owners.displaced_by(id).is_none() {
                numbers[index] = Some(pe_image::ModuleId(loaded.len()));
                by_number.push(id);
                let (name, base) = (entry.module.name.as_str(), entry.module.base);
                loaded.push(match parsed.file(id) {
                    Some(file) => pe_image::Module::new(name, base, file.clone()),
                    None => pe_image::Module::without_file(name, base),
                });
            }
        }
        let set = Modules::new(loaded);
        let bindings =
            numbers.par_iter().map(|number| number.map(|number| set.bind(number)).unwrap_or_default()).collect();
        Self { parsed, entries, map, owners, numbers, by_number, set, bindings }
    }

    /// Every module's number.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = ModuleId> + ExactSizeIterator + Clone + use<> {
        (0..self.entries.len()).map(ModuleId)
    }

    /// The modules with what was found for them.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// One of them.
    ///
    /// # Panics
    /// If the number is not that of a module. This applies to the methods below as well.
    pub fn entry(&self, module: ModuleId) -> &Entry {
        &self.entries[module.0]
    }

    /// The modules' addresses over time.
    pub fn address_map(&self) -> &AddressMap {
        &self.map
    }

    /// The modules' addresses at the moment of the binding.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Leaves modules out after all: `reason` says why, or nothing for a module that stays as it is. Others go on to
    /// import from them. Those that are out already keep their reason.
    pub fn exclude(&mut self, reason: impl Fn(ModuleId, &Entry) -> Option<String>) {
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.inclusion != Inclusion::Excluded
                && let Some(reason) = reason(ModuleId(index), entry)
            {
                entry.exclude(reason);
            }
        }
    }

    /// Where the imports of a module lead. Empty when its file is not at hand.
    pub fn binding(&self, module: ModuleId) -> &Binding<'a> {
        &self.bindings[module.0]
    }

    /// The module that an import leads to.
    pub fn exporter(&self, target: &pe_image::Target) -> Option<ModuleId> {
        self.by_number.get(target.module.0).copied()
    }

    /// Whether the module has its place at the moment.
    pub fn was_loaded(&self, module: ModuleId) -> bool {
        self.numbers[module.0].is_some()
    }

    /// The image of a module that has its place and a file, left out or not, under a policy.
    pub fn map(&self, module: ModuleId, policy: Policy, stubs: Option<&StubBlock>) -> Option<MappedImage<'a>> {
        let mapped = self.set.image(self.numbers[module.0]?, policy)?;
        Some(match stubs {
            Some(stubs) => mapped.with_stubs(stubs),
            None => mapped,
        })
    }

    /// The image of a module that is included, as linked.
    pub fn linked(&self, module: ModuleId) -> Option<MappedImage<'a>> {
        let entry = self.entry(module);
        let file = self.parsed.file(module).filter(|_| entry.inclusion == Inclusion::Included)?;
        let mapped = self.map(module, Policy::AS_LINKED, None);
        Some(mapped.unwrap_or_else(|| MappedImage::new(file.clone(), entry.module.base, Policy::AS_LINKED)))
    }

    /// The retpoline stubs of the snapshot's own kernel.
    pub fn stubs(&self) -> Result<Option<StubBlock>, pe_image::Error> {
        let kernel = self.set.kernel().and_then(|kernel| self.set.image(kernel, Policy::AS_LINKED));
        kernel.map_or(Ok(None), |kernel| StubBlock::from_kernel(&kernel))
    }

    /// The modules that have their places, by name in lower case. Of several of one name the first.
    pub fn by_name(&self) -> HashMap<String, ModuleId> {
        let loaded = self.ids().rev().filter(|&id| self.was_loaded(id));
        loaded.map(|id| (self.entry(id).module.name.to_ascii_lowercase(), id)).collect()
    }

    /// The import sites of a module that the kernel would make direct: the address of each, and the module that it leads
    /// to, or where the file of that module is missing, its name.
    pub fn direct_imports(&self, module: ModuleId) -> Vec<DirectImport> {
        let second_mapping = Policy::is_second_mapping(&self.entry(module).module.name);
        let Some(mapped) = self.map(module, Policy::default().with_second_mapping(second_mapping), None) else {
            return Vec::new();
        };
        let import = |site: pe_image::Site| {
            let SiteKind::Import { .. } = site.kind else { return None };
            let exporter = match site.outcome {
                Outcome::Direct(target) => Exporter::Known(self.exporter(&target)?),
                Outcome::AsLinked(Reason::Unbound) => match &self.binding(module).import_of(&site)?.result {
                    Err(Unbound::NoFile(exporter)) => Exporter::WithoutFile(exporter.to_string()),
                    _ => return None,
                },
                _ => return None,
            };
            Some(DirectImport { site: mapped.address(site.rva).0, exporter })
        };
        mapped.sites().filter_map(import).collect()
    }
}

/// An import site that the kernel would make direct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectImport {
    /// Its address.
    pub site: u64,
    /// Where it leads.
    pub exporter: Exporter,
}

/// The module that an import site leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exporter {
    /// Its file says where in it.
    Known(ModuleId),
    /// Its file is missing: the name that the importing file gives.
    WithoutFile(String),
}
