//! The report of `mkdump check` as text.

use std::fmt::Write;

use mkdump::check::{
    CheckReport, Class, CommonModule, ComparisonReport, Differences, DumpReport, ProvenanceReport, SeverityReport,
    SitesFound, ValidationReport, Verdict,
};

use super::text::{Table, address, count, grouped, printable, size};

/// The whole report. Notes are told when `verbose`.
pub fn report(report: &CheckReport, verbose: bool) -> String {
    let mut out = String::new();
    line(&mut out, "dump", &dump(&report.dump));
    line(&mut out, "sites", &sites(&report.dump.sites));
    if let Some(provenance) = &report.provenance {
        made(&mut out, provenance);
    } else {
        for comment in &report.comments {
            line(&mut out, "comment", &printable(comment));
        }
    }
    rules(&mut out, &report.validation, verbose);
    if let Some(comparison) = &report.comparison {
        compared(&mut out, comparison, verbose);
    }
    line(&mut out, "result", &result(report));
    out
}

fn line(out: &mut String, label: &str, text: &str) {
    let _ = writeln!(out, "  {label:<10} {text}");
}

fn dump(dump: &DumpReport) -> String {
    let kind = dump.kind.unwrap_or("cannot be opened");
    format!("{}: {kind}, {}, {}", printable(&dump.name), size(dump.bytes), count(dump.modules, "module"))
}

fn sites(sites: &SitesFound) -> String {
    let named = [
        (sites.import_direct, "made direct"),
        (sites.import_linked, "as linked"),
        (sites.import_stub, "through the import stub"),
        (sites.import_register, "through r10"),
    ];
    let imports: u64 = named.iter().map(|(number, _)| number).sum();
    let parts: Vec<_> = named
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{} {what}", grouped(*number)))
        .collect();
    let mut text = count(imports, "import site");
    if !parts.is_empty() {
        let _ = write!(text, " ({})", parts.join(", "));
    }
    let _ = write!(text, ", {}", count(sites.retpoline + sites.switch, "retpoline site"));
    text
}

fn made(out: &mut String, made: &ProvenanceReport) {
    let text =
        format!("{} from {} (SHA-256 {}), {}", made.tool, made.source, made.source_sha256, files(made.files.len()));
    line(out, "made by", &printable(&text));
    for (what, assumed) in [("import optimization", &made.import_optimization), ("retpoline", &made.retpoline)] {
        line(out, "", &printable(&format!("{what} {}: {}", assumed.mode, assumed.reason)));
    }
}

fn files(number: usize) -> String {
    count(number as u64, "module file")
}

fn rules(out: &mut String, validation: &ValidationReport, verbose: bool) {
    let of = |severity| validation.findings.iter().filter(move |finding| finding.severity == severity).count();
    let (refused, degraded, notes) =
        (of(SeverityReport::Refused), of(SeverityReport::Degraded), of(SeverityReport::Note));
    let mut text = match refused + degraded {
        0 => "all kept".to_owned(),
        _ => format!("{} refuse the dump, {} lose something", places(refused), places(degraded)),
    };
    if notes > 0 {
        let _ = write!(text, "; {}", count(notes as u64, "note"));
        text += if verbose { "" } else { " (-v shows them)" };
    }
    if validation.omitted > 0 {
        let _ = write!(text, "; {} more not listed", grouped(validation.omitted));
    }
    line(out, "rules", &text);
    if let Some(limits) = &validation.limits {
        line(out, "", limits);
    }
    for finding in &validation.findings {
        if finding.severity == SeverityReport::Note && !verbose {
            continue;
        }
        let severity = match finding.severity {
            SeverityReport::Note => "note",
            SeverityReport::Degraded => "degraded",
            SeverityReport::Refused => "refused",
        };
        let readers = finding.readers.join(", ");
        let text = format!("{severity} at {:#x}: {} [{}: {readers}]", finding.offset.0, finding.message, finding.rule);
        line(out, "", &printable(&text));
    }
}

fn places(number: usize) -> String {
    format!("{} for which readers", count(number as u64, "finding"))
}

