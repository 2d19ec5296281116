//! What the Intel PT data says, as text.

use std::fmt::Write as _;
use std::io::{self, Write};

use mkdump::report::ipt::{
    ConfirmedReport, FileStatus, FlowEntry, FlowReport, FlowSummary, IptReport, PieceReport, PlaceReport,
    QualityReport, ReachedBy, ReachedModule, SnapshotFacts, UnknownPage,
};
use mkdump::report::{ModeReport, OverrideWayReport};

use super::absent::{self, Absent};
use super::summary::labelled;
use super::table::Table;
use super::text::{address, count, grouped, moment, printable, size};
use super::width::hanging;

/// Rows of lists that are shown in part: unknown pages, errors.
const SHOWN: usize = 20;

/// The report in lines of `width` columns. With `all`, lists are whole and packet addresses are counted by thread.
pub fn report(report: &IptReport, all: bool, width: usize) -> String {
    let mut out = String::new();
    if let Some(doubt) = report.doubt() {
        out += &not_reliable(&doubt, width);
        out.push('\n');
    }
    out += &snapshots(report, all, width);
    if report.threads.len() > 1 {
        out += &threads(report, width);
    }
    out += &modules(report, all, width);
    out += &unknown(report, all, width);
    out += &verdict(report, width);
    out += &errors(report, all, width);
    out
}

/// What leads everything else when the flow is not to be believed.
fn not_reliable(doubt: &str, width: usize) -> String {
    hanging("NOT RELIABLE: ", &printable(doubt), width)
}

fn snapshots(report: &IptReport, all: bool, width: usize) -> String {
    let mut table = Table::new(
        &["#", "time", "cpu", "process", "thread", "event", "bytes", "packet addresses", "gaps", "read"],
        &[0, 1, 2, 6, 7, 8, 9],
    )
    .wrapping(&[1, 3, 4, 5])
    // `59.123456 s` on one line.
    .keeping(1, 11);
    for snapshot in &report.snapshots {
        let SnapshotFacts { index, time, cpu, pid, tid, process, thread, trigger, file, bytes } = &snapshot.facts;
        let event = trigger.clone().or_else(|| file.clone());
        table.row([
            index.to_string(),
            time.map_or_else(String::new, |time| moment(time, 6)),
            cpu.map_or_else(String::new, |cpu| cpu.to_string()),
            named(process.as_deref(), *pid),
            named(thread.as_deref(), *tid),
            event.unwrap_or_default(),
            grouped(*bytes),
            grouped(snapshot.hits),
            grouped(snapshot.gaps),
            snapshot.quality.as_ref().map_or_else(String::new, followed),
        ]);
    }
    let mut out = table.render(0, width);
    let bytes = report.snapshots.iter().map(|snapshot| snapshot.facts.bytes).sum();
    let _ = writeln!(
        out,
        "{} of {}, {}",
        report.snapshots.len(),
        count(report.snapshots_total as u64, "snapshot"),
        size(bytes)
    );
    for snapshot in report.snapshots.iter().filter(|snapshot| all && !snapshot.pieces.is_empty()) {
        let piece = |piece: &PieceReport| format!("{} bytes, {:#x}", grouped(piece.bytes), piece.word28);
        let pieces: Vec<String> = snapshot.pieces.iter().map(piece).collect();
        let fits =
            if snapshot.word28_fits.is_empty() { "nothing known".into() } else { snapshot.word28_fits.join(", ") };
        let text = format!("events with the word at offset 28: {}; it fits {fits}", pieces.join("; "));
        out += &hanging(&format!("snapshot {}: ", snapshot.facts.index), &text, width);
    }
    for snapshot in &report.snapshots {
        for remark in &snapshot.remarks {
            out += &hanging(&format!("snapshot {}: ", snapshot.facts.index), &printable(remark), width);
        }
    }
    out
}

/// `demo.exe (1234)`, `1234`, or nothing.
fn named(name: Option<&str>, id: Option<u32>) -> String {
    match (name, id) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (None, Some(id)) => id.to_string(),
        _ => String::new(),
    }
}

fn threads(report: &IptReport, width: usize) -> String {
    let headings = ["process", "thread", "snapshots", "bytes", "packet addresses"];
    let mut table = Table::new(&headings, &[2, 3, 4]).wrapping(&[0, 1]);
    for thread in &report.threads {
        table.row([
            named(thread.process.as_deref(), thread.pid),
            named(thread.thread.as_deref(), thread.tid),
            grouped(thread.snapshots),
            grouped(thread.bytes),
            grouped(thread.hits),
        ]);
    }
    format!("\n{}", table.render(0, width))
}

