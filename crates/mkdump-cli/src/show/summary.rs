//! What a person reads after a build: a few lines at a glance, then what is missing, then what to type next.

use std::fmt::Write;
use std::path::Path;

use mkdump::Moment;
use mkdump::report::{BuildReport, BuiltModule, ModeReport, OverrideSites, SourceReport, Status};
use mkdump::snapshot::{Architecture, Machine};

use super::absent::{self, Absent};
use super::next::Next;
use super::table::Table;
use super::text::{self, CYAN, GREEN, YELLOW, address, count, grouped, paint, printable, size};
use super::width::{self, hanging};
use crate::args::TalkArgs;

/// What a build was asked for, as far as its summary shows it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The moment that was chosen.
    pub at: Option<Moment>,
    /// The page that was written.
    pub page: Option<&'a Path>,
    /// How much to say.
    pub talk: TalkArgs,
    /// Columns.
    pub width: usize,
}

/// The summary, without what to do next.
pub fn build(report: &BuildReport, machine: &Machine, shown: &Shown<'_>) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| out += &labelled(label, &text, shown.width);
    line(source_label(&report.source), format!("{}: {}", printable(&report.source.name), text::source(&report.source)));
    line("machine", self::machine(machine));
    if let (Some(_), Some(seconds)) = (shown.at, report.moment) {
        let whole = report.source.duration.map(|all| format!(" of {}", text::moment(all, 6))).unwrap_or_default();
        line("moment", format!("{}{whole}, chosen with --at", text::moment(seconds, 6)));
    }
    line("modules", modules(report, shown.talk));
    line("imports", mode("import optimization", &report.import_optimization));
    line("", sites(report));
    line("retpoline", mode("", &report.retpoline));
    if let Some(calls) = overridden(report) {
        line("overrides", mode("", &report.function_overrides));
        line("", calls);
    }
    let ranges: usize = report.modules.iter().map(|module| module.ranges.len()).sum();
    let ranges = count(ranges as u64, "memory range");
    line(
        "wrote",
        format!("{}: {}, {}, {ranges}", printable(&report.output), format(report.format), size(report.bytes)),
    );
    if let Some(page) = shown.page {
        line("page", printable(&page.to_string_lossy()));
    }
    let missing = report.modules.iter().filter_map(Absent::of_build).collect();
    out + &absent::listed(missing, shown.talk.verbose, shown.width)
}

/// The source and its machine, for commands that list something of it.
pub fn source(source: &SourceReport, machine: &Machine) -> String {
    let width = width::stderr();
    let first = format!("{}: {}", printable(&source.name), text::source(source));
    labelled(source_label(source), &first, width) + &labelled("machine", &self::machine(machine), width)
}

fn source_label(source: &SourceReport) -> &'static str {
    if source.kind == "etl" { "trace" } else { "dump" }
}

/// A line of a summary, the text under itself where it is longer than a line.
pub fn labelled(label: &str, text: &str, width: usize) -> String {
    hanging(&format!("  {label:<10} "), text, width)
}

/// What to type next: each command on a line, never broken, so that it can be copied.
pub fn next(next: &[Next], talk: TalkArgs) -> String {
    let columns = width::stderr();
    let label = next.iter().map(|next| next.what.len()).max().unwrap_or(0);
    let fits = next.iter().all(|next| label + 4 + width::length(&next.line) <= columns);
    let mut out = String::new();
    for Next { what, line } in next {
        let line = paint(&printable(line), CYAN, talk);
        let _ = match fits {
            true => writeln!(out, "  {what:<label$}  {line}"),
            false => writeln!(out, "  {what}:\n    {line}"),
        };
    }
    if out.is_empty() { out } else { format!("\nNext:\n{out}") }
}

/// Every module with the file that it came from: for those who want to know.
pub fn built_modules(report: &BuildReport, width: usize) -> String {
    let headings = ["module", "base", "direct calls", "relocations", "file"];
    let mut table = Table::new(&headings, &[2, 3]).wrapping(&[0, 4]);
    for module in &report.modules {
        let import = &module.sites.import;
        table.row([
            module.name.clone(),
            address(module.base.0),
            format!("{} of {}", grouped(import.optimized), grouped(import.listed)),
            grouped(module.relocations),
            match (module.status, &module.file, &module.reason) {
                (Status::Included, Some(file), None) => file.clone(),
                (Status::Included, Some(file), Some(reason)) => format!("{file} ({reason})"),
                (status, _, reason) => format!("{}: {}", word(status), reason.as_deref().unwrap_or_default()),
            },
        ]);
    }
    table.render(2, width)
}

/// A status for people.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Included => "in the dump",
        Status::Missing => "missing",
        Status::Mismatch => "another build",
        Status::Excluded => "left out",
    }
}

/// A kind of file in words.
pub fn format(name: &str) -> &str {
    match name {
        "minidump" => "user minidump",
        "triage" => "kernel triage dump",
        "elf" => "ELF core",
        "raw" => "directory of raw files",
        other => other,
    }
}

