//! An ETW trace as a source.

use std::path::{Path, PathBuf};

use etl_file::{Clock, FileTime, LogFileMode, Part, Survey, SurveyOptions, Tick, Trace};
use pe_image::{Guid, PdbId};

use super::{OtherRecording, Reading, SourceError, SourceKind, Summary, Wanted, losses, name, names, recording};
use crate::file_bytes::{FileBytes, ReadError};
use crate::progress::Progress;
use crate::snapshot::{Architecture, Machine, Module, OsVersion, Pdb, Snapshot};

/// Goes over each trace once, and makes one reading of all.
pub(super) fn read<'a>(
    files: &'a [FileBytes],
    wanted: Wanted,
    progress: &dyn Progress,
) -> Result<Reading<'a>, SourceError> {
    let traces = open(files)?;
    same_recording(files, |number| traces[number].header(), recording::same)?;
    let bytes: u64 = files.iter().map(|file| file.len() as u64).sum();
    progress.phase("reading the trace", Some(bytes));
    let options = SurveyOptions::default().user_modules(wanted.user_modules).processes(wanted.ipt).ipt(wanted.ipt);
    let mut parts: Vec<Part<'a>> =
        traces.iter().map(|trace| Part::read(trace, &options, &|amount| progress.advance(amount))).collect();
    same_recording(files, |number| parts[number].computer_name(), recording::same_computer)?;
    let mut told = Told::default();
    parts.iter_mut().zip(files).for_each(|(part, file)| told.part(part, file.path()));
    let Told { mut warnings, notes } = told;
    let (start_time, end_time) = span(&parts);
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { return Err(no_file().into()) };
    let mut survey = first.with(parts.collect());

    let clock = survey.clock;
    let modules: Vec<Module> =
        std::mem::take(&mut survey.modules).into_iter().map(|found| module(found, &clock)).collect();
    let source = names(files);
    warnings.extend(losses::no_kernel(&modules, survey.kernel_base).map(|why| format!("{source}: {why}")));
    let lacks = !modules.iter().any(|module| module.kernel) || wanted.ipt && survey.ipt.is_empty();
    let siblings = match files {
        [file] if lacks => recording::siblings(file.path(), &survey.header),
        _ => Vec::new(),
    };
    let machine = machine(&survey);
    let duration = duration(start_time, end_time);
    Ok(Reading {
        lost: losses::sentence(&survey.losses),
        summary: Summary { name: source, duration, ..summary(&survey, &machine) },
        snapshot: Snapshot {
            machine,
            time: u64::try_from(clock.start_time().0).ok().filter(|&time| time > 0),
            kernel_base: survey.kernel_base,
            modules,
        },
        ipt: survey.ipt,
        processes: survey.processes,
        threads: survey.threads,
        warnings,
        notes,
        siblings,
        held: None,
        end: duration.unwrap_or(f64::INFINITY),
        clock: Some(clock),
    })
}

/// Reads the log-file header of each file.
pub(super) fn open<'a>(files: &'a [FileBytes]) -> Result<Vec<Trace<'a>>, SourceError> {
    let open = |file: &'a FileBytes| match Trace::parse(file) {
        Ok(trace) => Ok(trace.with_read_ahead(file)),
        Err(error) => Err(SourceError::not_a_trace(file.path(), error)),
    };
    files.iter().map(open).collect()
}

/// Holds what each trace says against what the first one says.
fn same_recording<T>(
    files: &[FileBytes],
    says: impl Fn(usize) -> T,
    same: impl Fn((&str, T), (&str, T)) -> Result<(), OtherRecording>,
) -> Result<(), SourceError> {
    for (number, file) in files.iter().enumerate().skip(1) {
        let (first, other) = (name(&files[0]), name(file));
        same((&first, says(0)), (&other, says(number)))
            .map_err(|error| SourceError::not_one_recording(file.path(), error))?;
    }
    Ok(())
}

fn machine(survey: &Survey<'_>) -> Machine {
    let system = &survey.system;
    Machine {
        os: OsVersion {
            major: system.major.into(),
            minor: system.minor.into(),
            build: system.build,
            revision: system.revision,
        },
        // A session without per-processor buffers writes 1 into the log-file header, whatever the machine has.
        processors: Some(system.processors)
            .filter(|_| system.cpu.is_some() || !survey.header.mode.has(LogFileMode::NO_PER_PROCESSOR_BUFFERING)),
        pointer_size: system.pointer_size,
        architecture: architecture(survey),
        cpu_vendor: system.cpu.as_ref().and_then(|cpu| cpu.vendor.clone()),
        cpu_family: system.cpu.as_ref().map(|cpu| cpu.family),
        cpu_revision: system.cpu.as_ref().map(|cpu| cpu.model << 8 | cpu.stepping),
        build_lab: system.build_lab.clone(),
        computer_name: system.computer_name.clone(),
    }
}

