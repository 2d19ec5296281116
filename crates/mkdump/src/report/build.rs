//! `mkdump …`: a dump that was built.

use intel_pt::flow::Quality;
use kernel_code::{Entry, Image, Inclusion};
use kernel_snapshot::{Progress, Reading, Source};
use pe_image::{Counts, RewriteCounts};
use serde::Serialize;

use super::ipt::{ModuleVerdictReport, QualityReport, SnapshotFacts};
use super::overrides::{OverrideReport, OverrideSites};
use super::{Hex, ModeReport, PdbReport, SCHEMA_VERSION, SourceReport, seconds};
use crate::error::Result;
use crate::ipt::StreamsQuality;
use crate::jobs::build_dump::{BuildOptions, Built, PageHits, build_with};
use crate::provenance::SourceFile;
use captured_code::written;

/// Builds a dump of a source's kernel modules as `options` ask.
///
/// # Errors
/// When the source names no kernel module, a directory of modules cannot be read, or the dump cannot be laid out or
/// written. A module that is missing, or a file that is not the right one, is not an error: the report says so.
pub fn build(
    source: &Source,
    reading: &Reading<'_>,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<BuildReport> {
    build_with(source, reading, options, progress, |built| BuildReport::from(built))
}

/// `mkdump …`: a dump that was built.
#[derive(Clone, Debug, Serialize)]
pub struct BuildReport {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// The file.
    pub output: String,
    /// `minidump`, `triage`, `elf` or `raw`.
    pub format: &'static str,
    /// Its size.
    pub bytes: u64,
    /// The moment that it shows, in seconds from the start of the trace; `None` for a dump, and for a trace whose end is
    /// not known.
    pub moment: Option<f64>,
    /// What was assumed of import optimization.
    pub import_optimization: ModeReport,
    /// What was assumed of retpolines.
    pub retpoline: ModeReport,
    /// What was assumed of function overrides.
    pub function_overrides: ModeReport,
    /// Every module that the source names, in or out.
    pub modules: Vec<BuiltModule>,
    /// The trace or dump that named them.
    pub source: SourceReport,
    /// The files of it, with their hashes.
    pub source_files: Vec<SourceFile>,
    /// How well the source's Intel PT data agrees with the code; `None` where it was not looked at for import calls.
    pub ipt_quality: Option<StreamsReport>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
    /// What keeps the dump from being all that ran, for certain: missing modules, files that may be wrong ones, and how
    /// many of the warnings are doubts about the source. Empty for a dump without any.
    pub shortcomings: Vec<String>,
    /// Where the source's Intel PT data was: for a picture, and no part of the JSON, which `mkdump ipt` has in full.
    /// `None` when there is no such data, or it was not asked for.
    #[serde(skip)]
    pub heat: Option<HeatReport>,
    /// The votes of the Intel PT data on import optimization, module by module, likewise.
    #[serde(skip)]
    pub votes: Vec<ModuleVerdictReport>,
}

/// How well Intel PT data agrees with the code, as far as it was looked at for import calls.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct StreamsReport {
    /// Snapshots.
    pub streams: usize,
    /// How many of them contradict the code so often that it is not what ran.
    pub doubtful: usize,
    /// Times that packets and code contradicted each other.
    pub out_of_step: u64,
    /// The same for each MiB of packets.
    pub out_of_step_per_mib: Option<f64>,
    /// Why what was decided from this data is not to be believed; `None` when the numbers are good.
    pub doubt: Option<String>,
}

impl From<StreamsQuality> for StreamsReport {
    fn from(quality: StreamsQuality) -> Self {
        Self {
            streams: quality.streams,
            doubtful: quality.doubtful,
            out_of_step: quality.sum.out_of_step(),
            out_of_step_per_mib: quality.sum.out_of_step_per_mib(),
            doubt: quality.doubt(),
        }
    }
}

/// Where Intel PT packets name addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatReport {
    /// Pieces of Intel PT data.
    pub snapshots: u64,
    /// Their bytes.
    pub bytes: u64,
    /// For each module of the build, in its order.
    pub modules: Vec<ModuleHeat>,
    /// Pages in no module: first address, and how often packets name an address in it.
    pub unknown: Vec<(u64, u64)>,
    /// Each piece.
    pub pieces: Vec<PieceReport>,
    /// How well all of them together can be followed over the code; `None` without code.
    pub quality: Option<QualityReport>,
}

