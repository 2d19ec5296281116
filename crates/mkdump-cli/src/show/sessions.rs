//! A dump's trace sessions as text.

use std::fmt::Write;

use mkdump::report::{FoundReport, SessionReport, SessionsReport};

use super::table::Table;
use super::text::{address, count, grouped, printable, size, time};

/// The list that `mkdump sessions` prints.
pub fn table(report: &SessionsReport, width: usize) -> String {
    let headings = [
        "name",
        "id",
        "context",
        "silo state",
        "mode",
        "clock",
        "buffers",
        "memory",
        "events",
        "lost",
        "flush",
        "last event",
    ];
    let mut table = Table::new(&headings, &[1, 6, 7, 8, 9, 10]).wrapping(&[0]);
    let is_single = report.silos.len() == 1;
    for session in &report.sessions {
        let number = |value: Option<u32>| value.map(|value| grouped(value.into())).unwrap_or_default();
        table.row([
            session.name.clone().unwrap_or_else(|| "(unreadable)".into()),
            session.id.to_string(),
            session.context.map(|at| address(at.0)).unwrap_or_default(),
            // That of the host stands above the list.
            session.silo_state.filter(|_| !is_single).map(|at| address(at.0)).unwrap_or_default(),
            format!("{:x}", session.mode.0),
            clock(session),
            format!("{} of {}", number(session.buffers), size(session.buffer_size.into())),
            size(session.memory),
            grouped(session.events),
            number(session.events_lost),
            session
                .flush_timer
                .filter(|seconds| *seconds > 0)
                .map(|seconds| format!("{seconds} s"))
                .unwrap_or_default(),
            session.last_event.as_deref().map(time).unwrap_or_default(),
        ]);
    }
    let mut out = head(report);
    out += &table.render(0, width);
    for session in &report.sessions {
        // Paths are too long for a column.
        if let Some(file) = session.log_file.as_deref().filter(|file| !file.is_empty()) {
            let _ = writeln!(out, "session {}: log file {}", session.id, printable(file));
        }
        if let Some(ipt) = &session.ipt {
            let hooks: Vec<String> = ipt.hooks.iter().map(|hook| format!("{:x}", hook.0)).collect();
            let _ = writeln!(
                out,
                "session {}: Intel PT, options {:x}, at hooks {}",
                session.id,
                ipt.options.0,
                hooks.join(" ")
            );
        }
    }
    for saved in &report.saved {
        let events = count(saved.events, "event");
        let file = printable(&saved.file);
        let _ = writeln!(out, "session {} saved as {file}: {}, {events} with the header", saved.id, size(saved.bytes));
    }
    out
}

/// Where the sessions are from.
fn head(report: &SessionsReport) -> String {
    let mut out = String::new();
    match &report.layout {
        None => out += "from the kernel's copy behind the dump; what a session lost is not in it\n",
        Some(layout) => {
            let _ = writeln!(out, "from the kernel's memory; layout by {}", way(layout));
        }
    }
    for silo in &report.silos {
        let kind = if silo.host { "host" } else { "container" };
        let state = silo.state.map_or_else(|| "none".into(), |state| address(state.0));
        let sessions = count(silo.sessions.into(), "session");
        let _ = writeln!(out, "{kind}: silo state {state}, {sessions} of at most {}", silo.max_sessions);
    }
    out.push('\n');
    out
}

fn way(layout: &FoundReport) -> String {
    match (layout.found_by, &layout.pdb) {
        ("pdb", Some(pdb)) => format!("the kernel's PDB, {}", printable(pdb)),
        ("known-kernel", _) => "the table of known kernels".into(),
        ("debugger-data", _) => "the kernel's data for debuggers".into(),
        ("probing", _) => "trying the layouts of the dump's build".into(),
        (other, _) => other.into(),
    }
}

fn clock(session: &SessionReport) -> String {
    match session.clock_type {
        1 => "counter".into(),
        2 => "system time".into(),
        3 => "cycles".into(),
        other => other.to_string(),
    }
}

/// What to say below the list.
pub fn remarks(report: &SessionsReport) -> String {
    let mut out = String::new();
    let events: u64 = report.sessions.iter().map(|session| session.events).sum();
    let _ = writeln!(out, "{}, {} in buffers", count(report.sessions.len() as u64, "session"), count(events, "event"));
    let mut left_out =
        [(0, "with compact context switches"), (0, "compressed"), (0, "placeholders"), (0, "not in the dump")];
    for session in &report.sessions {
        let of = session.left_out;
        for (sum, more) in left_out.iter_mut().zip([of.compact, of.compressed, of.placeholders, of.unreadable]) {
            sum.0 += u64::from(more);
        }
    }
    for (number, what) in left_out.into_iter().filter(|(number, _)| *number > 0) {
        let _ = writeln!(out, "{} left out: {what}", count(number, "buffer"));
    }
    if !report.silos.is_empty() && !report.all_silos {
        out += "host silo only: sessions of containers are found with the kernel's PDB\n";
    }
    out += "which providers a session has enabled is not read\n";
    out
}
