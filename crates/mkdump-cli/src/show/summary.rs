//! What a person reads after a build: a few lines at a glance, then what is missing, then what to type next.

use std::fmt::Write;
use std::path::Path;

use mkdump::report::{BuildReport, BuiltModule, ModeReport, Status};
use mkdump::snapshot::{Architecture, Machine};

use super::next::Next;
use super::text::{CYAN, GREEN, Table, YELLOW, address, count, grouped, paint, printable, size, source};
use crate::args::TalkArgs;

/// The summary, without what to do next.
pub fn build(report: &BuildReport, machine: &Machine, page: Option<&Path>, talk: TalkArgs) -> String {
    let mut out = String::new();
    let mut line = |label: &str, text: String| {
        let _ = writeln!(out, "  {label:<10} {text}");
    };
    let what = if report.source.kind == "etl" { "trace" } else { "dump" };
    line(what, format!("{}: {}", printable(&report.source.name), source(&report.source)));
    line("machine", self::machine(machine));
    line("modules", modules(report, talk));
    line("imports", mode("import optimization", &report.import_optimization));
    line("", sites(report));
    line("retpoline", mode("", &report.retpoline));
    let ranges: usize = report.modules.iter().map(|module| module.ranges.len()).sum();
    let ranges = count(ranges as u64, "memory range");
    line(
        "wrote",
        format!("{}: {}, {}, {ranges}", printable(&report.output), format(report.format), size(report.bytes)),
    );
    if let Some(page) = page {
        line("page", printable(&page.to_string_lossy()));
    }
    let absent = absent(report);
    if !absent.is_empty() {
        let _ = write!(out, "\n{absent}");
    }
    out
}

/// What to type next, one line each.
pub fn next(next: &[Next], talk: TalkArgs) -> String {
    let width = next.iter().map(|next| next.what.len()).max().unwrap_or(0);
    let mut out = String::new();
    for Next { what, line } in next {
        let _ = writeln!(out, "  {what:<width$}  {}", paint(&printable(line), CYAN, talk));
    }
    if out.is_empty() { out } else { format!("\nNext:\n{out}") }
}

/// Every module with the file that it came from: for those who want to know.
pub fn built_modules(report: &BuildReport) -> String {
    let mut table = Table::new(&["base", "module", "sites", "relocations", "file, or why not"], &[2, 3]);
    for module in &report.modules {
        let import = &module.sites.import;
        table.row([
            address(module.base.0),
            module.name.clone(),
            format!("{}/{}", grouped(import.optimized), grouped(import.listed)),
            grouped(module.relocations),
            match (module.status, &module.file, &module.reason) {
                (Status::Included, Some(file), None) => file.clone(),
                (Status::Included, Some(file), Some(reason)) => format!("{file} ({reason})"),
                (status, _, reason) => format!("{status:?}: {}", reason.as_deref().unwrap_or_default()).to_lowercase(),
            },
        ]);
    }
    table.render(2)
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

/// The modules that should be in the dump and are not.
fn absent(report: &BuildReport) -> String {
    let with = |status| report.modules.iter().filter(move |module| module.status == status);
    let mut table = Table::new(&["not in the dump", "base", "key", "why"], &[]);
    let mut any = false;
    for module in with(Status::Missing).chain(with(Status::Mismatch)) {
        any = true;
        table.row([
            module.name.clone(),
            address(module.base.0),
            module.image_key.clone().unwrap_or_else(|| "?".into()),
            module.reason.clone().unwrap_or_default(),
        ]);
    }
    if any { table.render(2) } else { String::new() }
}
