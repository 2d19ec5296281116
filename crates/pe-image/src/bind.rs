//! Where imports lead: the outcome of binding.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::addr::{Rva, Va};
use crate::error::Error;
use crate::imports::ImportName;
use crate::module::ModuleId;

/// Where an import leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Target {
    /// The exporting module.
    pub module: ModuleId,
    /// The exported thing in that module.
    pub rva: Rva,
    /// Its address.
    pub address: Va,
    /// The rule that led there, unless it was simply the module that the importer names, or a forwarder.
    pub rule: Option<Rule>,
    /// The exporting module is fully retpolined (IMAGE_GUARD_RETPOLINE_PRESENT).
    pub retpolined: bool,
}

/// A rule by which an import is served by a module of another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Rule {
    /// The kernel's file has several names: see [`crate::KERNEL_FILE_NAMES`].
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

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KernelName => "the kernel under another of its file names",
            Self::HalInKernel => "a HAL function that the kernel exports",
            Self::HalName => "the HAL under an older file name",
            Self::KdTransport => "the debugger transport that is loaded",
            Self::ApiSet => "the host that the API set schema names",
            Self::UniqueExport => "the only loaded module that exports the name",
        })
    }
}

/// Why an import leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Unbound {
    /// No module of that name is loaded.
    NotLoaded(String),
    /// The module is loaded, but its file is missing.
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
            Self::BadForwarder(module, text) => write!(f, "{module} forwards it to {text:?}, which is not an export"),
            Self::ForwarderLoop(module) => write!(f, "forwarders from {module} lead in a circle or too far"),
            Self::NoHost(contract) => write!(f, "no module hosts {contract}"),
            Self::NotUnique(contract) => {
                write!(f, "{contract} is an API set, there is no schema, and not exactly one loaded module exports it")
            }
        }
    }
}

/// A slot of an import address table and what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

/// All import slots of a module, bound as far as they can be. A clone shares the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding<'a> {
    slots: Arc<[Slot<'a>]>,
    errors: Arc<[Error]>,
}

impl<'a> Binding<'a> {
    pub(crate) fn new(mut slots: Vec<Slot<'a>>, errors: Vec<Error>) -> Self {
        slots.sort_by_key(|slot| slot.rva);
        slots.dedup_by_key(|slot| slot.rva);
        Self { slots: slots.into(), errors: errors.into() }
    }

    /// The slots, ascending by RVA; no RVA twice.
    pub fn slots(&self) -> &[Slot<'a>] {
        &self.slots
    }

    /// The slot that starts at `rva`.
    pub fn slot_at(&self, rva: Rva) -> Option<&Slot<'a>> {
        self.slots.binary_search_by_key(&rva, |slot| slot.rva).ok().map(|index| &self.slots[index])
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
