//! The modules that a source names.

use kernel_snapshot::{Module, Moment, Reading, Source, SourceKind};

use crate::error::{Error, Result};
use crate::select::NameFilter;
use kernel_code::Search;

/// Which modules to list.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// By name.
    pub names: NameFilter,
    /// Only those loaded at this moment.
    pub at: Option<Moment>,
    /// User-mode modules too; the reading must have collected them.
    pub user: bool,
    /// Where to look for their files; `None` to list names alone.
    pub search: Option<Search>,
}

/// The modules of a reading that are asked for.
pub(crate) fn listed_modules<'r>(reading: &'r Reading<'_>, options: &ListOptions) -> Result<Vec<&'r Module>> {
    let moment = options.at.map(|at| reading.moment(Some(at))).transpose()?;
    let of_kind = || reading.snapshot.modules.iter().filter(|module| options.user || module.kernel);
    options.names.require_match(of_kind())?;
    let modules = of_kind().filter(|module| {
        options.names.rejects(&module.name).is_none() && moment.is_none_or(|moment| module.live_at(moment))
    });
    Ok(modules.collect())
}

/// The kernel modules of a reading, for a job that cannot do without any.
///
/// # Errors
/// When the source names none.
pub fn require_kernel_modules(source: &Source, reading: &Reading<'_>) -> Result<Vec<Module>> {
    let modules: Vec<Module> = reading.snapshot.modules.iter().filter(|module| module.kernel).cloned().collect();
    match modules.is_empty() {
        true => Err(no_modules(source, reading)),
        false => Ok(modules),
    }
}

/// The error of a source that names no kernel modules.
pub fn no_modules(source: &Source, reading: &Reading<'_>) -> Error {
    Error::NoModules { path: source.path().to_owned(), why: why_no_modules(reading) }
}

/// Why a source lists no kernel modules, as a sentence about the source.
pub fn why_no_modules(reading: &Reading<'_>) -> String {
    let summary = &reading.summary;
    if summary.kind != SourceKind::Trace {
        return "it names no kernel modules".to_owned();
    }
    let events = if summary.events == 1 { "1 event".to_owned() } else { format!("{} events", summary.events) };
    let user = reading.snapshot.modules.len();
    let others = if user == 0 { String::new() } else { format!(", only of user processes ({user} modules)") };
    let lost = reading.lost.as_ref().map(|lost| format!("; {lost}")).unwrap_or_default();
    format!(
        "it holds {events} but no Loader events of the kernel{others}, so it names no kernel modules{lost}{}",
        reading.siblings_may_hold("them")
    )
}
