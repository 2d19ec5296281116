//! Opened dump files as a reading of a source.

use super::{Held, Reading, SourceError, SourceKind, Summary};
use crate::dump::{Boot, Dump, DumpError, Kind};
use crate::file_bytes::FileBytes;
use crate::progress::Progress;
use crate::snapshot::Snapshot;

/// Reads the dumps: one of any kind, or several triage dumps of one boot.
pub(super) fn read<'a>(files: &'a [FileBytes], progress: &dyn Progress) -> Result<Reading<'a>, SourceError> {
    progress.phase("reading the dump", None);
    let open = |file: &'a FileBytes| {
        let dump = Dump::open(file).and_then(|dump| match dump.other_system() {
            None => Ok(dump),
            Some(system) => {
                let found = format!("a dump of {system}");
                Err(DumpError::malformed(0, "SystemInfo: PlatformId", found, "dumps of Windows"))
            }
        });
        dump.map_err(|source| SourceError::not_a_dump(file.path(), source))
    };
    let mut dumps: Vec<Dump<'a>> = files.iter().map(open).collect::<Result<_, _>>()?;
    let path = files.first().map(|file| file.path().to_owned()).unwrap_or_default();
    let kind = dumps.first().map_or(Kind::KernelTriage, Dump::kind);
    let other_than_triage = dumps.len() == 1 && dumps[0].triage().is_none();
    let (snapshot, warnings, held) = if other_than_triage {
        let dump = dumps.remove(0);
        (dump.snapshot().clone(), dump.warnings().to_vec(), Held::Dump(Box::new(dump)))
    } else {
        let boot = Boot::merge(dumps).map_err(|source| SourceError::not_one_boot(&path, source))?;
        let first = boot.dumps.first().map(|dump| dump.snapshot().clone()).unwrap_or_default();
        let snapshot = Snapshot { modules: boot.modules.clone(), ..first };
        (snapshot, boot.warnings.clone(), Held::Boot(Box::new(boot)))
    };
    let machine = &snapshot.machine;
    let summary = Summary {
        kind: SourceKind::Dump(kind),
        name: super::names(files),
        os: machine.os,
        processors: machine.processors,
        pointer_size: machine.pointer_size,
        start: snapshot.time.and_then(|time| i64::try_from(time).ok()).map(|time| etl_file::FileTime(time).to_string()),
        duration: None,
        events: 0,
        events_lost: 0,
        buffers: 0,
        ipt_events: 0,
    };
    let warnings = warnings.iter().map(|warning| format!("{}: {warning}", path.display())).collect();
    Ok(Reading {
        snapshot,
        summary,
        ipt: Vec::new(),
        processes: Vec::new(),
        threads: Vec::new(),
        warnings,
        notes: Vec::new(),
        lost: None,
        siblings: Vec::new(),
        held: Some(held),
        end: f64::INFINITY,
        clock: None,
    })
}