fn modules(report: &IptReport, all: bool, width: usize) -> String {
    if report.modules.is_empty() {
        return "\nNo kernel module is reached.\n".into();
    }
    let headings = ["name", "base", "packet addresses", "threads", "executed", "reached by", "file"];
    let mut table = Table::new(&headings, &[2, 3, 4]).wrapping(&[0, 5]);
    for module in &report.modules {
        table.row([
            module.name.clone(),
            address(module.base.0),
            grouped(module.hits),
            grouped(module.threads.len() as u64),
            grouped(module.instructions),
            reached_by(module),
            status(module.status).into(),
        ]);
        for thread in module.threads.iter().filter(|_| all) {
            let hits = count(thread.hits, "packet address");
            table.under(&format!("process {}, thread {}: {hits}", thread.pid, thread.tid));
        }
    }
    let flow = &report.flow;
    let mut out = format!("\n{}", table.render(0, width));
    if flow.instructions > 0 {
        let lost = match flow.errors {
            0 => "decoding never lost its place".to_owned(),
            errors => format!(
                "decoding lost its place {} ({} because code was missing)",
                count(errors, "time"),
                grouped(flow.lacking)
            ),
        };
        let (instructions, interrupts) = (count(flow.instructions, "instruction"), count(flow.interrupts, "interrupt"));
        out += &hanging("", &format!("followed {instructions}, {interrupts}; {lost}"), width);
    }
    out += &flow.quality.as_ref().map(|numbers| quality(numbers, width)).unwrap_or_default();
    out + &absent::listed(report.modules.iter().filter_map(Absent::of_reached).collect(), all, width)
}

/// How well packets were followed, and what confirms it.
fn quality(quality: &QualityReport, width: usize) -> String {
    let rate = quality.out_of_step_per_mib.unwrap_or_default();
    let text = format!(
        "read {} of {} bytes ({}); packets and code contradict each other {}, {} per MiB",
        grouped(quality.followed),
        grouped(quality.bytes),
        followed(quality),
        count(quality.out_of_step, "time"),
        grouped(rate.round() as u64),
    );
    let ConfirmedReport { returns, branches, addresses, .. } = quality.confirmed;
    let confirmed = format!(
        "confirmed by {}, {} and {} that the code led to",
        count(returns, "return"),
        // An "indirect branch" in the plural.
        match branches {
            1 => "1 indirect branch".to_owned(),
            many => format!("{} indirect branches", grouped(many)),
        },
        count(addresses, "packet address"),
    );
    hanging("", &text, width) + &hanging("", &confirmed, width)
}

/// The share of the bytes that was followed, rounded down: only all of them are 100%.
fn followed(quality: &QualityReport) -> String {
    let mark = if quality.doubt.is_some() { "!" } else { "" };
    quality.share_followed.map_or_else(String::new, |share| format!("{:.0}%{mark}", (share * 100.0).floor()))
}

fn reached_by(module: &ReachedModule) -> String {
    match (module.reached_by, &module.reached_from) {
        (ReachedBy::Packets, _) => "packets".into(),
        (ReachedBy::Flow, _) => "flow".into(),
        (ReachedBy::ImportClosure, Some(from)) => format!("calls in {from}"),
        (ReachedBy::ImportClosure, None) => "calls".into(),
    }
}

fn status(status: FileStatus) -> &'static str {
    match status {
        FileStatus::Present => "present",
        FileStatus::Missing => "missing",
    }
}

fn unknown(report: &IptReport, all: bool, width: usize) -> String {
    if report.unknown.is_empty() {
        return String::new();
    }
    // User-mode pages do not belong among kernel modules, and there can be many.
    let (mut pages, user): (Vec<&UnknownPage>, Vec<&UnknownPage>) =
        report.unknown.iter().partition(|page| all || page.address.0 >> 63 == 1);
    let shown = if all { pages.len() } else { SHOWN };
    pages.sort_by_key(|page| std::cmp::Reverse(page.hits));
    let mut table = Table::new(&["page in no kernel module", "packet addresses"], &[1]);
    for page in pages.iter().take(shown) {
        table.row([address(page.address.0), grouped(page.hits)]);
    }
    let mut out = String::new();
    if !pages.is_empty() {
        let _ = write!(out, "\n{}{}", table.render(0, width), more(pages.len(), shown));
    }
    if !user.is_empty() {
        let hits = user.iter().map(|page| page.hits).sum();
        let _ = writeln!(out, "\nuser mode: {} in {}", count(hits, "packet address"), count(user.len() as u64, "page"));
    }
    out
}

