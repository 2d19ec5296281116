//! An ETW trace as a source.

use etl_file::{LogFileMode, Survey, SurveyOptions, Trace};
use pe_image::{Guid, PdbId};

use super::{Reading, SourceError, SourceKind, Summary, Wanted, losses};
use crate::file_bytes::FileBytes;
use crate::progress::Progress;
use crate::snapshot::{Architecture, Machine, Module, OsVersion, Pdb, Snapshot};

/// Goes over the trace once.
pub(super) fn read<'a>(
    bytes: &'a FileBytes,
    wanted: Wanted,
    progress: &dyn Progress,
) -> Result<Reading<'a>, SourceError> {
    let path = bytes.path();
    let trace = Trace::open(bytes).map_err(|source| SourceError::Trace { path: path.to_owned(), source })?;
    let options = SurveyOptions { user_modules: wanted.user_modules, processes: wanted.ipt, ipt: wanted.ipt };
    progress.phase("reading the trace", Some(bytes.len() as u64));
    let survey = etl_file::survey(&trace, &options, &|amount| progress.advance(amount));

    let clock = survey.clock;
    let seconds = |tick: etl_file::Tick| clock.seconds(tick);
    let end = duration(&survey).unwrap_or(f64::INFINITY);
    let system = &survey.system;
    let machine = Machine {
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
        architecture: architecture(&survey),
        cpu_vendor: system.cpu.as_ref().and_then(|cpu| cpu.vendor.clone()),
        cpu_family: system.cpu.as_ref().map(|cpu| cpu.family),
        cpu_revision: system.cpu.as_ref().map(|cpu| cpu.model << 8 | cpu.stepping),
        build_lab: system.build_lab.clone(),
        computer_name: system.computer_name.clone(),
    };
    let start = clock.start_time();
    let summary = Summary {
        kind: SourceKind::Trace,
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        os: machine.os,
        processors: machine.processors,
        pointer_size: machine.pointer_size,
        start: (start.0 > 0).then(|| start.to_string()),
        duration: duration(&survey),
        events: survey.counts.events,
        events_lost: survey.counts.events_lost.into(),
        buffers: survey.counts.buffers,
        ipt_events: survey.counts.ipt_events,
    };
    let modules = survey.modules.into_iter().map(|module| Module {
        name: module.name,
        path: module.path,
        process: module.process,
        kernel: module.kernel,
        base: module.base,
        size: module.size,
        timestamp: module.timestamp,
        checksum: module.checksum,
        pdb: module.pdb.map(|pdb| Pdb {
            // Some records hold the whole path of the build machine.
            name: pdb.name.rsplit(['\\', '/']).next().unwrap_or_default().to_owned(),
            id: PdbId { guid: Guid(pdb.guid.0), age: pdb.age },
        }),
        loaded: module.loaded.map(seconds),
        unloaded: module.unloaded.map(seconds),
    });
    let mut warnings: Vec<String> = survey.warnings.iter().map(|w| format!("{}: {w}", path.display())).collect();
    if survey.warnings_dropped > 0 {
        warnings.push(format!("{}: {} more warnings of the same kinds", path.display(), survey.warnings_dropped));
    }
    let lost = losses::sentence(&survey.losses);
    warnings.extend(lost.iter().map(|lost| format!("{}: {lost}", path.display())));
    let modules: Vec<Module> = modules.collect();
    warnings.extend(losses::no_kernel(&modules, survey.kernel_base).map(|why| format!("{}: {why}", path.display())));
    Ok(Reading {
        snapshot: Snapshot {
            machine,
            time: u64::try_from(start.0).ok().filter(|&time| time > 0),
            kernel_base: survey.kernel_base,
            modules,
        },
        summary,
        ipt: survey.ipt,
        processes: survey.processes,
        threads: survey.threads,
        warnings,
        lost,
        held: None,
        end,
        clock: Some(clock),
    })
}

/// PROCESSOR_ARCHITECTURE_* of winnt.h.
const PROCESSOR_ARCHITECTURE_INTEL: u16 = 0;
const PROCESSOR_ARCHITECTURE_AMD64: u16 = 9;
const PROCESSOR_ARCHITECTURE_ARM64: u16 = 12;

/// The architecture, where the trace gives evidence of it. The pointer size of the log-file header is the machine's in a
/// log of the kernel; a process's private log states the process's own, which on x64 may be 4.
fn architecture(survey: &Survey<'_>) -> Option<Architecture> {
    let private = survey.header.mode.has(LogFileMode::PRIVATE) || survey.header.mode.has(LogFileMode::PRIVATE_IN_PROC);
    match survey.system.architecture {
        Some(PROCESSOR_ARCHITECTURE_INTEL) => Some(Architecture::X86),
        Some(PROCESSOR_ARCHITECTURE_AMD64) => Some(Architecture::Amd64),
        Some(PROCESSOR_ARCHITECTURE_ARM64) => Some(Architecture::Arm64),
        _ if survey.system.pointer_size == 4 && !private => Some(Architecture::X86),
        _ => None,
    }
}

/// Seconds that the session ran; `None` for one that was never finalised.
fn duration(survey: &Survey<'_>) -> Option<f64> {
    let (start, end) = (survey.header.start_time.0, survey.header.end_time.0);
    (end > start && start > 0).then(|| (end - start) as f64 / 1e7)
}
