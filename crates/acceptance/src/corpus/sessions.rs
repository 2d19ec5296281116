//! Trace sessions in dumps: the embedded table of kernels against the facts that it was made from, and the sessions of a
//! real triage dump against what its blocks say (counted by hand and by two other readers of traces).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mkdump::dump::Dump;
use xtask::outcome::Outcome;

/// The facts, relative to the samples.
const VECTORS: &str = "../specs/vectors";
const DUMP: &str = "dumps/triage_x64.dmp";

/// Id, name, buffers and events of the sample's sessions that have a known answer.
const SESSIONS: [(u32, &str, usize, u64); 3] = [
    (10, "EventLog-System", 2, 107),
    (12, "Microsoft-Windows-Rdp-Graphics-RdpIdd-Trace", 32, 0),
    (18, "WiFiSession", 32, 0),
];

/// Both checks.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = xtask::session_layouts::check(&data.join(VECTORS))?;
    match check(&data.join(DUMP)) {
        Ok(()) => outcome.add_pass(),
        Err(error) => outcome.add_failure(format!("{DUMP}: {error:#}")),
    }
    Ok(outcome)
}

fn check(path: &Path) -> Result<()> {
    let file = fs::read(path).with_context(|| path.display().to_string())?;
    let dump = Dump::open(&file)?;
    let found = dump.sessions(None)?;
    let sessions = &found.sessions;
    ensure!(sessions.warnings.is_empty(), "{:?}", sessions.warnings);
    let events: u64 = sessions.sessions.iter().map(etw_sessions::Session::events).sum();
    println!("{} sessions, {events} events", sessions.sessions.len());
    let list = sessions.sessions.iter().map(|s| (s.id, s.name.as_deref().unwrap_or(""), s.buffers.len(), s.events()));
    let list: Vec<_> = list.collect();
    ensure!(list.len() == 3 && list == SESSIONS, "{list:?}");
    let machine = &sessions.machine;
    ensure!((machine.build, machine.cpu_mhz, machine.timer_resolution) == (19041, 3593, 156_250), "{machine:?}");
    let mut bytes = Vec::new();
    for (session, expected) in sessions.sessions.iter().zip([131_072, 65_536, 81_920]) {
        let (trace, saved) = found.save(session, Vec::new())?;
        ensure!(trace.len() == expected && saved.events == session.events() + 1, "session {}: {saved:?}", session.id);
        let trace = etl_file::Trace::parse(&trace)?;
        for buffer in trace.buffers().skip(1) {
            for event in buffer?.plain_events().into_iter().flatten() {
                bytes.extend_from_slice(event?.bytes);
            }
        }
    }
    ensure!(bytes.len() == 36_677, "the events have {} bytes", bytes.len());
    Ok(())
}
