//! The main job: from a source and module files to a dump.

use std::io::Write;

use mdmp::{Plan, RawDirectory};
use pe_image::{ImportCalls, Policy};

use crate::error::{Error, Result};
use crate::heat::heat;
use crate::images::{Bound, Files, Image};
use crate::ipt::input::{Snapshot, snapshots};
use crate::ipt::touched::touched;
use crate::output::{Output, OutputDirectory};
use crate::progress::Progress;
use crate::report::{BuildReport, BuiltModule, Hex, SitesReport, Status};
use crate::snapshot::{AddressMap, Architecture, Module, ModuleId, Owners};
use crate::source::{Reading, Source};
use crate::threads::layout_at_hand;

pub(crate) mod evidence;
mod layout;
pub(crate) mod modes;
mod options;
mod provenance;
#[cfg(test)]
mod tests;

use layout::Content;
pub use modes::Choice;
use modes::ImportModes;
pub use options::{BuildOptions, Format, ListKind, Selection};
pub use provenance::{PROVENANCE_STREAM, Provenance, UsedFile};

/// Builds a dump of a source's kernel modules as `options` ask.
///
/// # Errors
/// When the source names no kernel module, a directory of modules cannot be read, or the dump cannot be laid out or
/// written. A module that is missing, or a file that is not the right one, is no error: the report says so.
pub fn build(
    source: &Source,
    reading: &Reading<'_>,
    options: &BuildOptions,
    progress: &dyn Progress,
) -> Result<BuildReport> {
    let modules: Vec<Module> = reading.snapshot.modules.iter().filter(|module| module.kernel).cloned().collect();
    if modules.is_empty() {
        return Err(Error::NoModules { path: source.path().to_owned(), why: crate::list::why_no_modules(reading) });
    }
    if options.format == Format::Triage && reading.snapshot.machine.architecture == Architecture::X86 {
        let why = "triage dumps of 32-bit systems are not written; use minidump".to_owned();
        return Err(Error::Option { option: "--format", value: options.format.name().into(), why });
    }
    let target = Target::create(options)?;
    let moment = reading.moment(options.at.as_deref())?;
    let map = AddressMap::of(&modules);
    let excluded = excluded(&modules, &map.at(moment), options);
    let saved = options.ipt.open()?;
    let snapshots = snapshots(reading, &saved);
    if options.touched && snapshots.is_empty() {
        let why = "there is no IPT data, neither in the source nor by --ipt-hex or --ipt-bin".to_owned();
        return Err(Error::Option { option: "--touched", value: String::new(), why });
    }

    std::thread::scope(|scope| {
        // The hash reads the whole source, which nothing else here waits for.
        let hash = scope.spawn(|| provenance::sha256(source.path()));

        let index = options.search.index_some(&modules, progress)?;
        progress.phase("reading module files", None);
        let mut files = Files::find(&modules, &excluded, &index);
        let parsed = files.parse();
        let mut bound = parsed.bind(&map, moment);

        let mut warnings = reading.warnings.clone();
        let stubs = bound.stubs().unwrap_or_else(|error| {
            warnings.push(format!("the kernel's retpoline stubs: {error}"));
            None
        });
        let machine = &reading.snapshot.machine;
        progress.phase("reading the IPT data", None);
        let evidence = evidence::ask(&bound, stubs.as_ref(), &snapshots, machine.architecture, options);
        let import_modes = modes::import_optimization(options.import_optimization, machine, evidence.as_ref());
        let retpoline = modes::retpoline(options.retpoline, evidence.as_ref());
        let mut page_hits = None;
        if (options.touched || options.page_hits) && !snapshots.is_empty() {
            let streams: Vec<_> = snapshots.iter().map(Snapshot::stream).collect();
            let touched = touched(&map, moment, &streams);
            page_hits = options.page_hits.then(|| heat(&touched, &streams));
            if options.touched {
                evidence::keep_touched(&mut bound, touched, |entry| import_modes.of(entry).on);
            }
        }
        drop(snapshots);
        if retpoline.on && stubs.is_none() {
            warnings.push(
                "retpoline is on, but the kernel's file with the stubs is not there: sites stay as linked".into(),
            );
        }
        let policy = |index: usize| Policy {
            import_calls: if import_modes.of(index).on { ImportCalls::Optimized } else { ImportCalls::AsLinked },
            retpoline: retpoline.on,
            second_mapping: Policy::is_second_mapping(&modules[index].name),
        };
        let images = bound.images(policy, stubs.as_ref().filter(|_| retpoline.on));
        warnings.extend(index.notes().iter().cloned());
        warnings.extend(images.iter().flat_map(Image::warnings));

        let provenance = Provenance {
            tool: concat!("mkdump ", env!("CARGO_PKG_VERSION")).into(),
            source: reading.summary.name.clone(),
            source_sha256: hash.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            import_optimization: import_modes.report.clone(),
            retpoline: retpoline.report(),
            files: images.iter().map(used_file).collect(),
        };
        let mut content = Content::new(reading, bound.entries(), &images, &provenance, options);
        if options.threads {
            content.threads = Some(layout_at_hand(reading, &index, &options.search, &mut warnings));
        }
        let bytes = target.write(content, options, progress)?;

        Ok(BuildReport {
            output: options.output.to_string_lossy().into_owned(),
            format: options.format.name(),
            bytes,
            import_optimization: provenance.import_optimization,
            retpoline: provenance.retpoline,
            modules: built_modules(&bound, &images, &import_modes, options),
            source: reading.summary.clone(),
            warnings,
            heat: page_hits,
        })
    })
}

