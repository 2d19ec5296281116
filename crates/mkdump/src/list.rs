//! `mkdump modules`: what a source names.

use crate::error::Result;
use crate::report::{Hex, ModuleReport, ModulesReport, PdbReport};
use crate::select::NameFilter;
use crate::snapshot::Module;
use crate::source::Reading;

/// Which modules to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// By name.
    pub names: NameFilter,
    /// Only those loaded at this moment: seconds from the start of the trace, or a raw timestamp.
    pub at: Option<String>,
    /// User-mode modules too; the reading must have collected them.
    pub user: bool,
}

/// Lists the modules of a reading.
pub fn list_modules(reading: &Reading<'_>, options: &ListOptions) -> Result<ModulesReport> {
    let moment = options.at.as_deref().map(|at| reading.moment(Some(at))).transpose()?;
    let modules = reading.snapshot.modules.iter().filter(|module| {
        (options.user || module.kernel)
            && options.names.rejects(&module.name).is_none()
            && moment.is_none_or(|moment| module.live_at(moment))
    });
    Ok(ModulesReport {
        source: reading.summary.clone(),
        modules: modules.map(ModuleReport::from).collect(),
        warnings: reading.warnings.clone(),
    })
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

/// Why a source lists no kernel modules.
pub fn why_no_modules(reading: &Reading<'_>) -> String {
    let summary = &reading.summary;
    if summary.kind != "etl" {
        return format!("{} names no kernel modules", summary.name);
    }
    let events = if summary.events == 1 { "1 event".to_owned() } else { format!("{} events", summary.events) };
    let user = reading.snapshot.modules.len();
    let others = if user == 0 { String::new() } else { format!(", only of user processes ({user} modules)") };
    format!("{} holds {events} but no Loader events of the kernel{others}, so it names no kernel modules", summary.name)
}

/// How to record a trace that names kernel modules, in lines.
pub fn how_to_record() -> &'static str {
    crate::error::HOW_TO_RECORD
}