/// The recording, summed up, without name and duration, which depend on all of its files.
fn summary(survey: &Survey<'_>, machine: &Machine) -> Summary {
    let start = survey.clock.start_time();
    Summary {
        kind: SourceKind::Trace,
        name: String::new(),
        os: machine.os,
        processors: machine.processors,
        pointer_size: machine.pointer_size,
        start: (start.0 > 0).then(|| start.to_string()),
        duration: None,
        events: survey.counts.events,
        events_lost: survey.counts.events_lost.into(),
        buffers: survey.counts.buffers,
        ipt_events: survey.counts.ipt_events,
    }
}

pub(super) fn module(found: etl_file::Module, clock: &Clock) -> Module {
    let seconds = |tick: Tick| clock.seconds(tick);
    Module {
        name: found.name,
        path: found.path,
        process: found.process,
        kernel: found.kernel,
        base: found.base,
        size: found.size,
        timestamp: found.timestamp,
        checksum: found.checksum,
        pdb: found.pdb.map(|pdb| Pdb {
            // Some records hold the whole path of the build machine.
            name: pdb.name.rsplit(['\\', '/']).next().unwrap_or_default().to_owned(),
            id: PdbId { guid: Guid(pdb.guid.0), age: pdb.age },
        }),
        loaded: found.loaded.map(seconds),
        unloaded: found.unloaded.map(seconds),
    }
}

/// PROCESSOR_ARCHITECTURE_* of winnt.h.
const PROCESSOR_ARCHITECTURE_INTEL: u16 = 0;
const PROCESSOR_ARCHITECTURE_AMD64: u16 = 9;
const PROCESSOR_ARCHITECTURE_ARM64: u16 = 12;

/// The architecture, where the trace gives evidence of it. The pointer size of the log-file header is the machine's in a
/// log of the kernel; a process's private log states the process's own, which on x64 may be 4.
fn architecture(survey: &Survey<'_>) -> Option<Architecture> {
    match survey.system.architecture {
        Some(PROCESSOR_ARCHITECTURE_INTEL) => Some(Architecture::X86),
        Some(PROCESSOR_ARCHITECTURE_AMD64) => Some(Architecture::Amd64),
        Some(PROCESSOR_ARCHITECTURE_ARM64) => Some(Architecture::Arm64),
        _ if survey.system.pointer_size == 4 && !survey.header.mode.is_private() => Some(Architecture::X86),
        _ => None,
    }
}

/// A list without any file.
fn no_file() -> ReadError {
    ReadError { path: PathBuf::new(), source: std::io::ErrorKind::NotFound.into() }
}

/// When the first session began and the last one ended; an end of 0 for one that was never finalised.
fn span(parts: &[Part<'_>]) -> (FileTime, FileTime) {
    let start = parts.iter().map(|part| part.header.start_time).filter(|time| time.0 > 0).min();
    let end = parts.iter().map(|part| part.header.end_time).max();
    (start.unwrap_or_default(), end.unwrap_or_default())
}

/// Seconds that the recording ran; `None` for one that was never finalised.
fn duration(start: FileTime, end: FileTime) -> Option<f64> {
    (end > start && start.0 > 0).then(|| (end.0 - start.0) as f64 / 1e7)
}

/// Warnings and notes about each file, with its path.
#[derive(Default)]
struct Told {
    warnings: Vec<String>,
    notes: Vec<String>,
}

impl Told {
    fn part(&mut self, part: &mut Part<'_>, path: &Path) {
        let path = path.display();
        for found in std::mem::take(&mut part.warnings) {
            let list = if found.damage().is_none() { &mut self.notes } else { &mut self.warnings };
            list.push(format!("{path}: {found}"));
        }
        if part.warnings_dropped > 0 {
            self.warnings.push(format!("{path}: {} more warnings of the same kinds", part.warnings_dropped));
        }
        self.warnings.extend(losses::sentence(&part.losses).map(|lost| format!("{path}: {lost}")));
    }
}
