//! The saved traces in other readers of traces: dissect.etl, etl-parser, and `mkdump modules`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::outcome::Outcome;
use xtask::program;

use super::saved;
use crate::command;
use crate::peers::{self, etl_parser};
use crate::readers::python::{self, Script};

/// Both readers find in every trace what its bytes say: sizes and ticks, in the file's order.
pub fn check(traces: &[PathBuf], outcome: &mut Outcome) -> Result<()> {
    // Without the PDB the processor's speed may be unknown, and 0 in the header: dissect.etl divides by it.
    let mut whole = Vec::new();
    let mut without = 0;
    for trace in traces {
        if has_speed(trace)? {
            whole.push(trace.clone());
        } else {
            without += 1;
        }
    }
    by(&peers::DISSECT, "dissect.etl", &whole, outcome)?;
    println!("dissect.etl was not given {without} traces whose header has no CpuSpeedInMHz: it divides by that");
    // A few serve: it is slow, and the files differ by their kernel alone.
    let few: Vec<PathBuf> = traces.iter().step_by((traces.len() / 8).max(1)).cloned().collect();
    by(&etl_parser::ETL_PARSER, "etl-parser", &few, outcome)?;
    for trace in traces {
        if let Err(error) = modules(trace) {
            outcome.add_failure(format!("mkdump modules, {}: {error:#}", trace.display()));
        } else {
            outcome.add_pass();
        }
    }
    Ok(())
}

/// Whether TRACE_LOGFILE_HEADER.CpuSpeedInMHz is known: at 0x34, behind a SYSTEM_TRACE_HEADER of 32 bytes.
fn has_speed(trace: &std::path::Path) -> Result<bool> {
    let header = saved::read(trace)?.header;
    Ok(header.get(0x54..0x58).context("a short log-file header")? != [0; 4])
}

fn by(script: &Script, name: &str, traces: &[PathBuf], outcome: &mut Outcome) -> Result<()> {
    let interpreter = match python::environment(script)? {
        Ok(interpreter) => interpreter,
        Err(reason) => {
            outcome.add_skip(format!("sessions: no {name}: {reason}"));
            return Ok(());
        }
    };
    let (version, readings) = match peers::read_with(script, &interpreter, traces)? {
        Ok(read) => read,
        Err(reason) => {
            outcome.add_failure(format!("sessions: {name}: {reason}"));
            return Ok(());
        }
    };
    println!("{name} {version}: {} saved traces", traces.len());
    for (trace, reading) in traces.iter().zip(readings) {
        let wanted = sizes_and_ticks(trace)?;
        // The first event is the log-file header's.
        let found = reading.events.get(1..).unwrap_or_default();
        if reading.failure.is_none() && found == wanted {
            outcome.add_pass();
        } else {
            let (path, wanted) = (trace.display(), wanted.len());
            outcome.add_failure(format!("sessions: {name}: {path}: {reading}, {wanted} and a header expected"));
        }
    }
    Ok(())
}

/// The events behind the first buffer. SYSTEM_TRACE_HEADER and EVENT_HEADER have the tick at 16, PERFINFO_TRACE_HEADER at 8.
fn sizes_and_ticks(trace: &std::path::Path) -> Result<Vec<peers::Seen>> {
    let tick = |event: &[u8]| -> Result<i64> {
        let at = if matches!(event[2], 16 | 17) { 8 } else { 16 };
        Ok(i64::from_le_bytes(event.get(at..at + 8).context("a short event")?.try_into()?))
    };
    saved::read(trace)?.events.iter().map(|(_, event)| Ok((event.len(), Some(tick(event)?)))).collect()
}

/// The trace is one that the rest of the program takes: it has the modules whose events are in it, or is refused for having
/// none.
fn modules(trace: &std::path::Path) -> Result<()> {
    let mut mkdump = command::mkdump()?;
    mkdump.args(["modules", "--json", "--etl"]).arg(trace);
    let captured = program::capture(&mut mkdump, Duration::from_secs(60))?;
    let is_kernel = |(_, event): &(u16, Vec<u8>)| matches!(event[2], 1 | 2);
    if !saved::read(trace)?.events.iter().any(is_kernel) {
        let is_told = captured.code() == Some(2) && captured.stderr.contains("no Loader events of the kernel");
        ensure!(is_told, "no module is in it: {}\n{}", captured.ending(), captured.stderr);
        return Ok(());
    }
    ensure!(captured.success(), "{}: {}\n{}", program::shown(&mkdump), captured.ending(), captured.stderr);
    let report: Value = serde_json::from_str(&captured.stdout)?;
    let is_made = |module: &&Value| module["name"].as_str().is_some_and(|name| name.starts_with("made"));
    let made = report["modules"].as_array().map_or(0, |all| all.iter().filter(is_made).count());
    ensure!(made >= 48, "{made} modules, 48 were listed at the start");
    Ok(())
}
