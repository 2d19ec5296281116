//! The main job: from a source and module files to a dump.

use std::collections::BTreeMap;
use std::path::Path;

use intel_pt::flow::Quality;
use ipt_analysis::choose::Facts;
use ipt_analysis::executed::executed;
use ipt_analysis::snapshot::Snapshot;
use ipt_analysis::touched::{Touched, touched};
use kernel_code::{Choice, Detect, Exporter, Files, Image, Setting, System};
use kernel_snapshot::{Architecture, Progress, Reading, Source, SourceKind};
use pe_image::ImportCalls;

use crate::error::{Error, Result};
use crate::ipt::StreamsQuality;
use crate::ipt::snapshots;
use crate::jobs::ipt::closure::reached;
use crate::jobs::ipt::execution::Execution;
use crate::jobs::modules::require_kernel_modules;
use crate::jobs::threads::layout_at_hand;
use crate::provenance::{Assumed, Provenance, SourceFile, UsedFile};
use captured_code::{captured_forms, is_captured};

mod layout;
mod options;
mod target;
#[cfg(test)]
mod tests;

use layout::Content;
pub use options::{BuildOptions, Format, ListKind, Selection};
use target::Target;

/// A dump that was built.
#[derive(Debug)]
pub(crate) struct Built<'b> {
    /// The source of its modules.
    pub reading: &'b Reading<'b>,
    /// What was asked for.
    pub options: &'b BuildOptions,
    /// The system that it shows.
    pub system: &'b System<'b>,
    /// The images in it, in the order of the system's modules.
    pub images: &'b [Image<'b>],
    /// Its size.
    pub bytes: u64,
    /// Where Intel PT packets name addresses, when that was asked for and there is such data.
    pub page_hits: Option<PageHits>,
    /// The files of the source, with their hashes.
    pub sources: Vec<SourceFile>,
    /// What is doubtful about it: what the source lost, contradicts or does not say, and what was guessed.
    pub doubts: Vec<String>,
    /// What else was met on the way, which takes nothing from the dump.
    pub remarks: Vec<String>,
}

/// Where Intel PT packets name addresses.
#[derive(Clone, Debug)]
pub(crate) struct PageHits {
    /// Pieces of Intel PT data.
    pub snapshots: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What identifies each of them, and its bytes.
    pub facts: Vec<(Facts, u64)>,
    /// The addresses.
    pub touched: Touched,
    /// How well each of them can be followed over the code; nothing without code.
    pub followed: Vec<Quality>,
}

/// Tells which file is which module, and what was decided, for those who asked for details.
fn tell_details(system: &System<'_>, progress: &dyn Progress) {
    for entry in system.modules().entries() {
        let found = [entry.file.as_deref(), entry.reason.as_deref()];
        let found: Vec<&str> = found.into_iter().flatten().collect();
        progress.detail(&format!("{:#x} {}: {}", entry.module.base, entry.module.name, found.join(": ")));
    }
    let (imports, retpoline) = (system.import_optimization(), system.retpoline());
    progress.detail(&format!("import optimization {}: {}", imports.extent.name(), imports.reason));
    progress.detail(&format!("retpoline {}: {}", if retpoline.on { "on" } else { "off" }, retpoline.reason));
    let overrides = system.function_overrides();
    progress.detail(&format!("function overrides {}: {}", overrides.extent.name(), overrides.reason));
}

/// Whether dumps are built of a source's machine. The kernel of a 32-bit system has addresses that the writers, and what
/// debuggers expect of a dump, do not cover; a dump of such a system is a dump already.
pub fn can_build(reading: &Reading<'_>) -> bool {
    reading.summary.kind != SourceKind::Trace || reading.snapshot.machine.architecture != Some(Architecture::X86)
}

