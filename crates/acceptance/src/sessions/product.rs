//! `mkdump sessions` on the made dumps: the list, the way it found the layout, and what it saves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask::outcome::Outcome;
use xtask::program::{self, Captured};

use super::kernel::Made;
use super::saved;
use super::seen::{self, Seen, SeenBuffer};
use crate::command;
use session_kernels::truth::{BUFFER_SIZE, Session};

/// What led to the layout, as the command names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel's PDB.
    Pdb,
    /// The table of kernels, by the GUID of the PDB.
    KnownKernel,
    /// `EtwpDebuggerData`.
    DebuggerData,
    /// The layouts of the build, one after another.
    Probing,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Pdb => "pdb",
            Way::KnownKernel => "known-kernel",
            Way::DebuggerData => "debugger-data",
            Way::Probing => "probing",
        }
    }
}

/// Runs the command on a dump. It gets no symbols but those that are given.
pub fn run(dump: &Path, pdb: Option<&Path>, more: &[&str]) -> Result<Captured> {
    let mut command = command::mkdump()?;
    command.arg("sessions").arg(dump).arg("--json").args(more).env_remove("_NT_SYMBOL_PATH");
    if let Some(pdb) = pdb {
        command.arg("--pdb").arg(pdb);
    }
    program::capture(&mut command, Duration::from_secs(60))
}

/// Judges a dump whose sessions must all be found, in the way given.
pub fn check(
    made: &Made,
    (place, dump): (&str, &Path),
    pdb: Option<&Path>,
    way: Way,
    traces: &Path,
    outcome: &mut Outcome,
) -> Result<Vec<PathBuf>> {
    let place = &format!("{place}, mkdump by {}", way.name());
    let traces = traces.join(way.name());
    if traces.exists() {
        std::fs::remove_dir_all(&traces)?;
    }
    let captured = run(dump, pdb, &["--all", &traces.to_string_lossy()])?;
    if !captured.success() {
        bail!("{place}: {}\n{}", captured.ending(), captured.stderr);
    }
    let report: Value = serde_json::from_str(&captured.stdout).with_context(|| format!("{place}: no JSON"))?;
    seen::judge(place, &seen::expected(made)?, &list(&report).context("a session lacks what is needed")?, outcome);
    layout(place, made, way, &report, outcome)?;
    for session in &made.sessions {
        let found = report["sessions"].as_array().and_then(|all| all.iter().find(|found| found["id"] == session.id));
        if let Some(found) = found {
            members(place, made, session, way, found, outcome)?;
        }
    }
    let mut files = Vec::new();
    for session in made.sessions.iter().filter(|session| !session.events().is_empty()) {
        let saved = report["saved"].as_array().and_then(|all| all.iter().find(|saved| saved["id"] == session.id));
        match saved.and_then(|saved| saved["file"].as_str()) {
            Some(file) => {
                saved::judge(place, session, Path::new(file), outcome);
                files.push(file.into());
            }
            None => outcome.add_failure(format!("{place}: session {} was not saved", session.id)),
        }
    }
    Ok(files)
}

/// A value of the report that must be this one.
fn equal(place: &str, what: &str, found: &Value, wanted: &Value, outcome: &mut Outcome) {
    if found == wanted {
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("{place}: {what} is {found}, not {wanted}"));
    }
}

/// How the layout was found, which it is, and what was told of it.
fn layout(place: &str, made: &Made, way: Way, report: &Value, outcome: &mut Outcome) -> Result<()> {
    let size = made.kernel.context["(size)"];
    equal(place, "the way", &report["layout"]["found_by"], &way.name().into(), outcome);
    equal(place, "the array", &report["layout"]["contexts"], &format!("{:#x}", made.array()?).into(), outcome);
    if way != Way::DebuggerData {
        equal(place, "a context's size", &report["layout"]["context_size"], &format!("{size:#x}").into(), outcome);
    }
    // One thing that is amiss with a dump has to be told, and nothing else.
    let warning = match way {
        Way::Probing => Some("EtwpDebuggerData at address"),
        Way::DebuggerData if !made.kernel.has_silo_array() => Some("_ETW_SILODRIVERSTATE at address"),
        _ => None,
    };
    let told = report["warnings"].as_array().context("no list of warnings")?;
    let told: Vec<&str> = told.iter().filter_map(Value::as_str).collect();
    let is_wanted = |told: &&str| told.contains(warning.unwrap_or_default());
    if told.len() == usize::from(warning.is_some()) && told.iter().all(is_wanted) {
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("{place}: warnings {told:?}, expected {warning:?}"));
    }
    Ok(())
}

/// The members of a context that only `mkdump` lists.
fn members(place: &str, made: &Made, session: &Session, way: Way, found: &Value, outcome: &mut Outcome) -> Result<()> {
    let mut wanted = vec![
        ("clock_type", Value::from(session.clock)),
        ("buffer_size", BUFFER_SIZE.into()),
        ("buffers", session.buffers.len().into()),
        ("events", session.events().len().into()),
    ];
    if made.kernel.context.contains_key("SiloState") {
        wanted.push(("silo_state", format!("{:#x}", made.address("HostState")?).into()));
    }
    // What the debugger data do not say may be unknown; wrong it must not be.
    let unsure = [
        ("flush_timer", Value::from(session.flush_timer)),
        ("buffers_lost", session.buffers_lost.into()),
        ("buffers_written", 9.into()),
        ("log_file", session.file.into()),
        ("flags", format!("{:#x}", session.flags).into()),
    ];
    wanted.extend(unsure.into_iter().filter(|(name, _)| way != Way::DebuggerData || !found[*name].is_null()));
    for (name, value) in wanted {
        equal(place, &format!("{name} of {}", session.id), &found[name], &value, outcome);
    }
    Ok(())
}

/// The sessions of a report.
pub fn list(report: &Value) -> Option<Vec<Seen>> {
    report["sessions"].as_array()?.iter().map(session).collect()
}

fn session(value: &Value) -> Option<Seen> {
    Some(Seen {
        id: u32::try_from(value["id"].as_u64()?).ok()?,
        context: hex(&value["context"])?,
        name: value["name"].as_str().unwrap_or("(unreadable)").to_owned(),
        mode: u32::try_from(hex(&value["mode"])?).ok()?,
        lost: u32::try_from(value["events_lost"].as_u64()?).ok()?,
        buffers: value["buffer_list"].as_array()?.iter().map(buffer).collect::<Option<_>>()?,
    })
}

fn buffer(value: &Value) -> Option<SeenBuffer> {
    Some(SeenBuffer {
        address: hex(&value["address"])?,
        processor: u16::try_from(value["processor"].as_u64()?).ok()?,
        sequence: value["sequence"].as_i64()?,
        end: u32::try_from(value["end"].as_u64()?).ok()?,
    })
}

fn hex(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
