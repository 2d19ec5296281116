//! The reports as JSON: stable names, addresses and sizes and stamps as hexadecimal strings, `null` for what the source
//! does not say.

use serde::{Serialize, Serializer};

/// A number that is printed as `"0x…"`, since JSON numbers lose bits above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
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

/// A trace or dump, summed up.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// `etl`, or the kind of dump.
    pub kind: &'static str,
    /// File name.
    pub name: String,
    /// Windows version.
    pub os: OsReport,
    /// Number of logical processors.
    pub processors: Option<u32>,
    /// 4 or 8.
    pub pointer_size: u8,
    /// UTC, ISO 8601.
    pub start: Option<String>,
    /// Seconds that the trace covers.
    pub duration: Option<f64>,
    /// Every event with a whole header and body.
    pub events: u64,
    /// Events that the session lost, as the log file header says.
    pub events_lost: u64,
    /// Every buffer whose header is there.
    pub buffers: u64,
    /// Events that carry Intel PT data.
    pub ipt_events: u64,
}

/// A Windows version.
#[derive(Clone, Debug, Serialize)]
pub struct OsReport {
    /// 10 since Windows 10.
    pub major: u32,
    /// 0 since Windows 10.
    pub minor: u32,
    /// Build number.
    pub build: u32,
    /// Update build revision.
    pub revision: Option<u32>,
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

/// `mkdump …`: a dump that was built.
#[derive(Clone, Debug, Serialize)]
pub struct BuildReport {
    /// The file.
    pub output: String,
    /// `minidump`, `triage`, `elf` or `raw`.
    pub format: &'static str,
    /// Its size.
    pub bytes: u64,
    /// What was assumed of import optimization.
    pub import_optimization: ModeReport,
    /// What was assumed of retpolines.
    pub retpoline: ModeReport,
    /// Every module that the source names, in or out.
    pub modules: Vec<BuiltModule>,
    /// The trace or dump that named them.
    pub source: SourceReport,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
    /// Where the source's Intel PT data was: for a picture, and no part of the JSON, which `mkdump ipt` has in full.
    /// `None` when there is no such data, or it was not asked for.
    #[serde(skip)]
    pub heat: Option<HeatReport>,
}

/// Where Intel PT packets name addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeatReport {
    /// Pieces of Intel PT data.
    pub snapshots: u64,
    /// Their bytes.
    pub bytes: u64,
    /// For each module of the build, in its order.
    pub modules: Vec<ModuleHeat>,
    /// Pages in no module: first address, and how often packets name an address in it.
    pub unknown: Vec<(u64, u64)>,
}

/// Where Intel PT packets name addresses in a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleHeat {
    /// Number of a 4 KiB page counted from the base, and how often packets name an address in it; in the order of pages.
    pub pages: Vec<(u64, u64)>,
}

/// A load-time change, on or off, and why it is taken to be so.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct ModeReport {
    /// `on`, `off` or, when modules differ, `mixed`.
    pub mode: &'static str,
    /// One sentence.
    pub reason: String,
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
    /// In or out.
    pub status: Status,
    /// The file that its bytes come from, or the nearest one in case of a mismatch.
    pub file: Option<String>,
    /// Why it is out, or what to know about it.
    pub reason: Option<String>,
    /// Address ranges in the dump: first address, one past the last.
    pub ranges: Vec<[Hex; 2]>,
    /// Whether its import calls were made direct, and why; nothing when it is not in the dump or lists no import sites.
    pub import_optimization: Option<ModeReport>,
    /// Sites listed in the file's Dynamic Value Relocation Table.
    pub sites: SitesReport,
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
}

/// Import call sites: `listed` is the sum of the others, or, with the optimization off, of the others and the sites
/// that would have been optimized.
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