/// A piece of Intel PT data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PieceReport {
    /// Which it is.
    pub facts: SnapshotFacts,
    /// Addresses in packets.
    pub hits: u64,
    /// Stretches that are lost.
    pub gaps: u64,
    /// The first of them that are not overflows: the offset, and what is wrong there.
    pub errors: Vec<(usize, String)>,
    /// How well it can be followed over the code; `None` without code.
    pub quality: Option<QualityReport>,
}

/// Where Intel PT packets name addresses in a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleHeat {
    /// Number of a 4 KiB page counted from the base, and how often packets name an address in it; in the order of pages.
    pub pages: Vec<(u64, u64)>,
}

/// What became of a module.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its code is in the dump.
    Included,
    /// No file of that name was found.
    Missing,
    /// A file of that name was found, of another build.
    Mismatch,
    /// Left out by option, or because another module held its addresses.
    Excluded,
}

/// One module of a build.
#[derive(Clone, Debug, Serialize)]
pub struct BuiltModule {
    /// File name.
    pub name: String,
    /// First address.
    pub base: Hex,
    /// SizeOfImage.
    pub size: Hex,
    /// The symbol server's key.
    pub image_key: Option<String>,
    /// Its PDB, as the source names it.
    pub pdb: Option<PdbReport>,
    /// In or out.
    pub status: Status,
    /// The file that its bytes come from, or the nearest one in case of a mismatch.
    pub file: Option<String>,
    /// The version of that nearest one, where its resources state one.
    pub file_version: Option<String>,
    /// Why it is out, or what to know about it.
    pub reason: Option<String>,
    /// Address ranges in the dump: first address, one past the last.
    pub ranges: Vec<[Hex; 2]>,
    /// Whether its import calls were made direct, and why; nothing when it is not in the dump or lists no import sites.
    pub import_optimization: Option<ModeReport>,
    /// Sites listed in the file's Dynamic Value Relocation Table.
    pub sites: SitesReport,
    /// The functions that the file's table lists as overridden, in its order.
    pub overrides: Vec<OverrideReport>,
    /// Base relocations applied.
    pub relocations: u64,
    /// Imports that stayed unbound.
    pub unresolved: Vec<UnresolvedReport>,
}

/// Site counts by kind.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct SitesReport {
    /// Symbol 3.
    pub import: ImportSites,
    /// Symbol 4.
    pub indirect: RewrittenSites,
    /// Symbol 5.
    pub switch: RewrittenSites,
    /// Symbol 7.
    pub r#override: OverrideSites,
}

/// Import call sites: `listed` is the sum of the others, or, with the optimization off, of the others and the sites
/// that would have been optimized. Sites that the source dump captured are counted as they are in it, so these sums need
/// not hold for a dump as source.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct ImportSites {
    /// Records in the table.
    pub listed: u64,
    /// Rewritten as direct calls or jumps.
    pub optimized: u64,
    /// Records without an import address table index.
    pub no_index: u64,
    /// The import could not be resolved.
    pub unbound: u64,
    /// The target is more than 2 GiB away.
    pub out_of_range: u64,
    /// The bytes are not what a linker writes there.
    pub unexpected_bytes: u64,
}

/// Sites of the retpoline kinds.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
pub struct RewrittenSites {
    /// Records in the table.
    pub listed: u64,
    /// Rewritten as calls to a stub.
    pub rewritten: u64,
}

/// An import that stayed unbound.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct UnresolvedReport {
    /// Exporting module.
    pub dll: String,
    /// Function name, or `#ordinal`.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl From<&Built<'_>> for BuildReport {
    fn from(built: &Built<'_>) -> Self {
        let system = built.system;
        let mut modules: Vec<BuiltModule> = system.modules().entries().iter().map(BuiltModule::from).collect();
        for image in built.images {
            let module = &mut modules[image.module.0];
            module.add(image, &written(built.reading, image), built.options.memory.into());
            if module.sites.import.listed > 0 {
                module.import_optimization = Some(system.import_optimization().of(image.module).into());
            }
        }
        let shortcomings = shortcomings(&modules, built.doubts.len());
        Self {
            schema_version: SCHEMA_VERSION,
            moment: seconds(system.moment()),
            output: built.options.output.to_string_lossy().into_owned(),
            format: built.options.format.name(),
            bytes: built.bytes,
            import_optimization: system.import_optimization().into(),
            retpoline: system.retpoline().into(),
            function_overrides: system.function_overrides().into(),
            modules,
            source: (&built.reading.summary).into(),
            source_files: built.sources.clone(),
            ipt_quality: StreamsQuality::of(system).map(StreamsReport::from),
            warnings: [&built.doubts[..], &built.remarks].concat(),
            shortcomings,
            heat: built.page_hits.as_ref().map(HeatReport::from),
            votes: ModuleVerdictReport::of(system),
        }
    }
}

