//! Binding: which address each import slot of each module holds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use crate::addr::{Rva, sign_extend};
use crate::api_set::ApiSets;
use crate::error::Error;
use crate::exports::{Export, Exports};
use crate::file::PeFile;
use crate::imports::ImportName;
use crate::site::Site;

/// A module as it was loaded.
#[derive(Clone, Debug)]
pub struct Module<'a> {
    /// The file name under which it was loaded: `ntoskrnl.exe`, `CI.dll`.
    pub name: Cow<'a, str>,
    /// Its first address.
    pub base: u64,
    /// Its file; `None` when nobody has it. Imports from such a module stay unbound, and say why.
    pub file: Option<&'a PeFile<'a>>,
}

/// Where an import leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Number of the exporting module in the set.
    pub module: usize,
    /// The exported thing in that module.
    pub rva: Rva,
    /// Its address.
    pub address: u64,
    /// The rule that led there, when it was not simply the module that the importer names. Forwarders are no rule.
    pub rule: Option<Rule>,
    /// The exporting module is fully retpolined (IMAGE_GUARD_RETPOLINE_PRESENT).
    pub retpolined: bool,
}

/// A rule by which an import is served by a module of another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The kernel's file has several names: ntoskrnl.exe, ntkrnlmp.exe, ntkrnlpa.exe, ntkrpamp.exe.
    KernelName,
    /// hal.dll is not there, and the kernel exports the name. From Windows 10 2004 on hal.dll has only forwarders to
    /// the kernel; before that the kernel exports none of its names.
    HalInKernel,
    /// A HAL under one of its older file names.
    HalName,
    /// A debugger transport that is loaded in the place of kdcom.dll or kdstub.dll.
    KdTransport,
    /// The API set schema names the host.
    ApiSet,
    /// There is no API set schema, and all loaded modules that export the name lead to the same address. An inference.
    UniqueExport,
}

/// Why an import leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unbound {
    /// No module of that name is loaded.
    NotLoaded(String),
    /// The module is loaded, and its file is not at hand.
    NoFile(String),
    /// The module's file has no export table, or one that cannot be read.
    NoExports(String),
    /// The module does not export it.
    NoSuchExport(String),
    /// A forwarder's text is not "module.name": the module that has it, and the text.
    BadForwarder(String, String),
    /// Forwarders lead in a circle, or through more than 16 modules.
    ForwarderLoop(String),
    /// The API set schema does not know the contract, or no module hosts it.
    NoHost(String),
    /// There is no API set schema, and no loaded module, or several, export the name.
    NotUnique(String),
}

impl fmt::Display for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoaded(module) => write!(f, "{module} is not loaded"),
            Self::NoFile(module) => write!(f, "the file of {module} is missing"),
            Self::NoExports(module) => write!(f, "{module} has no export table that can be read"),
            Self::NoSuchExport(module) => write!(f, "{module} does not export it"),
            Self::BadForwarder(module, text) => write!(f, "{module} forwards it to {text:?}, which is no export"),
            Self::ForwarderLoop(module) => write!(f, "forwarders from {module} lead in a circle or too far"),
            Self::NoHost(contract) => write!(f, "no module hosts {contract}"),
            Self::NotUnique(contract) => {
                write!(f, "{contract} is an API set, there is no schema, and not exactly one loaded module exports it")
            }
        }
    }
}

/// The most forwarders that are followed: real chains have one or two.
const MOST_FORWARDERS: usize = 16;

/// The longest name of a module in a forwarder: a file's name has no more.
const LONGEST_MODULE_NAME: usize = 255;

/// File names of the kernel; importers and forwarders say ntoskrnl.
const KERNEL_NAMES: [&str; 4] = ["ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe"];
/// File names of the HAL besides hal.dll, on x86 and before Windows 8.
const HAL_NAMES: [&str; 5] = ["halmacpi.dll", "halacpi.dll", "halaacpi.dll", "halapic.dll", "halmps.dll"];
/// Debugger transports, in the order of preference, that are loaded under another's name.
const KD_NAMES: [&str; 6] = ["kd.dll", "kdcom.dll", "kdnet.dll", "kdstub.dll", "kdusb.dll", "kdhvcom.dll"];

/// The modules that were loaded together, ready for looking up exports. Export tables are read when first asked for;
/// lookups may run on many threads.
#[derive(Debug)]
pub struct Modules<'a> {
    loaded: Vec<Loaded<'a>>,
    /// Number of the first module of a name, in lower case.
    by_name: HashMap<String, usize>,
    /// As above, without extension.
    by_stem: HashMap<String, usize>,
    api_sets: Option<ApiSets<'a>>,
}

#[derive(Debug)]
struct Loaded<'a> {
    module: Module<'a>,
    exports: OnceLock<Option<Exports<'a>>>,
    retpolined: OnceLock<bool>,
}