fn more(number: usize, shown: usize) -> String {
    match number.saturating_sub(shown) {
        0 => String::new(),
        rest => format!("and {} more (-v lists them)\n", grouped(rest as u64)),
    }
}

/// What is assumed of a load-time change and why, as every command says it.
fn mode(label: &str, mode: &ModeReport, width: usize) -> String {
    labelled(label, &format!("{}: {}", mode.mode, printable(&mode.reason)), width)
}

fn imports(mode: &ModeReport, width: usize) -> String {
    labelled("imports", &format!("import optimization {}: {}", mode.mode, printable(&mode.reason)), width)
}

/// Function overrides and what calls say of them; nothing when no file lists any.
fn overrides(report: &IptReport, width: usize) -> String {
    let asked = &report.verdict.overrides;
    if asked.is_empty() {
        return String::new();
    }
    let sum = |of: fn(&OverrideWayReport) -> bool| -> u64 {
        asked.iter().flat_map(|one| &one.ways).filter(|way| of(way)).map(|way| u64::from(way.votes)).sum()
    };
    let either: u64 = asked.iter().map(|one| u64::from(one.ambiguous)).sum();
    let votes = format!(
        "votes: {} to another function, {} as linked, {} that either explains",
        count(sum(|way| way.target != "original"), "call"),
        grouped(sum(|way| way.target == "original")),
        grouped(either),
    );
    mode("overrides", &report.flow.function_overrides, width) + &labelled("", &votes, width)
}

fn verdict(report: &IptReport, width: usize) -> String {
    let (verdict, flow) = (&report.verdict, &report.flow);
    let mut out = "\n".to_owned();
    out += &imports(&flow.import_optimization, width);
    out += &labelled("", &format!("votes: {}", printable(&verdict.reason)), width);
    out += &mode("retpoline", &flow.retpoline, width);
    let votes = &verdict.retpoline_votes;
    let votes = format!(
        "votes: {} in stubs, {} after rewritten calls, {} after calls as linked",
        count(votes.in_stubs.into(), "packet address"),
        count(votes.rewritten_returns.into(), "return"),
        grouped(votes.linked_returns.into()),
    );
    out += &labelled("", &votes, width);
    out += &overrides(report, width);
    if verdict.per_module.is_empty() {
        return out;
    }
    let mut table = Table::new(
        &["importer", "verdict", "on", "off", "either", "elsewhere", "neither", "open"],
        &[2, 3, 4, 5, 6, 7],
    )
    .wrapping(&[0]);
    for module in &verdict.per_module {
        let numbers =
            [module.votes_on, module.votes_off, module.ambiguous, module.redirected, module.contradictory, module.open];
        let row = [module.name.clone(), module.import_optimization.to_owned()].into_iter();
        table.row(row.chain(numbers.into_iter().map(|number| grouped(number.into()))));
    }
    let _ = write!(out, "\n{}", table.render(0, width));
    let headings = ["vote", "site", "expected target", "snapshot", "offset", "by"];
    let mut table = Table::new(&headings, &[3, 4]).wrapping(&[1, 2]);
    for module in &verdict.per_module {
        for vote in module.evidence.iter().flatten() {
            let says = vote.to.map_or_else(|| vote.says.to_owned(), |to| format!("goes to {}", address(to.0)));
            table.row([
                says,
                format!("{} {}+{:#x}", address(vote.site.0), module.name, vote.rva.0),
                format!("{} {}", address(vote.expected.0), vote.expected_name.as_deref().unwrap_or_default()),
                vote.snapshot.to_string(),
                format!("{:#x}", vote.offset),
                vote.how.to_owned(),
            ]);
        }
    }
    if !table.is_empty() {
        let _ = write!(out, "\n{}", table.render(0, width));
    }
    out
}

fn errors(report: &IptReport, all: bool, width: usize) -> String {
    if report.errors.is_empty() {
        return String::new();
    }
    let shown = if all { report.errors.len() } else { SHOWN };
    let mut out = String::new();
    let mut causes: Vec<&str> = Vec::new();
    for error in &report.errors {
        if !causes.contains(&error.likely) {
            causes.push(error.likely);
        }
    }
    // Each cause is said once, above its errors.
    for cause in causes {
        let errors: Vec<_> = report.errors.iter().filter(|error| error.likely == cause).collect();
        let mut table = Table::new(&["snapshot", "offset", "address", "error"], &[0, 1]).wrapping(&[2, 3]);
        for error in errors.iter().take(shown) {
            let place = error.place.clone().or_else(|| error.ip.map(|ip| address(ip.0)));
            let offset = format!("{:#x}", error.offset);
            table.row([error.snapshot.to_string(), offset, place.unwrap_or_default(), error.kind.clone()]);
        }
        out.push('\n');
        out += &hanging("", &format!("{}; likely cause: {cause}", count(errors.len() as u64, "error")), width);
        out += &table.render(0, width);
        out += &more(errors.len(), shown);
    }
    let listed = report.errors.len() as u64;
    if report.errors_total > listed {
        let _ = writeln!(out, "{} more are not listed", grouped(report.errors_total - listed));
    }
    out
}

