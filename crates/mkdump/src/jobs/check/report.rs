//! What a check found, as plain values that become JSON: `docs/schema/check.json`.

use std::path::Path;

use kernel_code::{Extent, Mode, Modes};
use kernel_snapshot::dump::Dump;
use serde::Serialize;

use super::difference::{Difference, Differences};
use super::other_forms::OtherForms;
use crate::hex::Hex;
use crate::provenance::{Assumed, Provenance, SourceFile, UsedFile};

/// `mkdump check`: what was found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// [`CheckReport::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The dump.
    pub dump: DumpReport,
    /// Which rules it breaks.
    pub validation: ValidationReport,
    /// How mkdump made it, when it did.
    pub provenance: Option<ProvenanceReport>,
    /// Comments in it: those that a debugger prints.
    pub comments: Vec<String>,
    /// How it compares with another dump, when one was given.
    pub comparison: Option<ComparisonReport>,
    /// What is damaged or doubtful, with its place.
    pub warnings: Vec<String>,
}

/// How a check ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All rules are kept, every difference is explained, and no site is in another form.
    Fine,
    /// A rule is broken that some reader refuses the dump for, or shows less of it.
    Broken,
    /// A difference is unexplained.
    Different,
    /// Sites are in another form than in the other dump: the dump is not the code that ran there.
    OtherForm,
    /// The two dumps hold no byte of the same module: whether they agree was not found out.
    NothingInCommon,
}

impl CheckReport {
    /// The version of the report's JSON: it grows when a member is removed, or comes to mean something else.
    pub const SCHEMA_VERSION: u32 = 1;

    /// How the check ends. Nothing in common comes first: a comparison that was asked for and did not happen must not
    /// look like one that did.
    pub fn verdict(&self) -> Verdict {
        match &self.comparison {
            Some(comparison) if comparison.totals.bytes == 0 => Verdict::NothingInCommon,
            _ if self.validation.is_broken() => Verdict::Broken,
            Some(comparison) if comparison.totals.differences.unexplained.bytes > 0 => Verdict::Different,
            Some(comparison) if comparison.other_forms.sites() > 0 => Verdict::OtherForm,
            _ => Verdict::Fine,
        }
    }
}

/// A dump, summed up.
#[derive(Clone, Debug, Serialize)]
pub struct DumpReport {
    /// File name.
    pub name: String,
    /// `minidump`, `kernel-triage`, `kernel-full` or `kernel-bitmap`; `null` when it cannot be opened.
    pub kind: Option<&'static str>,
    /// The system that it is of, with its version, when that is not Windows: `macOS 10.15.7`.
    pub other_system: Option<String>,
    /// Size of the file.
    pub bytes: u64,
    /// Modules that it lists.
    pub modules: u64,
    /// Sites that are recognised in the modules' bytes.
    pub sites: SitesFound,
}

impl DumpReport {
    /// Sums a file up. Reads all of its modules' bytes.
    pub fn new(path: &Path, file: &[u8], dump: Option<&Dump<'_>>) -> Self {
        Self {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            kind: dump.map(|dump| dump.kind().name()),
            other_system: dump.and_then(Dump::other_system).map(str::to_owned),
            bytes: file.len() as u64,
            modules: dump.map_or(0, |dump| dump.snapshot().modules.len() as u64),
            sites: dump.map(SitesFound::count).unwrap_or_default(),
        }
    }
}

/// Sites that a dump's bytes alone show, whatever the files say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SitesFound {
    /// Import calls and jumps as linked.
    pub import_linked: u64,
    /// Import calls and jumps made direct.
    pub import_direct: u64,
    /// Import calls and jumps through the stub after the module's own image.
    pub import_stub: u64,
    /// Import calls and jumps through r10, Driver Verifier's form.
    pub import_register: u64,
    /// Indirect calls and jumps through a stub after the module's own image.
    pub retpoline: u64,
    /// Switch jumps through a stub after the module's own image.
    pub switch: u64,
}

/// Which rules a dump breaks.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ValidationReport {
    /// What was not looked at, and why; `null` when all rules of the format were.
    pub limits: Option<String>,
    /// The places that break a rule, a bounded number for each rule.
    pub findings: Vec<FindingReport>,
    /// Findings left out because their rule had enough.
    pub omitted: u64,
}

impl ValidationReport {
    /// True when a reader refuses the dump or shows less of it. Notes break nothing.
    pub fn is_broken(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity != SeverityReport::Note)
    }
}

/// What breaking a rule costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SeverityReport {
    /// Worth knowing; nothing is lost.
    Note,
    /// A reader complains, or shows less than the file holds.
    Degraded,
    /// A reader refuses the file.
    Refused,
}

/// A place that breaks a rule.
#[derive(Clone, Debug, Serialize)]
pub struct FindingReport {
    /// Short and stable name of the rule.
    pub rule: &'static str,
    /// What it costs.
    pub severity: SeverityReport,
    /// The readers that mind.
    pub readers: Vec<&'static str>,
    /// Where in the file.
    pub offset: Hex,
    /// The structure, what was found, what is allowed.
    pub message: String,
    /// The rule and the consequence.
    pub text: &'static str,
}