impl<'a> Modules<'a> {
    /// A set of modules. Of two modules with one name the first serves imports. If the file of one has an API set
    /// schema (apisetschema.dll), contracts are resolved through it.
    pub fn new(modules: impl IntoIterator<Item = Module<'a>>) -> Self {
        let mut set = Self { loaded: Vec::new(), by_name: HashMap::new(), by_stem: HashMap::new(), api_sets: None };
        for module in modules {
            let number = set.loaded.len();
            let name = module.name.to_ascii_lowercase();
            set.by_stem.entry(stem(&name).to_owned()).or_insert(number);
            set.by_name.entry(name).or_insert(number);
            if set.api_sets.is_none() {
                set.api_sets = module.file.and_then(|file| ApiSets::read(file).ok().flatten());
            }
            set.loaded.push(Loaded { module, exports: OnceLock::new(), retpolined: OnceLock::new() });
        }
        set
    }

    /// Resolves contracts through this schema, which need not be among the modules.
    pub fn with_api_sets(mut self, api_sets: ApiSets<'a>) -> Self {
        self.api_sets = Some(api_sets);
        self
    }

    /// The number of modules.
    pub fn len(&self) -> usize {
        self.loaded.len()
    }

    /// True for an empty set.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// A module by its number.
    ///
    /// # Panics
    /// When there is no such number.
    pub fn module(&self, number: usize) -> &Module<'a> {
        &self.loaded[number].module
    }

    /// The number of the kernel's module, under any of its names.
    pub fn kernel(&self) -> Option<usize> {
        KERNEL_NAMES.iter().find_map(|&name| self.by_name.get(name).copied())
    }

    /// Finds out where every import of a module leads. A module without a file has none.
    ///
    /// # Panics
    /// When there is no module of that number.
    pub fn bind(&self, number: usize) -> Binding<'a> {
        let Module { name, file, .. } = &self.loaded[number].module;
        let Some(file) = file else { return Binding::default() };
        let imports = file.imports();
        let mut slots = Vec::new();
        for dll in imports.dlls {
            for import in dll.imports {
                let result = self.resolve(name, &dll.dll, &import.name);
                let (dll, delayed) = (dll.dll.clone(), dll.delayed);
                slots.push(Slot { rva: import.slot, dll, name: import.name, delayed, result });
            }
        }
        slots.sort_by_key(|slot| slot.rva);
        slots.dedup_by_key(|slot| slot.rva);
        Binding { slots, errors: imports.errors }
    }

    /// Where one import leads. `importer` is the importing module's name: an API set may have a host for it alone.
    ///
    /// # Errors
    /// Why it leads nowhere.
    pub fn resolve(&self, importer: &str, dll: &str, name: &ImportName<'_>) -> Result<Target, Unbound> {
        let mut hops = Vec::new();
        self.follow(importer, dll, name, &mut hops)
    }

    fn follow(
        &self,
        importer: &str,
        dll: &str,
        name: &ImportName<'_>,
        hops: &mut Vec<usize>,
    ) -> Result<Target, Unbound> {
        if ApiSets::is_contract(dll) {
            return self.follow_contract(importer, dll, name, hops);
        }
        let key = dll.to_ascii_lowercase();
        if let Some(&number) = self.by_name.get(&key).or_else(|| self.by_stem.get(&key)) {
            let result = self.export(number, name, hops);
            // Without its file hal.dll is as good as not there.
            if !(stem(&key) == "hal" && matches!(result, Err(Unbound::NoFile(_)))) {
                return result;
            }
        }
        let with_rule = |number: Option<usize>, rule, hops: &mut Vec<usize>| {
            let target = self.export(number?, name, hops).ok()?;
            Some(Target { rule: Some(rule), ..target })
        };
        let named = |name: &&str| self.by_name.get(*name).copied();
        let found = match stem(&key) {
            "ntoskrnl" | "ntkrnlmp" | "ntkrnlpa" | "ntkrpamp" => {
                if let Some(number) = self.kernel() {
                    return Ok(Target { rule: Some(Rule::KernelName), ..self.export(number, name, hops)? });
                }
                None
            }
            "hal" => with_rule(HAL_NAMES.iter().find_map(named), Rule::HalName, hops)
                .or_else(|| with_rule(self.kernel(), Rule::HalInKernel, hops)),
            "kdcom" | "kdstub" => KD_NAMES.iter().find_map(|name| with_rule(named(name), Rule::KdTransport, hops)),
            _ => None,
        };
        found.ok_or_else(|| match self.by_name.get(&key) {
            Some(_) => Unbound::NoFile(dll.to_owned()),
            None => Unbound::NotLoaded(dll.to_owned()),
        })
    }

    fn follow_contract(
        &self,
        importer: &str,
        contract: &str,
        name: &ImportName<'_>,
        hops: &mut Vec<usize>,
    ) -> Result<Target, Unbound> {
        if let Some(api_sets) = &self.api_sets {
            let host = api_sets.host(contract, importer).filter(|host| !host.is_empty() && !ApiSets::is_contract(host));
            let host = host.ok_or_else(|| Unbound::NoHost(contract.to_owned()))?;
            let target = self.follow(importer, &host, name, hops)?;
            return Ok(Target { rule: Some(Rule::ApiSet), ..target });
        }
        let mut found: Option<Target> = None;
        for number in 0..self.loaded.len() {
            let mut hops = hops.clone();
            let Ok(target) = self.export(number, name, &mut hops) else { continue };
            if found.is_some_and(|other| other.address != target.address) {
                return Err(Unbound::NotUnique(contract.to_owned()));
            }
            found = Some(target);
        }
        let target = found.ok_or_else(|| Unbound::NotUnique(contract.to_owned()))?;
        Ok(Target { rule: Some(Rule::UniqueExport), ..target })
    }

    /// The export of a module, through forwarders. `hops` counts them over the whole chain.
    fn export(&self, number: usize, name: &ImportName<'_>, hops: &mut Vec<usize>) -> Result<Target, Unbound> {
        let loaded = &self.loaded[number];
        let module = || loaded.module.name.clone().into_owned();
        let Some(file) = loaded.module.file else { return Err(Unbound::NoFile(module())) };
        let exports = loaded.exports.get_or_init(|| file.exports().ok().flatten());
        let Some(exports) = exports else { return Err(Unbound::NoExports(module())) };
        let export = match name {
            ImportName::Name(name) => exports.by_name(name),
            ImportName::Ordinal(ordinal) => exports.by_ordinal(*ordinal),
        };
        match export {
            None => Err(Unbound::NoSuchExport(module())),
            Some(Export::Rva(rva)) => {
                let address = if file.headers().is_64 {
                    loaded.module.base.wrapping_add(rva.0.into())
                } else {
                    sign_extend((loaded.module.base as u32).wrapping_add(rva.0))
                };
                let retpolined = *loaded
                    .retpolined
                    .get_or_init(|| file.load_config().ok().flatten().is_some_and(|config| config.is_retpolined()));
                Ok(Target { module: number, rva, address, rule: None, retpolined })
            }
            Some(Export::Forwarder(text)) => {
                if hops.len() == MOST_FORWARDERS {
                    return Err(Unbound::ForwarderLoop(self.loaded[hops[0]].module.name.clone().into_owned()));
                }
                hops.push(number);
                // A long text is cut, because every import that leads here keeps it.
                let bad = || Unbound::BadForwarder(module(), text.chars().take(LONGEST_MODULE_NAME).collect());
                let is_name = |dll: &str| (1..=LONGEST_MODULE_NAME).contains(&dll.len());
                let (dll, wanted) = text.rsplit_once('.').filter(|(dll, _)| is_name(dll)).ok_or_else(bad)?;
                let wanted = match wanted.strip_prefix('#') {
                    Some(ordinal) => ImportName::Ordinal(ordinal.parse().map_err(|_| bad())?),
                    None => ImportName::Name(wanted.into()),
                };
                self.follow(&loaded.module.name, dll, &wanted, hops)
            }
        }
    }
}