/// What identifies a snapshot, in one line.
pub fn heading(snapshot: &SnapshotFacts) -> String {
    let SnapshotFacts { index, time, cpu, pid, tid, process, thread, trigger, file, bytes } = snapshot;
    let parts = [
        time.map(|time| moment(time, 6)),
        cpu.map(|cpu| format!("processor {cpu}")),
        pid.map(|_| format!("process {}", named(process.as_deref(), *pid))),
        tid.map(|_| format!("thread {}", named(thread.as_deref(), *tid))),
        trigger.clone(),
        file.clone(),
        Some(size(*bytes)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().map(|part| printable(&part)).collect();
    format!("snapshot {index}: {}", parts.join(", "))
}

/// The flow of one snapshot, a line for each entry.
pub fn flow(out: &mut impl Write, report: &FlowReport) -> io::Result<()> {
    writeln!(out, "{}", heading(&report.snapshot))?;
    if let Some(doubt) = &report.quality.doubt {
        writeln!(out, "NOT RELIABLE: {}", printable(doubt))?;
    }
    for entry in &report.flow {
        match entry {
            FlowEntry::Executed { at, size, times } => {
                write!(out, "  {} {size} bytes", place(at))?;
                if *times > 1 {
                    write!(out, ", {times} times")?;
                }
                writeln!(out)?;
            }
            FlowEntry::Interrupt { from, to } => writeln!(out, "- interrupt at {} to {}", place(from), place(to))?,
            FlowEntry::Overflow => writeln!(out, "- packets lost")?,
            FlowEntry::Enabled => writeln!(out, "- tracing on")?,
            FlowEntry::Disabled => writeln!(out, "- tracing off")?,
            FlowEntry::Paging { cr3 } => writeln!(out, "- address space {:#x}", cr3.0)?,
            FlowEntry::Missing { offset, at } => writeln!(out, "- no code for {} (packet at {offset:#x})", place(at))?,
            FlowEntry::UnknownCall { offset, at, to } => {
                let to = to.as_deref().map(printable).unwrap_or_default();
                writeln!(out, "- direct call at {} to {to}, whose file is missing (packet at {offset:#x})", place(at))?;
            }
            FlowEntry::Gap { offset, at, what, likely } => {
                let at = at.as_ref().map(|at| format!(" at {}", place(at))).unwrap_or_default();
                writeln!(
                    out,
                    "- decoding lost its place{at} (packet at {offset:#x}): {}; likely: {likely}",
                    printable(what)
                )?;
            }
        }
    }
    if report.cut {
        writeln!(out, "- the rest is left out")?;
    }
    Ok(())
}

/// `ntoskrnl.exe+0x1234 (KiSwapContext+0x4)`, or the address.
fn place(place: &PlaceReport) -> String {
    let mut text = match (&place.module, place.rva) {
        (Some(module), Some(rva)) => format!("{}+{:#x}", printable(module), rva.0),
        _ => address(place.address.0),
    };
    if let Some(symbol) = &place.symbol {
        let _ = write!(text, " ({})", printable(symbol));
    }
    text
}

/// What is said when the flow is over.
pub fn flow_summary(summary: &FlowSummary, width: usize) -> String {
    let mut out = summary.doubt.as_ref().map(|doubt| not_reliable(doubt, width)).unwrap_or_default();
    out += &quality(&summary.quality, width);
    out += &imports(&summary.import_optimization, width);
    out += &mode("retpoline", &summary.retpoline, width);
    if summary.overridden_calls > 0 {
        out += &mode("overrides", &summary.function_overrides, width);
    }
    out += &absent::listed(summary.missing.iter().map(Absent::from).collect(), false, width);
    if !summary.unknown.is_empty() {
        let mut table = Table::new(&["page in no kernel module", "times reached"], &[1]);
        for page in summary.unknown.iter().take(SHOWN) {
            table.row([address(page.address.0), grouped(page.hits)]);
        }
        let _ = write!(out, "\n{}", table.render(0, width));
        if summary.unknown.len() > SHOWN {
            let _ = writeln!(out, "and {} more", summary.unknown.len() - SHOWN);
        }
    }
    out
}
