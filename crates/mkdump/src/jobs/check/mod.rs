//! `mkdump check`: is a dump one that debuggers take, and does it hold what a real one holds?
//!
//! ```text
//! DUMP ──► validate ──► findings: a rule, the readers that it is for, the place
//!   │
//!   └─┬──► compare ──► bytes that both hold, runs that differ ──► classify ──► why they differ, place by place
//! REAL┘                                                             ▲
//! modules/ ──► units: places that each file lists ──► known: forms ─┘   without a file: what the bytes show
//! ```
//!
//! Two dumps of one machine need not agree byte by byte: one has import calls as the linker made them, the other as the
//! kernel rewrote them. A difference is **explained** when each side has one of the forms that the place can have; all
//! else is unexplained, and a byte that is in neither form is unexplained even inside a site that is explained. What can
//! be explained is closed: see [`Class`].
//!
//! Untrusted input, both dumps and all module files: no panic and no hang. Memory used is at most 8 times what the two
//! dumps hold of one module, besides what opening them takes.

mod classify;
mod compare;
mod difference;
mod instructions;
mod known;
mod memory;
mod other_forms;
mod relation;
mod report;
mod sites;
mod units;
mod validate;

use std::path::PathBuf;

use compare::compare;

pub use captured_code::{FoundSite, Reached, SiteScan};
pub use difference::{Class, Count, Difference, Differences};
pub use other_forms::{OnOff, OtherForms};
pub use report::{
    AssumedReport, CheckReport, CommonModule, ComparisonReport, DumpReport, FindingReport, OtherModule,
    ProvenanceReport, Relation, SeverityReport, SitesFound, Totals, UsedFileReport, ValidationReport, Verdict,
};
pub use validate::{provenance, validate};

use crate::error::{Error, Result, in_full};
use captured_code::forms;
use captured_code::memory::{PageBudget, held};
use kernel_code::Search;
use kernel_code::{Choice, Detect, Files, Setting, System};
use kernel_snapshot::FileBytes;
use kernel_snapshot::Progress;
use kernel_snapshot::SourceError;
use kernel_snapshot::dump::Dump;

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// The dump.
    pub dump: PathBuf,
    /// The dump of a real machine to hold it against.
    pub against: Option<PathBuf>,
    /// Where module files are looked for. They say which places a loader may change.
    pub search: Search,
}

/// Checks a dump against the rules of its format and, if asked to, against another dump.
///
/// # Errors
/// When a file cannot be read or is not a Windows dump at all, and when a dump that is to be compared is too damaged for its
/// modules and memory to be found. A broken rule or a difference is not an error: see [`CheckReport::verdict`].
pub fn check(options: &CheckOptions, progress: &dyn Progress) -> Result<CheckReport> {
    progress.phase("checking the dump", None);
    let file = FileBytes::open(&options.dump)?;
    let dump = Dump::open(&file);
    let validation = match (validate(&file), &dump) {
        (Some(validation), _) => validation,
        (None, Ok(_)) => ValidationReport::default(),
        (None, Err(_)) => return Err(cannot_open(&options.dump, dump)),
    };
    let (provenance, comments, warnings) = provenance(&file);
    let mut report = CheckReport {
        schema_version: CheckReport::SCHEMA_VERSION,
        dump: DumpReport::new(&options.dump, &file, dump.as_ref().ok()),
        validation,
        provenance,
        comments,
        comparison: None,
        warnings,
    };
    match &dump {
        Ok(dump) => report.warnings.extend(dump.warnings().iter().cloned()),
        Err(error) => report.warnings.push(in_full(error)),
    }
    if dump.as_ref().is_ok_and(|dump| !holds_code(dump)) {
        report.warnings.push("The dump holds no byte of any module that it lists: it contains no code.".to_owned());
    }
    if let Some(system) = &report.dump.other_system {
        report.warnings.push(format!("This is a dump of {system}, not of Windows: no other job takes it."));
    }
    let Some(against) = &options.against else { return Ok(report) };

    let dump = dump.map_err(|error| cannot_open(&options.dump, Err(error)))?;
    progress.phase("reading the other dump", None);
    let real_file = FileBytes::open(against)?;
    let real = Dump::open(&real_file).map_err(|error| cannot_open(against, Err(error)))?;
    let kernel: Vec<_> = real.snapshot().modules.clone();
    let index = options.search.index(&kernel, progress)?;
    let mut files = Files::find(&kernel, &index);
    let parsed = files.parse();
    let system = System::reconstruct(
        &parsed,
        &Setting {
            machine: &real.snapshot().machine,
            moment: f64::INFINITY,
            moment_name: "in the other dump",
            // Every form is compared, whatever the kernel chose.
            import_optimization: Choice::Off,
            retpoline: Choice::Off,
            function_overrides: Choice::Off,
            capabilities: &[],
            packets: &[],
            detect: Detect::WhenOpen,
            captured: None,
        },
    );
    progress.phase("comparing", None);
    let against = DumpReport::new(against, &real_file, Some(&real));
    let mut comparison = compare(&dump, &real, &system, against, relation::of(&file, &real_file));
    let shown = forms(&[&real], &kernel, &parsed);
    comparison.import_optimization = shown.import_optimization(&real.snapshot().machine).as_ref().map(Into::into);
    comparison.retpoline = shown.retpoline().map(Into::into);
    report.comparison = Some(comparison);
    Ok(report)
}

/// Whether a dump holds any byte of its modules.
fn holds_code(dump: &Dump<'_>) -> bool {
    let budget = PageBudget::new();
    let modules = &dump.snapshot().modules;
    modules.iter().any(|module| !held(dump, &(module.base..module.end()), &budget).is_empty())
}

fn cannot_open(path: &std::path::Path, dump: Result<Dump<'_>, kernel_snapshot::dump::DumpError>) -> Error {
    match dump {
        Err(source) => SourceError::not_a_dump(path, source).into(),
        Ok(_) => unreachable!("called for dumps that cannot be opened"),
    }
}
