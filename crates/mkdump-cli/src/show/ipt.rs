//! What the Intel PT data says, as text.

use std::fmt::Write as _;
use std::io::{self, Write};

use mkdump::report::ipt::{
    FileStatus, FlowEntry, FlowReport, FlowSummary, IptReport, MissingModule, PieceReport, PlaceReport, QualityReport,
    ReachedBy, ReachedModule, SnapshotFacts, UnknownPage,
};

use super::text::{Table, address, count, grouped, printable, size};

/// Rows of lists that are shown in part: unknown pages, errors.
const SHOWN: usize = 20;

/// The report. With `all`, lists are whole and hits are told by thread.
pub fn report(report: &IptReport, all: bool) -> String {
    let mut out = String::new();
    if let Some(doubt) = report.doubt() {
        let _ = writeln!(out, "NOT RELIABLE: {doubt}\n");
    }
    out += &snapshots(report, all);
    if report.threads.len() > 1 {
        out += &threads(report);
    }
    out += &modules(report, all);
    out += &unknown(report, all);
    out += &verdict(report);
    out += &errors(report, all);
    out
}

fn snapshots(report: &IptReport, all: bool) -> String {
    let mut table = Table::new(
        &["snapshot", "time", "cpu", "process", "thread", "event", "bytes", "psb", "addresses", "gaps", "followed"],
        &[0, 1, 2, 6, 7, 8, 9, 10],
    );
    for snapshot in &report.snapshots {
        let SnapshotFacts { index, time, cpu, pid, tid, process, thread, trigger, file, bytes } = &snapshot.facts;
        let event = trigger.clone().or_else(|| file.clone());
        table.row([
            index.to_string(),
            time.map_or_else(String::new, |time| format!("{time:.6}")),
            cpu.map_or_else(String::new, |cpu| cpu.to_string()),
            named(process.as_deref(), *pid),
            named(thread.as_deref(), *tid),
            event.unwrap_or_default(),
            grouped(*bytes),
            grouped(snapshot.psb),
            grouped(snapshot.hits),
            grouped(snapshot.gaps),
            snapshot.quality.as_ref().map_or_else(String::new, followed),
        ]);
    }
    let mut out = table.render(0);
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
        let _ = writeln!(
            out,
            "snapshot {}: events with the word at offset 28: {}; it fits {fits}",
            snapshot.facts.index,
            pieces.join("; ")
        );
    }
    for snapshot in &report.snapshots {
        for remark in &snapshot.remarks {
            let _ = writeln!(out, "snapshot {}: {}", snapshot.facts.index, printable(remark));
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

fn threads(report: &IptReport) -> String {
    let mut table = Table::new(&["process", "thread", "snapshots", "bytes", "addresses"], &[2, 3, 4]);
    for thread in &report.threads {
        table.row([
            named(thread.process.as_deref(), thread.pid),
            named(thread.thread.as_deref(), thread.tid),
            grouped(thread.snapshots),
            grouped(thread.bytes),
            grouped(thread.hits),
        ]);
    }
    format!("\n{}", table.render(0))
}

fn modules(report: &IptReport, all: bool) -> String {
    if report.modules.is_empty() {
        return "\nNo kernel module is reached.\n".into();
    }
    let mut table =
        Table::new(&["base", "addresses", "threads", "instructions", "reached by", "file", "name"], &[1, 2, 3]);
    for module in &report.modules {
        table.row([
            address(module.base.0),
            grouped(module.hits),
            grouped(module.threads.len() as u64),
            grouped(module.instructions),
            reached_by(module),
            status(module.status).into(),
            module.name.clone(),
        ]);
        for thread in module.threads.iter().filter(|_| all) {
            let of = format!("process {} thread {}", thread.pid, thread.tid);
            table.row(["".into(), grouped(thread.hits), "".into(), "".into(), of]);
        }
    }
    let flow = &report.flow;
    let mut out = format!("\n{}", table.render(0));
    if flow.instructions > 0 {
        let _ = writeln!(
            out,
            "flow: {}, {}; out of step {}, {} of them for want of code",
            count(flow.instructions, "instruction"),
            count(flow.interrupts, "interrupt"),
            times(flow.errors),
            grouped(flow.lacking),
        );
    }
    if let Some(quality) = &flow.quality {
        let rate = quality.out_of_step_per_mib.unwrap_or_default();
        let _ = writeln!(
            out,
            "followed: {} of {} bytes ({}); packets and code contradict each other {}, {rate:.0} per MiB",
            grouped(quality.followed),
            grouped(quality.bytes),
            followed(quality),
            times(quality.out_of_step),
        );
    }
    let missing: Vec<MissingModule> =
        report.modules.iter().filter(|module| module.status == FileStatus::Missing).map(missing_module).collect();
    out += &missing_table(&missing, "wanted");
    out
}

/// The share of the bytes that was followed, rounded down: only all of them are 100 %.
fn followed(quality: &QualityReport) -> String {
    let mark = if quality.doubt.is_some() { " !" } else { "" };
    quality.share_followed.map_or_else(String::new, |share| format!("{:.0} %{mark}", (share * 100.0).floor()))
}

fn missing_module(module: &ReachedModule) -> MissingModule {
    MissingModule {
        name: module.name.clone(),
        base: module.base,
        size: module.size,
        image_key: module.image_key.clone(),
        times: module.hits + module.lacked,
        reason: module.reason.clone(),
    }
}

fn missing_table(missing: &[MissingModule], times: &str) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["missing", "base", "key", times, "why"], &[3]);
    for module in missing {
        table.row([
            module.name.clone(),
            address(module.base.0),
            module.image_key.clone().unwrap_or_else(|| "?".into()),
            grouped(module.times),
            module.reason.clone().unwrap_or_default(),
        ]);
    }
    format!("\n{}", table.render(0))
}