/// One line about the processor and the kernel's build.
pub fn machine(machine: &Machine) -> String {
    let mut parts: Vec<String> = machine.computer_name.as_deref().map(printable).into_iter().collect();
    parts.push(
        match machine.architecture {
            Some(Architecture::Amd64) => "x64",
            Some(Architecture::Arm64) => "ARM64",
            Some(Architecture::X86) => "x86",
            None => "architecture not recorded (x64 is assumed)",
        }
        .to_owned(),
    );
    if let Some(vendor) = &machine.cpu_vendor {
        let mut cpu = printable(vendor);
        if let Some(family) = machine.cpu_family {
            let _ = write!(cpu, " family {family}");
        }
        if let Some(revision) = machine.cpu_revision {
            let _ = write!(cpu, " model {} stepping {}", revision >> 8, revision & 0xff);
        }
        parts.push(cpu);
    }
    parts.extend(machine.build_lab.as_deref().map(|lab| format!("kernel {}", printable(lab))));
    parts.join(", ")
}

fn modules(report: &BuildReport, talk: TalkArgs) -> String {
    let with = |status: Status| report.modules.iter().filter(|module| module.status == status).count() as u64;
    let included = with(Status::Included);
    let all = report.modules.len() as u64;
    let mut parts = vec![paint(
        &format!("{} of {} in the dump", grouped(included), count(all, "module")),
        if included == all { GREEN } else { YELLOW },
        talk,
    )];
    for (status, word) in
        [(Status::Missing, "missing"), (Status::Mismatch, "of another build"), (Status::Excluded, "left out")]
    {
        let number = with(status);
        if number > 0 {
            parts.push(format!("{} {word}", grouped(number)));
        }
    }
    parts.join(", ")
}

fn mode(name: &str, mode: &ModeReport) -> String {
    let name = if name.is_empty() { String::new() } else { format!("{name} ") };
    format!("{name}{}: {}", mode.mode, printable(&mode.reason))
}

/// The calls of overridden functions; nothing when no module has any.
fn overridden(report: &BuildReport) -> Option<String> {
    let sum = |f: fn(&OverrideSites) -> u64| {
        let counts = report.modules.iter().map(|module| f(&module.sites.r#override));
        counts.fold(0, u64::saturating_add)
    };
    let listed = sum(|sites| sites.listed);
    let applied = grouped(sum(|sites| sites.applied));
    let mut out = format!("{applied} of {} of overridden functions re-pointed", count(listed, "call"));
    for (number, what) in [
        (sum(|sites| sites.out_of_reach), "of them to the copy of the kernel's page after the module"),
        (sum(|sites| sites.assumed), "by an assumption about the processor"),
        (sum(|sites| sites.not_applied), "unlike memory as linked"),
        (sum(|sites| sites.unexpected_bytes), "with unexpected bytes"),
    ] {
        if number > 0 {
            let _ = write!(out, ", {} {what}", grouped(number));
        }
    }
    (listed > 0).then_some(out)
}

/// The calls of overridden functions, module by module: for those who want to know. Empty when there are none.
pub fn overridden_modules(report: &BuildReport, width: usize) -> String {
    let headings = ["module", "overridden calls", "re-pointed", "out of reach", "assumed", "as linked"];
    let mut table = Table::new(&headings, &[1, 2, 3, 4, 5]).wrapping(&[0]);
    let mut is_empty = true;
    for module in report.modules.iter().filter(|module| module.sites.r#override.listed > 0) {
        let sites = &module.sites.r#override;
        let counts = [sites.listed, sites.applied, sites.out_of_reach, sites.assumed, sites.as_linked].map(grouped);
        let [listed, applied, out_of_reach, assumed, as_linked] = counts;
        table.row([module.name.clone(), listed, applied, out_of_reach, assumed, as_linked]);
        is_empty = false;
    }
    if is_empty { String::new() } else { table.render(2, width) }
}

fn sites(report: &BuildReport) -> String {
    let sum = |f: fn(&BuiltModule) -> u64| report.modules.iter().map(f).fold(0, u64::saturating_add);
    let listed = sum(|m| m.sites.import.listed);
    if listed == 0 {
        return "no call site listed".to_owned();
    }
    let mut sites = format!(
        "{} of {} rewritten as direct",
        grouped(sum(|m| m.sites.import.optimized)),
        count(listed, "call site"),
    );
    for (number, why) in [
        (sum(|m| m.sites.import.unbound), "unbound"),
        (sum(|m| m.sites.import.out_of_range), "out of range"),
        (sum(|m| m.sites.import.no_index), "without a slot"),
        (sum(|m| m.sites.import.unexpected_bytes), "with unexpected bytes"),
    ] {
        if number > 0 {
            let _ = write!(sites, ", {} {why}", grouped(number));
        }
    }
    sites
}