/// The one rule for what counts against a dump. A module that was left out by choice does not.
fn shortcomings(modules: &[BuiltModule], doubts: usize) -> Vec<String> {
    let with = |wanted: fn(&BuiltModule) -> bool| modules.iter().filter(|&module| wanted(module)).count();
    let counted = [
        (with(|module| module.status == Status::Missing), "module is missing", "modules are missing"),
        (
            with(|module| module.status == Status::Mismatch),
            "module is there in another build only",
            "modules are there in another build only",
        ),
        (
            with(|module| module.status == Status::Included && module.reason.is_some()),
            "file may be the wrong one",
            "files may be the wrong ones",
        ),
        (doubts, "doubt is among the warnings", "doubts are among the warnings"),
    ];
    let told = counted.into_iter().filter(|(count, ..)| *count > 0);
    told.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many })).collect()
}

impl From<&Entry> for BuiltModule {
    fn from(entry: &Entry) -> Self {
        Self {
            name: entry.module.name.clone(),
            base: Hex(entry.module.base),
            size: Hex(entry.module.size),
            image_key: entry.module.image_key(),
            pdb: entry.module.pdb.as_ref().map(PdbReport::from),
            status: entry.inclusion.into(),
            file: entry.file.clone(),
            file_version: entry.file_version.clone(),
            reason: entry.reason.clone(),
            ranges: Vec::new(),
            import_optimization: None,
            sites: SitesReport::default(),
            overrides: Vec::new(),
            relocations: 0,
            unresolved: Vec::new(),
        }
    }
}

impl BuiltModule {
    /// Adds what is known of a module that is in the dump; `counts` are of its bytes there.
    fn add(&mut self, image: &Image<'_>, counts: &Counts, selection: pe_image::Selection) {
        self.ranges = image.ranges(selection).into_iter().map(|range| [Hex(range.start), Hex(range.end)]).collect();
        self.sites = counts.into();
        self.overrides = image.mapped.overrides().iter().map(OverrideReport::from).collect();
        self.relocations = counts.relocations;
        let unresolved = image.binding().unresolved();
        self.unresolved = unresolved
            .iter()
            .map(|slot| UnresolvedReport {
                dll: slot.dll.to_string(),
                name: slot.name.to_string(),
                reason: slot.result.as_ref().err().map(ToString::to_string).unwrap_or_default(),
            })
            .collect();
    }
}

impl From<&Counts> for SitesReport {
    fn from(counts: &Counts) -> Self {
        let import = &counts.import;
        let rewritten = |c: &RewriteCounts| RewrittenSites { listed: c.listed, rewritten: c.rewritten };
        Self {
            import: ImportSites {
                listed: import.listed,
                optimized: import.optimized,
                no_index: import.no_index,
                unbound: import.unbound,
                out_of_range: import.out_of_range,
                unexpected_bytes: import.unexpected_bytes,
            },
            indirect: rewritten(&counts.indirect),
            switch: rewritten(&counts.switch),
            r#override: (&counts.overrides).into(),
        }
    }
}

impl From<Inclusion> for Status {
    fn from(inclusion: Inclusion) -> Self {
        match inclusion {
            Inclusion::Included => Self::Included,
            Inclusion::Missing => Self::Missing,
            Inclusion::Mismatch => Self::Mismatch,
            Inclusion::Excluded => Self::Excluded,
        }
    }
}

impl From<&PageHits> for HeatReport {
    fn from(hits: &PageHits) -> Self {
        let modules = hits
            .touched
            .modules
            .iter()
            .map(|module| ModuleHeat { pages: module.by_page.iter().map(|(&page, &hits)| (page, hits)).collect() });
        let pieces = hits.facts.iter().zip(&hits.touched.streams).enumerate();
        let pieces = pieces.map(|(index, ((facts, bytes), found))| PieceReport {
            facts: SnapshotFacts::new(facts, index, *bytes),
            hits: found.hits,
            gaps: found.overflows + found.gap_count,
            errors: found.gaps.iter().map(|gap| (gap.offset(), gap.reason().to_string())).collect(),
            quality: hits.followed.get(index).map(QualityReport::from),
        });
        Self {
            snapshots: hits.snapshots,
            bytes: hits.bytes,
            modules: modules.collect(),
            unknown: hits.touched.unknown.clone(),
            pieces: pieces.collect(),
            quality: (!hits.followed.is_empty())
                .then(|| QualityReport::from(&hits.followed.iter().copied().sum::<Quality>())),
        }
    }
}