fn times(number: u64) -> String {
    if number == 1 { "once".into() } else { format!("{} times", grouped(number)) }
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

fn unknown(report: &IptReport, all: bool) -> String {
    if report.unknown.is_empty() {
        return String::new();
    }
    // Nobody looks for user-mode pages among kernel modules, and there can be many.
    let (mut pages, user): (Vec<&UnknownPage>, Vec<&UnknownPage>) =
        report.unknown.iter().partition(|page| all || page.address.0 >> 63 == 1);
    let shown = if all { pages.len() } else { SHOWN };
    pages.sort_by_key(|page| std::cmp::Reverse(page.hits));
    let mut table = Table::new(&["page in no kernel module", "addresses"], &[1]);
    for page in pages.iter().take(shown) {
        table.row([address(page.address.0), grouped(page.hits)]);
    }
    let mut out = String::new();
    if !pages.is_empty() {
        let _ = write!(out, "\n{}{}", table.render(0), more(pages.len(), shown));
    }
    if !user.is_empty() {
        let hits = user.iter().map(|page| page.hits).sum();
        let _ = writeln!(out, "\nuser mode: {} addresses in {}", grouped(hits), count(user.len() as u64, "page"));
    }
    out
}

fn more(number: usize, shown: usize) -> String {
    match number.saturating_sub(shown) {
        0 => String::new(),
        rest => format!("and {} more; --verbose shows them\n", grouped(rest as u64)),
    }
}

fn verdict(report: &IptReport) -> String {
    let verdict = &report.verdict;
    let mut out = format!("\nimport optimization {}: {}\n", verdict.import_optimization, verdict.reason);
    let votes = &verdict.retpoline_votes;
    let _ = writeln!(
        out,
        "retpoline {}: {} in stubs, {} behind rewritten calls, {} behind calls as linked",
        verdict.retpoline,
        count(votes.in_stubs.into(), "hit"),
        count(votes.rewritten_returns.into(), "return"),
        grouped(votes.linked_returns.into()),
    );
    if verdict.per_module.is_empty() {
        return out;
    }
    let mut table = Table::new(
        &["importer", "verdict", "on", "off", "either", "elsewhere", "neither", "open"],
        &[2, 3, 4, 5, 6, 7],
    );
    for module in &verdict.per_module {
        let numbers =
            [module.votes_on, module.votes_off, module.ambiguous, module.redirected, module.contradictory, module.open];
        let row = [module.name.clone(), module.import_optimization.to_owned()].into_iter();
        table.row(row.chain(numbers.into_iter().map(|number| grouped(number.into()))));
    }
    let _ = write!(out, "\n{}", table.render(0));
    let mut table = Table::new(&["vote", "site", "expected target", "snapshot", "offset", "by"], &[3, 4]);
    let mut any = false;
    for module in &verdict.per_module {
        for vote in module.evidence.iter().flatten() {
            any = true;
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
    if any {
        let _ = write!(out, "\n{}", table.render(0));
    }
    out
}

fn errors(report: &IptReport, all: bool) -> String {
    if report.errors.is_empty() {
        return String::new();
    }
    let shown = if all { report.errors.len() } else { SHOWN };
    let mut table = Table::new(&["snapshot", "offset", "address", "error", "likely"], &[0, 1]);
    for error in report.errors.iter().take(shown) {
        let place = error.place.clone().or_else(|| error.ip.map(|ip| address(ip.0)));
        table.row([
            error.snapshot.to_string(),
            format!("{:#x}", error.offset),
            place.unwrap_or_default(),
            error.kind.clone(),
            error.likely.to_owned(),
        ]);
    }
    let total = usize::try_from(report.errors_total).unwrap_or(usize::MAX);
    format!("\n{}{}", table.render(0), more(total, shown))
}

/// The flow of one snapshot, a line for each thing.
pub fn flow(out: &mut impl Write, report: &FlowReport) -> io::Result<()> {
    let SnapshotFacts { index, time, cpu, pid, tid, process, thread, trigger, file, bytes } = &report.snapshot;
    let parts = [
        time.map(|time| format!("{time:.6} s")),
        cpu.map(|cpu| format!("processor {cpu}")),
        pid.map(|_| format!("process {}", named(process.as_deref(), *pid))),
        tid.map(|_| format!("thread {}", named(thread.as_deref(), *tid))),
        trigger.clone(),
        file.clone(),
        Some(size(*bytes)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().map(|part| printable(&part)).collect();
    writeln!(out, "snapshot {index}: {}", parts.join(", "))?;
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
                writeln!(out, "- out of step{at} (packet at {offset:#x}): {}; likely: {likely}", printable(what))?;
            }
        }
    }
    if report.cut {
        writeln!(out, "- and more, which is left out")?;
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
pub fn flow_summary(summary: &FlowSummary) -> String {
    let mut out = String::new();
    let (imports, retpoline) = (&summary.import_optimization, &summary.retpoline);
    let _ = writeln!(out, "import optimization {}: {}", imports.mode, imports.reason);
    let _ = writeln!(out, "retpoline {}: {}", retpoline.mode, retpoline.reason);
    out += &missing_table(&summary.missing, "wanted");
    if !summary.unknown.is_empty() {
        let mut table = Table::new(&["page in no kernel module", "wanted"], &[1]);
        for page in summary.unknown.iter().take(SHOWN) {
            table.row([address(page.address.0), grouped(page.hits)]);
        }
        let _ = write!(out, "\n{}", table.render(0));
        if summary.unknown.len() > SHOWN {
            let _ = writeln!(out, "and {} more", summary.unknown.len() - SHOWN);
        }
    }
    out
}
