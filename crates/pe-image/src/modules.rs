//! Modules that were loaded together: which export each import leads to.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::addr::Va;
use crate::api_set::ApiSets;
use crate::bind::{Binding, Rule, Slot, Target, Unbound};
use crate::exports::{Export, Exports};
use crate::image::MappedImage;
use crate::imports::ImportName;
use crate::kernel::{KERNEL_FILE_NAMES, is_kernel_file_name};
use crate::module::{Module, ModuleId};
use crate::policy::Policy;

/// The most forwarders that are followed: real chains have one or two.
const MOST_FORWARDERS: usize = 16;

/// The longest name of a module in a forwarder: a file's name has no more.
const LONGEST_MODULE_NAME: usize = 255;

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
    binding: OnceLock<Binding<'a>>,
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
                set.api_sets = module.file.as_ref().and_then(|file| ApiSets::read(file).ok().flatten());
            }
            set.loaded.push(Loaded {
                module,
                exports: OnceLock::new(),
                retpolined: OnceLock::new(),
                binding: OnceLock::new(),
            });
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

    /// The modules, in the order in which they were given.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ModuleId, &Module<'a>)> {
        self.loaded.iter().enumerate().map(|(number, loaded)| (ModuleId(number), &loaded.module))
    }

    /// A module; `None` for an id of another set.
    pub fn module(&self, id: ModuleId) -> Option<&Module<'a>> {
        self.loaded.get(id.0).map(|loaded| &loaded.module)
    }

    /// The first module of that file name, in any case.
    pub fn find(&self, name: &str) -> Option<ModuleId> {
        self.by_name.get(&name.to_ascii_lowercase()).copied().map(ModuleId)
    }

    /// The kernel, under any of its names.
    pub fn kernel(&self) -> Option<ModuleId> {
        KERNEL_FILE_NAMES.iter().find_map(|name| self.find(name))
    }

    /// Where every import of a module leads. Empty for a module without a file. Found out once for each module.
    pub fn bind(&self, id: ModuleId) -> Binding<'a> {
        self.loaded
            .get(id.0)
            .map(|loaded| loaded.binding.get_or_init(|| self.bind_now(loaded)).clone())
            .unwrap_or_default()
    }

    /// A module as the kernel has it in memory: its file at its base, with its imports bound. `None` when it has no
    /// file.
    pub fn image(&self, id: ModuleId, policy: Policy) -> Option<MappedImage<'a>> {
        let module = self.module(id)?;
        Some(MappedImage::bound(module.file.clone()?, module.base, self.bind(id), policy))
    }

    fn bind_now(&self, loaded: &Loaded<'a>) -> Binding<'a> {
        let Module { name, file, .. } = &loaded.module;
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
        Binding::new(slots, imports.errors)
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
            // Without its file hal.dll might as well not be loaded.
            if !(stem(&key) == "hal" && matches!(result, Err(Unbound::NoFile(_)))) {
                return result;
            }
        }
        let with_rule = |number: Option<usize>, rule, hops: &mut Vec<usize>| {
            let target = self.export(number?, name, hops).ok()?;
            Some(Target { rule: Some(rule), ..target })
        };
        let named = |name: &&str| self.by_name.get(*name).copied();
        let kernel = self.kernel().map(|id| id.0);
        let found = match stem(&key) {
            kernel_name if is_kernel_file_name(kernel_name) => {
                if let Some(number) = kernel {
                    return Ok(Target { rule: Some(Rule::KernelName), ..self.export(number, name, hops)? });
                }
                None
            }
            "hal" => with_rule(HAL_NAMES.iter().find_map(named), Rule::HalName, hops)
                .or_else(|| with_rule(kernel, Rule::HalInKernel, hops)),
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
        let Some(file) = &loaded.module.file else { return Err(Unbound::NoFile(module())) };
        let exports = loaded.exports.get_or_init(|| file.exports().ok().flatten());
        let Some(exports) = exports else { return Err(Unbound::NoExports(module())) };
        let export = match name {
            ImportName::Name(name) => exports.by_name(name),
            ImportName::Ordinal(ordinal) => exports.by_ordinal(*ordinal),
        };
        match export {
            None => Err(Unbound::NoSuchExport(module())),
            Some(Export::Rva(rva)) => {
                let address = loaded.module.base.wrapping_add(rva.0.into());
                let address = if file.headers().is_64 { address } else { Va::from_x86(address.0 as u32) };
                let retpolined = *loaded
                    .retpolined
                    .get_or_init(|| file.load_config().ok().flatten().is_some_and(|config| config.is_retpolined()));
                Ok(Target { module: ModuleId(number), rva, address, rule: None, retpolined })
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