/// A file name without its extension.
fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, "exe" | "dll" | "sys")) => stem,
        _ => name,
    }
}

/// A slot of an import address table and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// Where the slot lies.
    pub rva: Rva,
    /// The DLL, as the importer names it.
    pub dll: Cow<'a, str>,
    /// The export, as the importer names it.
    pub name: ImportName<'a>,
    /// A delay import's slot: it is bound at the first call, so its contents in memory are not known.
    pub delayed: bool,
    /// Where the import leads.
    pub result: Result<Target, Unbound>,
}

/// All import slots of a module, bound as far as they can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding<'a> {
    slots: Vec<Slot<'a>>,
    errors: Vec<Error>,
}

impl<'a> Binding<'a> {
    /// The slots, ascending by RVA; no RVA twice.
    pub fn slots(&self) -> &[Slot<'a>] {
        &self.slots
    }

    /// The slot that starts at `rva`.
    pub fn slot_at(&self, rva: Rva) -> Option<&Slot<'a>> {
        self.slots.binary_search_by_key(&rva, |slot| slot.rva).ok().map(|index| &self.slots[index])
    }

    /// The import through which a site goes. `None` for a site that reads no slot of an import.
    pub fn import_of(&self, site: &Site) -> Option<&Slot<'a>> {
        self.slot_at(site.slot?)
    }

    /// What stays unbound, each DLL and name once.
    pub fn unresolved(&self) -> Vec<&Slot<'a>> {
        let mut out: Vec<_> = self.slots.iter().filter(|slot| slot.result.is_err()).collect();
        out.sort_by(|a, b| (&a.dll, &a.name).cmp(&(&b.dll, &b.name)));
        out.dedup_by(|a, b| (&a.dll, &a.name) == (&b.dll, &b.name));
        out
    }

    /// Parts of the import tables that could not be read.
    pub fn errors(&self) -> &[Error] {
        &self.errors
    }
}
