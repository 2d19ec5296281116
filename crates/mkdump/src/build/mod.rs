//! The main job: from a source and module files to a dump.

use pe_image::{ImportCalls, Policy};

use crate::catalog::{Cache, Index, IndexOptions, Wanted};
use crate::error::{Error, Result};
use crate::images::{Bound, Files, Image};
use crate::output::Output;
use crate::progress::Progress;
use crate::report::{BuildReport, BuiltModule, Hex, SitesReport, Status};
use crate::snapshot::{Module, displaced};
use crate::source::{Reading, Source};

mod layout;
mod modes;
mod options;
mod provenance;

pub use modes::Choice;
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
    let mut output = Output::create(&options.output)?;
    let moment = reading.moment(options.at.as_deref())?;
    let displaced = displaced(&modules, moment);
    let excluded = excluded(&modules, &displaced, options);

    std::thread::scope(|scope| {
        // The hash reads the whole source, which nothing else here waits for.
        let hash = scope.spawn(|| provenance::sha256(source.path()));

        let index = index(&modules, options, progress)?;
        progress.phase("reading module files", None);
        let mut files = Files::find(&modules, &excluded, &index);
        let parsed = files.parse();
        let bound = parsed.bind(&displaced);

        let machine = &reading.snapshot.machine;
        let import_optimization = modes::import_optimization(options.import_optimization, machine);
        let retpoline = modes::retpoline(options.retpoline);
        let mut warnings = reading.warnings.clone();
        let stubs = bound.stubs().unwrap_or_else(|error| {
            warnings.push(format!("the kernel's retpoline stubs: {error}"));
            None
        });
        if retpoline.on && stubs.is_none() {
            warnings.push(
                "retpoline is on, but the kernel's file with the stubs is not there: sites stay as linked".into(),
            );
        }
        let policy = |index: usize| Policy {
            import_calls: if import_optimization.on { ImportCalls::Optimized } else { ImportCalls::AsLinked },
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
            import_optimization: import_optimization.report(),
            retpoline: retpoline.report(),
            files: images.iter().map(used_file).collect(),
        };
        let plan = layout::minidump(&reading.snapshot, &images, &provenance, options)
            .map_err(|source| Error::Layout { path: options.output.clone(), source })?;
        progress.phase("writing the dump", Some(plan.len()));
        let mut written = 0;
        let bytes = plan
            .write_with(&mut output, &mut |so_far| {
                progress.advance(so_far - written);
                written = so_far;
            })
            .map_err(|error| Error::write(&options.output, std::io::Error::other(error)))?;
        output.commit()?;

        Ok(BuildReport {
            output: options.output.to_string_lossy().into_owned(),
            format: options.format.name(),
            bytes,
            import_optimization: provenance.import_optimization,
            retpoline: provenance.retpoline,
            modules: built_modules(&bound, &images, options),
            source: reading.summary.clone(),
            warnings,
        })
    })
}

/// Why each module stays out although its file may be there.
fn excluded(modules: &[Module], displaced: &[Option<usize>], options: &BuildOptions) -> Vec<Option<String>> {
    let reason = |(module, winner): (&Module, &Option<usize>)| match winner {
        Some(winner) => Some(format!("{} held these addresses at the chosen time", modules[*winner].name)),
        None => options.names.rejects(&module.name).map(str::to_owned),
    };
    modules.iter().zip(displaced).map(reason).collect()
}

/// Indexes the module directories.
fn index(modules: &[Module], options: &BuildOptions, progress: &dyn Progress) -> Result<Index> {
    let wanted: Vec<Wanted> = modules.iter().map(Module::wanted).collect();
    let here = [std::path::PathBuf::from(".")];
    let roots = if options.modules.is_empty() { &here[..] } else { &options.modules };
    progress.phase("indexing module files", None);
    let options = IndexOptions { roots: roots.to_vec(), wanted, cache: Cache::Off, ..IndexOptions::default() };
    Ok(Index::build(&options)?)
}

fn used_file(image: &Image<'_>) -> UsedFile {
    UsedFile { name: image.entry.module.name.clone(), base: Hex(image.mapped.base()), image_key: image.image_key() }
}

/// The report's line for each module, in the order of the snapshot.
fn built_modules(bound: &Bound<'_>, images: &[Image<'_>], options: &BuildOptions) -> Vec<BuiltModule> {
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
        module.relocations = image.relocations();
        module.unresolved = image.unresolved();
    }
    built
}