fn compared(out: &mut String, comparison: &ComparisonReport, verbose: bool) {
    line(out, "against", &dump(&comparison.against));
    line(out, "", &sites(&comparison.against.sites));
    let totals = &comparison.totals;
    let others = comparison.others.len();
    let text =
        format!("{} in both, {} in one or not the same", count(totals.modules, "module"), grouped(others as u64));
    line(out, "modules", &text);
    let text = format!("{} held by both, {} differ", count(totals.bytes, "byte"), grouped(totals.differing));
    line(out, "bytes", &text);
    let shown: Vec<_> = comparison.modules.iter().filter(|module| module.bytes > 0).collect();
    if !shown.is_empty() {
        let mut table = Table::new(&["module", "base", "both hold", "differ", "file", "why"], &[2, 3]);
        for module in &shown {
            table.row([
                module.name.clone(),
                address(module.base.0),
                grouped(module.bytes),
                grouped(module.differing),
                if module.file.is_some() { "yes" } else { "no" }.into(),
                classes(&module.differences),
            ]);
        }
        let _ = write!(out, "\n{}\n", table.render(2));
    }
    for module in shown {
        listed(out, module, verbose);
    }
}

/// The classes of a module's differences with their numbers.
fn classes(differences: &Differences) -> String {
    let parts: Vec<_> = Class::ALL
        .iter()
        .map(|&class| (class, differences.of(class)))
        .filter(|(_, count)| count.places > 0)
        .map(|(class, count)| format!("{} {}", grouped(count.places), name(class)))
        .collect();
    parts.join(", ")
}

/// A module's places that differ: all when `verbose`, else what nothing explains.
fn listed(out: &mut String, module: &CommonModule, verbose: bool) {
    let wanted = |class| verbose || class == Class::Unexplained;
    let mut table = Table::new(&["place", "address", "bytes", "here", "there", "why"], &[2]);
    let mut any = false;
    for place in module.places.iter().filter(|place| wanted(place.class)) {
        any = true;
        table.row([
            format!("{}+{:#x}", module.name, place.rva.0),
            address(place.address.0),
            grouped(place.size),
            place.dump.clone(),
            place.against.clone(),
            name(place.class).into(),
        ]);
    }
    if any {
        let _ = writeln!(out, "{}", table.render(2));
    }
    if module.omitted > 0 && any {
        let _ = writeln!(out, "  {} more of {} not listed\n", grouped(module.omitted), printable(&module.name));
    }
    if let Some(note) = module.note.as_ref().filter(|_| any || module.differing > 0) {
        let _ = writeln!(out, "  {}: {}\n", printable(&module.name), printable(note));
    }
}

fn name(class: Class) -> &'static str {
    match class {
        Class::ImportOptimized => "import sites made direct there",
        Class::ImportLinked => "import sites as linked there",
        Class::ImportStub => "import sites through the stub there",
        Class::ImportRegister => "import sites through r10 there",
        Class::RetpolineOn => "retpoline sites rewritten there",
        Class::RetpolineOff => "retpoline sites as linked there",
        Class::Relocation => "relocations",
        Class::FunctionOverride => "function overrides",
        Class::Breakpoint => "breakpoints or trace points",
        Class::LoaderData => "slots that the loader fills",
        Class::WritableData => "runs of writable data",
        Class::Unexplained => "UNEXPLAINED",
    }
}

fn result(report: &CheckReport) -> String {
    match report.verdict() {
        Verdict::Fine if report.comparison.is_some() => "every rule kept, every difference explained".into(),
        Verdict::Fine => "every rule kept".into(),
        Verdict::Broken => "a rule is broken".into(),
        Verdict::Different => {
            let unexplained = report.comparison.as_ref().map(|comparison| comparison.totals.differences.unexplained);
            let unexplained = unexplained.unwrap_or_default();
            format!("{} at {} unexplained", count(unexplained.bytes, "byte"), count(unexplained.places, "place"))
        }
        Verdict::NothingInCommon => "nothing in common: the dumps hold no byte of the same module".into(),
    }
}