/// What made a dump, as the dump itself says: untrusted text.
#[derive(Clone, Debug, Serialize)]
pub struct ProvenanceReport {
    /// `mkdump` and its version.
    pub tool: String,
    /// File name of the trace or dump.
    pub source: String,
    /// SHA-256 of the trace or dump.
    pub source_sha256: String,
    /// The other files of a source in several.
    pub more_sources: Vec<SourceFile>,
    /// What was assumed of import optimization.
    pub import_optimization: AssumedReport,
    /// What was assumed of retpolines.
    pub retpoline: AssumedReport,
    /// What was assumed of function overrides; `None` where no module has any.
    pub function_overrides: Option<AssumedReport>,
    /// The files that the code comes from.
    pub files: Vec<UsedFileReport>,
}

/// What was assumed of a load-time change, or shown of it.
#[derive(Clone, Debug, Serialize)]
pub struct AssumedReport {
    /// On, off or mixed.
    pub mode: String,
    /// Why.
    pub reason: String,
}

impl From<&Modes> for AssumedReport {
    fn from(modes: &Modes) -> Self {
        Self { mode: modes.extent.name().into(), reason: modes.reason.clone() }
    }
}

impl From<Mode> for AssumedReport {
    fn from(mode: Mode) -> Self {
        Self { mode: Extent::from(mode.on).name().into(), reason: mode.reason }
    }
}

/// A module file that went into a dump.
#[derive(Clone, Debug, Serialize)]
pub struct UsedFileReport {
    /// Module name.
    pub name: String,
    /// Where it lies in the dump.
    pub base: String,
    /// The symbol server's key of the file.
    pub image_key: String,
}

impl From<Provenance> for ProvenanceReport {
    fn from(made: Provenance) -> Self {
        let Provenance {
            tool,
            source,
            source_sha256,
            more_sources,
            import_optimization,
            retpoline,
            function_overrides,
            files,
        } = made;
        let assumed = |Assumed { mode, reason }| AssumedReport { mode, reason };
        let used = |UsedFile { name, base, image_key, .. }| UsedFileReport { name, base, image_key };
        Self {
            tool,
            source,
            source_sha256,
            more_sources,
            import_optimization: assumed(import_optimization),
            retpoline: assumed(retpoline),
            function_overrides: function_overrides.map(assumed),
            files: files.into_iter().map(used).collect(),
        }
    }
}

/// Two dumps side by side.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonReport {
    /// The other dump.
    pub against: DumpReport,
    /// Modules that both list, the same image at the same base, in the order of their bases.
    pub modules: Vec<CommonModule>,
    /// Modules that only one of them lists, or that are not the same.
    pub others: Vec<OtherModule>,
    /// Sums over the modules.
    pub totals: Totals,
    /// Sites that the two have in different forms.
    pub other_forms: OtherForms,
    /// What the other dump itself shows of import optimization, in its code and on its stacks; `null` when it does not.
    pub import_optimization: Option<AssumedReport>,
    /// The same of retpolines.
    pub retpoline: Option<AssumedReport>,
    /// What makes the two agree whatever the truth is; `null` when nothing says that they are related.
    pub relation: Option<Relation>,
    /// What keeps the comparison from being exact.
    pub warnings: Vec<String>,
}

/// How two dumps are related that agree because one comes from the other: comparing them proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// Both files have the same bytes.
    SameFile,
    /// The dump says that it was made from the other one, by SHA-256.
    MadeFromOther,
    /// The other dump says that it was made from this one.
    SourceOfOther,
}

/// Sums over modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Modules that both list.
    pub modules: u64,
    /// Bytes of them that both hold.
    pub bytes: u64,
    /// Of those, bytes that differ.
    pub differing: u64,
    /// Why.
    pub differences: Differences,
}

/// A module that both dumps list.
#[derive(Clone, Debug, Serialize)]
pub struct CommonModule {
    /// File name.
    pub name: String,
    /// First address.
    pub base: Hex,
    /// SizeOfImage.
    pub size: Hex,
    /// The symbol server's key.
    pub image_key: Option<String>,
    /// Its file, if it was at hand; without one the bytes alone are asked.
    pub file: Option<String>,
    /// Bytes that both hold.
    pub bytes: u64,
    /// Of those, bytes that differ.
    pub differing: u64,
    /// Why they differ.
    pub differences: Differences,
    /// The places, ascending; a bounded number of each class.
    pub places: Vec<Difference>,
    /// Places left out because their class had enough.
    pub omitted: u64,
    /// What was not known about this module.
    pub note: Option<String>,
}

/// A module that was not compared.
#[derive(Clone, Debug, Serialize)]
pub struct OtherModule {
    /// File name.
    pub name: String,
    /// First address.
    pub base: Hex,
    /// Why.
    pub reason: String,
}