/// Builds a dump of a source's kernel modules as `options` ask, and hands the result to `then`.
pub(crate) fn build_with<T>(
    source: &Source,
    reading: &Reading<'_>,
    options: &BuildOptions,
    progress: &dyn Progress,
    then: impl FnOnce(&Built<'_>) -> T,
) -> Result<T> {
    let modules = require_kernel_modules(source, reading)?;
    if !can_build(reading) {
        return Err(Error::Architecture { path: source.path().to_owned() });
    }
    if options.format == Format::Triage && reading.snapshot.machine.architecture == Some(Architecture::X86) {
        return Err(Error::Format { path: source.path().to_owned(), format: options.format.name() });
    }
    let moment = reading.moment(options.at)?;
    options.names.require_match(&modules)?;
    let target = Target::create(options)?;
    let saved = options.ipt.open()?;
    let snapshots = snapshots(reading, &saved);
    if options.touched && snapshots.is_empty() {
        return Err(Error::NothingTouched { path: source.path().to_owned() });
    }

    std::thread::scope(|scope| {
        // The hash reads the whole source, which nothing else here waits for.
        let hashes = scope.spawn(|| source.paths().map(source_file).collect::<Result<Vec<_>>>());

        let index = options.search.index_some(&modules, progress)?;
        progress.phase("reading module files", None);
        let mut files = Files::find(&modules, &index);
        let parsed = files.parse();
        progress.phase("reading the IPT data", None);
        let open = options.import_optimization == Choice::Auto || options.retpoline == Choice::Auto;
        let captured = if open { captured_forms(reading, &modules, &parsed) } else { None };
        let packets: Vec<&[u8]> = snapshots.iter().map(|snapshot| &*snapshot.bytes).collect();
        let mut system = System::reconstruct(
            &parsed,
            &Setting {
                machine: &reading.snapshot.machine,
                moment,
                moment_name: "at the chosen time",
                import_optimization: options.import_optimization,
                retpoline: options.retpoline,
                function_overrides: options.function_overrides,
                capabilities: &options.capabilities,
                packets: &packets,
                detect: Detect::WhenOpen,
                captured: captured.as_ref(),
            },
        );
        system.exclude(|_, entry| options.names.rejects(&entry.module.name).map(|why| why.to_string()));
        let mut page_hits = choose_touched(&mut system, reading, &snapshots, options);
        tell_details(&system, progress);
        if let Some(hits) = &mut page_hits {
            hits.followed = follow(&system, &packets, progress);
        }
        let images = system.images();
        let mut doubts = doubts(reading, &system, &images);
        let remarks = [&reading.notes, index.notes()].concat();
        let sources = hashes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let provenance = provenance(&sources, &system, &images);
        let mut content = Content::new(reading, system.modules().entries(), &images, &provenance, options);
        doubts.extend(content.kernel_warning(options));
        if options.threads {
            content.threads = Some(layout_at_hand(reading, &index, &options.search, &mut doubts));
        }
        let bytes = target.write(content, options, progress)?;
        let (system, images) = (&system, &*images);
        Ok(then(&Built { reading, options, system, images, bytes, page_hits, sources, doubts, remarks }))
    })
}

/// Scans the IPT data once, if something asks for it: leaves out the modules that it does not reach, and counts hits.
fn choose_touched(
    system: &mut System<'_>,
    reading: &Reading<'_>,
    snapshots: &[Snapshot<'_>],
    options: &BuildOptions,
) -> Option<PageHits> {
    if !(options.touched || options.page_hits) || snapshots.is_empty() {
        return None;
    }
    let streams: Vec<_> = snapshots.iter().map(Snapshot::stream).collect();
    let touched = touched(system.modules().address_map(), system.moment(), &streams);
    if options.touched {
        let reach = reached(system, &touched);
        system.exclude(|module, _| reach[module.0].is_none().then(|| "not touched by the IPT data".to_owned()));
    }
    options.page_hits.then(|| PageHits {
        snapshots: streams.len() as u64,
        bytes: streams.iter().map(|stream| stream.bytes.len() as u64).sum(),
        facts: snapshots.iter().map(|one| (crate::ipt::facts(reading, one), one.bytes.len() as u64)).collect(),
        touched,
        followed: Vec::new(),
    })
}

/// How well the flow of each stream can be followed over the system's code.
fn follow(system: &System<'_>, packets: &[&[u8]], progress: &dyn Progress) -> Vec<Quality> {
    let execution = Execution::new(system);
    if !execution.has_code() {
        return Vec::new();
    }
    progress.phase("following the flow", Some(packets.iter().map(|bytes| bytes.len() as u64).sum()));
    let done = |bytes| progress.advance(bytes);
    let followed = executed(&execution.code, &execution.layout, &execution.unknown_calls(), packets, &done);
    followed.into_iter().map(|one| one.quality).collect()
}

fn doubts(reading: &Reading<'_>, system: &System<'_>, images: &[Image<'_>]) -> Vec<String> {
    let mut warnings = reading.warnings.clone();
    warnings.extend(system.warnings().iter().cloned());
    warnings.extend(images.iter().flat_map(Image::warnings));
    warnings.extend(missing_exporters(system, images, |site| is_captured(reading, site)));
    warnings.extend(system.override_doubts());
    warnings.extend(StreamsQuality::of(system).and_then(|quality| quality.doubt()));
    if images.is_empty() {
        warnings.push("None of the module files was found, so the dump contains no code.".to_owned());
    }
    warnings
}

/// Import calls that memory had as direct ones, and that keep the form of their file because the module that they lead
/// to has none. A site that the source captured has the form of memory.
fn missing_exporters(system: &System<'_>, images: &[Image<'_>], is_captured: impl Fn(u64) -> bool) -> Option<String> {
    /// Modules that the warning names.
    const NAMED: usize = 5;
    let mut sites = BTreeMap::<String, u64>::new();
    let mut all = 0;
    for image in images.iter().filter(|image| system.has_direct_imports(image.module)) {
        all += image.counts().import.listed;
        for import in system.modules().direct_imports(image.module) {
            if let Exporter::WithoutFile(name) = import.exporter
                && !is_captured(import.site)
            {
                *sites.entry(name.to_ascii_lowercase()).or_insert(0) += 1;
            }
        }
    }
    let unbound: u64 = sites.values().sum();
    let mut sites: Vec<(String, u64)> = sites.into_iter().collect();
    sites.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = sites.len().saturating_sub(NAMED);
    let named: Vec<String> = sites.iter().take(NAMED).map(|(name, count)| format!("{name} ({count})")).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (unbound > 0).then(|| {
        format!(
            "{unbound} of {all} import call sites keep the form of their file, unlike memory: the files of the modules \
             that they call are missing: {}{more}",
            named.join(", ")
        )
    })
}

fn provenance(sources: &[SourceFile], system: &System<'_>, images: &[Image<'_>]) -> Provenance {
    let (imports, retpoline) = (system.import_optimization(), system.retpoline());
    let overrides = system.function_overrides();
    let used = |image: &Image<'_>| UsedFile {
        name: image.entry.module.name.clone(),
        base: format!("{:#x}", image.mapped.base()),
        image_key: image.image_key(),
        import_calls_direct: image.mapped.policy().import_calls == ImportCalls::Optimized,
        doubts: image.entry.doubts.iter().map(ToString::to_string).collect(),
    };
    let (first, more_sources) = match sources {
        [first, rest @ ..] => (first.clone(), rest.to_vec()),
        [] => (SourceFile { name: String::new(), sha256: String::new() }, Vec::new()),
    };
    Provenance {
        tool: concat!("mkdump ", env!("CARGO_PKG_VERSION")).into(),
        source: first.name,
        source_sha256: first.sha256,
        more_sources,
        import_optimization: Assumed { mode: imports.extent.name().into(), reason: imports.reason.clone() },
        retpoline: Assumed {
            mode: kernel_code::Extent::from(retpoline.on).name().into(),
            reason: retpoline.reason.clone(),
        },
        function_overrides: images
            .iter()
            .any(|image| image.counts().overrides.listed > 0)
            .then(|| Assumed { mode: overrides.extent.name().into(), reason: overrides.reason.clone() }),
        files: images.iter().map(used).collect(),
    }
}

/// A file of the source with its hash.
fn source_file(path: &Path) -> Result<SourceFile> {
    let sha256 = crate::provenance::sha256(path).map_err(|source| Error::read(path, source))?;
    Ok(SourceFile { name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), sha256 })
}
