//! `mkdump modules`.

use kernel_snapshot::{Module, Reading};
use serde::Serialize;
use symstore::Loader;

use super::{Hex, SCHEMA_VERSION, SourceReport, seconds};
use crate::error::Result;
use crate::jobs::modules::{ListOptions, listed_modules};
use kernel_code::Found;
use kernel_snapshot::{Pdb, Progress};

/// Lists the modules of a reading, and where module files are looked for, what there is of each one's file.
///
/// # Errors
/// When the moment that is asked for is not one, or a place of module files is not there.
pub fn list_modules(reading: &Reading<'_>, options: &ListOptions, progress: &dyn Progress) -> Result<ModulesReport> {
    let listed = listed_modules(reading, options)?;
    let mut warnings = reading.warnings.clone();
    let mut modules: Vec<ModuleReport> = listed.iter().map(|module| ModuleReport::from(*module)).collect();
    if let Some(search) = &options.search {
        let wanted: Vec<Module> = listed.iter().copied().cloned().collect();
        let index = search.index(&wanted, progress)?;
        let loader = Loader::new();
        for (report, module) in modules.iter_mut().zip(&wanted) {
            report.add(Found::of(module, &index, &loader));
        }
        warnings.extend(index.notes().iter().cloned());
    }
    let moment = options.at.map(|at| reading.moment(Some(at))).transpose()?;
    let source = (&reading.summary).into();
    Ok(ModulesReport { schema_version: SCHEMA_VERSION, source, moment: moment.and_then(seconds), modules, warnings })
}

/// `mkdump modules`: a source and the modules that it names.
#[derive(Clone, Debug, Serialize)]
pub struct ModulesReport {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The source.
    pub source: SourceReport,
    /// The moment at which the modules were loaded, in seconds from the start of the trace; `None` when every module
    /// that was ever loaded is listed.
    pub moment: Option<f64>,
    /// Its modules.
    pub modules: Vec<ModuleReport>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// What there is of a module's file.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum FileStatus {
    /// The file.
    Present,
    /// No file of that name or identity.
    Missing,
    /// A file of that name, of another build, or several that fit equally well.
    Mismatch,
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
    /// What there is of its file; `None` when no files were looked for.
    pub status: Option<FileStatus>,
    /// The file, or the nearest one in case of a mismatch.
    pub file: Option<String>,
    /// The version of that nearest one, where its resources state one.
    pub file_version: Option<String>,
    /// Why there is no file, or why the file may be the wrong one.
    pub reason: Option<String>,
}

impl ModuleReport {
    fn add(&mut self, found: Found<'_>) {
        let (status, file, version, reason) = match found {
            Found::Fit(file, doubts) => {
                let doubts: Vec<String> = doubts.iter().map(ToString::to_string).collect();
                let reason = (!doubts.is_empty()).then(|| doubts.join("; "));
                (FileStatus::Present, Some(file.location.to_string()), None, reason)
            }
            Found::Other { file, version, reason } => (FileStatus::Mismatch, file, version, Some(reason)),
            Found::Nothing(reason) => (FileStatus::Missing, None, None, Some(reason.to_owned())),
        };
        (self.status, self.file, self.file_version, self.reason) = (Some(status), file, version, reason);
    }
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

impl From<&Pdb> for PdbReport {
    fn from(pdb: &Pdb) -> Self {
        Self { name: pdb.name.clone(), guid: pdb.id.guid.to_string(), age: pdb.id.age }
    }
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
            pdb: module.pdb.as_ref().map(PdbReport::from),
            image_key: module.image_key(),
            loaded: module.loaded,
            unloaded: module.unloaded,
            status: None,
            file: None,
            file_version: None,
            reason: None,
        }
    }
}
