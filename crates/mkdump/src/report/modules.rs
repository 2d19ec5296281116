//! `mkdump modules`.

use kernel_snapshot::{Module, Reading};
use serde::Serialize;

use super::{Hex, SourceReport};
use crate::error::Result;
use crate::jobs::modules::{ListOptions, listed_modules};

/// Lists the modules of a reading.
///
/// # Errors
/// When the moment that is asked for is not one.
pub fn list_modules(reading: &Reading<'_>, options: &ListOptions) -> Result<ModulesReport> {
    Ok(ModulesReport {
        source: (&reading.summary).into(),
        modules: listed_modules(reading, options)?.into_iter().map(ModuleReport::from).collect(),
        warnings: reading.warnings.clone(),
    })
}

/// `mkdump modules`: a source and the modules that it names.
#[derive(Clone, Debug, Serialize)]
pub struct ModulesReport {
    /// The source.
    pub source: SourceReport,
    /// Its modules.
    pub modules: Vec<ModuleReport>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// A module as the source names it.
#[derive(Clone, Debug, Serialize)]
pub struct ModuleReport {
    /// File name.
    pub name: String,
    /// Full path as the kernel names it.
    pub path: String,
    /// True for kernel modules.
    pub kernel: bool,
    /// Process, 0 for the kernel.
    pub process: u32,
    /// First address.
    pub base: Hex,
    /// SizeOfImage.
    pub size: Hex,
    /// TimeDateStamp.
    pub timestamp: Option<Hex>,
    /// CheckSum.
    pub checksum: Option<Hex>,
    /// PDB identity.
    pub pdb: Option<PdbReport>,
    /// The symbol server's key.
    pub image_key: Option<String>,
    /// Seconds from trace start.
    pub loaded: Option<f64>,
    /// Seconds from trace start.
    pub unloaded: Option<f64>,
}

/// A PDB's identity.
#[derive(Clone, Debug, Serialize)]
pub struct PdbReport {
    /// File name alone.
    pub name: String,
    /// GUID with dashes.
    pub guid: String,
    /// Age.
    pub age: u32,
}

impl From<&Module> for ModuleReport {
    fn from(module: &Module) -> Self {
        Self {
            name: module.name.clone(),
            path: module.path.clone(),
            kernel: module.kernel,
            process: module.process,
            base: Hex(module.base),
            size: Hex(module.size),
            timestamp: module.timestamp.map(|value| Hex(value.into())),
            checksum: module.checksum.map(|value| Hex(value.into())),
            pdb: module.pdb.as_ref().map(|pdb| PdbReport {
                name: pdb.name.clone(),
                guid: pdb.id.guid.to_string(),
                age: pdb.id.age,
            }),
            image_key: module.image_key(),
            loaded: module.loaded,
            unloaded: module.unloaded,
        }
    }
}
