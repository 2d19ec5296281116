//! Traces in a dump: sessions of a full or bitmap dump that recorded Intel PT data are read as the traces that they would
//! have become, and sessions with image events say which modules were gone when the dump was made.

use std::sync::OnceLock;

use etl_file::{Clock, Part, Survey, SurveyOptions, Trace};

use super::{Held, Reading, etl};
use crate::snapshot::Module;

/// The sessions of a dump as traces, made when they are asked for; they live as long as the opened dump.
pub(super) type Traces = OnceLock<Vec<SessionTrace>>;

/// A session as a trace.
#[derive(Debug)]
pub(super) struct SessionTrace {
    /// What it is called in messages.
    name: String,
    file: Vec<u8>,
}

/// Adds what the dump's own sessions say: the Intel PT data of the first session with any, and modules that image events
/// name and that were gone. Without Intel PT data nothing is added.
pub(super) fn add<'a>(reading: &mut Reading<'a>, traces: &'a Traces) {
    let Some(Held::Dump(dump)) = &reading.held else { return };
    let traces = traces.get_or_init(|| {
        // Most dumps have no such session, so an unknown layout is not worth a warning here.
        let Ok(found) = dump.sessions(None) else { return Vec::new() };
        let sessions = found.sessions.sessions.iter().filter(|session| session.events() > 0);
        let is_wanted = |session: &&etw_sessions::Session| {
            session.ipt.is_some() || session.has_ipt() == Some(true) || session.has_loader() == Some(true)
        };
        let trace = |session: &etw_sessions::Session| {
            let (file, _) = found.save(session, Vec::new()).ok()?;
            let name = session.name.as_deref().unwrap_or("without a name");
            Some(SessionTrace { name: format!("session {} ({name})", session.id), file })
        };
        sessions.filter(is_wanted).filter_map(trace).collect()
    });
    let options = SurveyOptions::default().processes(true).ipt(true);
    let survey = |trace: &'a SessionTrace| -> Option<(&'a str, Survey<'a>)> {
        let parsed = Trace::parse(&trace.file).ok()?;
        Some((&trace.name, Part::read(&parsed, &options, &|_| {}).with(Vec::new())))
    };
    let mut surveys: Vec<_> = traces.iter().filter_map(survey).collect();
    let Some(first) = surveys.iter().position(|(_, survey)| !survey.ipt.is_empty()) else { return };
    let (name, with_ipt) = surveys.remove(first);
    let clock = with_ipt.clock;
    let mut gone = modules(&with_ipt.modules, &with_ipt.clock, &clock);
    for (other, survey) in surveys {
        gone.extend(modules(&survey.modules, &survey.clock, &clock));
        if !survey.ipt.is_empty() {
            reading.notes.push(format!("{other} has Intel PT data too, which is not read: its clock is its own"));
        }
    }
    for module in gone {
        // The kernel's own list is believed where both speak of one place.
        let is_there = |known: &Module| known.base == module.base && known.name.eq_ignore_ascii_case(&module.name);
        if !reading.snapshot.modules.iter().any(is_there) {
            reading.snapshot.modules.push(module);
        }
    }
    reading.snapshot.modules.sort_by_key(|module| module.base);
    reading.notes.push(format!("Intel PT data is that of {name} in the dump"));
    reading.summary.ipt_events = with_ipt.counts.ipt_events;
    (reading.ipt, reading.processes, reading.threads) = (with_ipt.ipt, with_ipt.processes, with_ipt.threads);
    reading.clock = Some(clock);
}

/// Kernel modules that were unloaded, with times on the clock of the Intel PT data.
fn modules(found: &[etl_file::Module], own: &Clock, clock: &Clock) -> Vec<Module> {
    let gone = found.iter().filter(|module| module.kernel && module.unloaded.is_some());
    let mut modules: Vec<Module> = gone.cloned().map(|module| etl::module(module, own)).collect();
    let shift = own.start_time().0.saturating_sub(clock.start_time().0) as f64 / 1e7;
    for module in &mut modules {
        module.loaded = module.loaded.map(|seconds| seconds + shift);
        module.unloaded = module.unloaded.map(|seconds| seconds + shift);
    }
    modules
}