/// The file or directory that is being made. Created before the long work, so that a place that cannot be written to is
/// found out at once.
enum Target {
    File(Output),
    Directory(OutputDirectory),
}

impl Target {
    fn create(options: &BuildOptions) -> Result<Self> {
        Ok(match options.format {
            Format::Raw => Self::Directory(OutputDirectory::create(&options.output)?),
            Format::Minidump | Format::Triage | Format::Elf => Self::File(Output::create(&options.output)?),
        })
    }

    /// Lays out, writes and commits. Returns the bytes written.
    fn write(self, content: Content<'_>, options: &BuildOptions, progress: &dyn Progress) -> Result<u64> {
        let layout = |source| Error::Layout { path: options.output.clone(), source };
        let output = match self {
            Self::File(output) => output,
            Self::Directory(output) => return write_directory(output, &content.raw().map_err(layout)?, progress),
        };
        let plan = match options.format {
            Format::Minidump => content.minidump(options.memory_list),
            Format::Triage => content.triage(),
            Format::Elf | Format::Raw => content.elf(),
        };
        write_file(output, &plan.map_err(layout)?, progress)
    }
}

fn write_file(mut output: Output, plan: &Plan<'_>, progress: &dyn Progress) -> Result<u64> {
    progress.phase("writing the dump", Some(plan.len()));
    let mut before = 0;
    let result = plan.write_with(&mut output, &mut |written| {
        progress.advance(written - before);
        before = written;
    });
    let bytes = result.map_err(|error| Error::write(output.path(), std::io::Error::other(error)))?;
    output.commit()?;
    Ok(bytes)
}

fn write_directory(output: OutputDirectory, raw: &RawDirectory<'_>, progress: &dyn Progress) -> Result<u64> {
    const CHUNK: usize = 256 << 10;
    progress.phase("writing the files", Some(raw.files.iter().map(|file| file.range.size).sum()));
    let mut bytes = 0;
    let mut buffer = vec![0; CHUNK];
    for file in &raw.files {
        let mut out = output.file(&file.name)?;
        let path = output.path().join(&file.name);
        let failed = |error| Error::write(&path, error);
        let mut at = 0;
        while at < file.range.size {
            let size = usize::try_from(file.range.size - at).unwrap_or(CHUNK).min(CHUNK);
            file.range.source.read_at(at, &mut buffer[..size]).map_err(|error| {
                let address = file.range.address.wrapping_add(at);
                failed(std::io::Error::new(error.kind(), format!("cannot read {address:#x}: {error}")))
            })?;
            out.write_all(&buffer[..size]).map_err(failed)?;
            at += size as u64;
            progress.advance(size as u64);
        }
        out.flush().map_err(failed)?;
        bytes += at;
    }
    for (name, text) in [("ptxed.args", &raw.ptxed_args), ("manifest.json", &raw.manifest)] {
        let mut out = output.file(name)?;
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| Error::write(&output.path().join(name), error))?;
        bytes += text.len() as u64;
    }
    output.commit()?;
    Ok(bytes)
}

/// Why each module stays out although its file may be there.
fn excluded(modules: &[Module], owners: &Owners, options: &BuildOptions) -> Vec<Option<String>> {
    let reason = |(index, module): (usize, &Module)| match owners.displaced_by(ModuleId(index)) {
        Some(winner) => Some(format!("{} held these addresses at the chosen time", modules[winner.0].name)),
        None => options.names.rejects(&module.name).map(str::to_owned),
    };
    modules.iter().enumerate().map(reason).collect()
}

fn used_file(image: &Image<'_>) -> UsedFile {
    UsedFile {
        name: image.entry.module.name.clone(),
        base: Hex(image.mapped.base()),
        image_key: image.image_key(),
        import_calls_direct: image.mapped.policy().import_calls == ImportCalls::Optimized,
    }
}

/// The report's line for each module, in the order of the snapshot.
fn built_modules(
    bound: &Bound<'_>,
    images: &[Image<'_>],
    import_modes: &ImportModes,
    options: &BuildOptions,
) -> Vec<BuiltModule> {
    let mut built: Vec<BuiltModule> = bound
        .entries()
        .iter()
        .map(|entry| BuiltModule {
            name: entry.module.name.clone(),
            base: Hex(entry.module.base),
            size: Hex(entry.module.size),
            image_key: entry.module.image_key(),
            status: entry.status,
            file: entry.file.clone(),
            reason: entry.reason.clone(),
            ranges: Vec::new(),
            import_optimization: None,
            sites: SitesReport::default(),
            relocations: 0,
            unresolved: Vec::new(),
        })
        .collect();
    for image in images {
        let module = &mut built[image.index];
        debug_assert_eq!(module.status, Status::Included);
        module.ranges = image.ranges(options.memory.into());
        module.sites = image.sites();
        if module.sites.import.listed > 0 {
            module.import_optimization = Some(import_modes.of(image.index).report());
        }
        module.relocations = image.relocations();
        module.unresolved = image.unresolved();
    }
    built
}
