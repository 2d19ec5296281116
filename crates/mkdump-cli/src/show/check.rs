//! The report of `mkdump check` as text.

use std::fmt::Write;

use mkdump::check::{
    CheckReport, Class, CommonModule, ComparisonReport, Differences, DumpReport, OnOff, OtherForms, ProvenanceReport,
    Relation, SeverityReport, SitesFound, ValidationReport, Verdict,
};

use super::summary::labelled;
use super::table::Table;
use super::text::{address, count, dump_kind, grouped, printable, size};

/// The whole report in lines of `width` columns, with notes when `verbose`.
pub fn report(report: &CheckReport, verbose: bool, width: usize) -> String {
    let mut out = Lines { text: String::new(), width };
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
    out.text
}

/// The report in the making.
struct Lines {
    text: String,
    width: usize,
}

fn line(out: &mut Lines, label: &str, text: &str) {
    out.text += &labelled(label, text, out.width);
}

fn dump(dump: &DumpReport) -> String {
    let kind = dump.kind.map_or("cannot be opened", dump_kind);
    let system = dump.other_system.iter().map(|system| format!(" of {}", printable(system))).collect::<String>();
    format!("{}: {kind}{system}, {}, {}", printable(&dump.name), size(dump.bytes), count(dump.modules, "module"))
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

fn made(out: &mut Lines, made: &ProvenanceReport) {
    let text =
        format!("{} from {} (SHA-256 {}), {}", made.tool, made.source, made.source_sha256, files(made.files.len()));
    line(out, "made by", &printable(&text));
    let known = [("import optimization", &made.import_optimization), ("retpoline", &made.retpoline)];
    let overrides = made.function_overrides.iter().map(|assumed| ("function overrides", assumed));
    for (what, assumed) in known.into_iter().chain(overrides) {
        line(out, "", &printable(&format!("{what} {}: {}", assumed.mode, assumed.reason)));
    }
}

fn files(number: usize) -> String {
    count(number as u64, "module file")
}

fn rules(out: &mut Lines, validation: &ValidationReport, verbose: bool) {
    let of = |severity| validation.findings.iter().filter(move |finding| finding.severity == severity).count();
    let (refused, degraded, notes) =
        (of(SeverityReport::Refused), of(SeverityReport::Degraded), of(SeverityReport::Note));
    let mut parts = Vec::new();
    for (number, cost) in
        [(refused, "that make a reader refuse the dump"), (degraded, "that a reader has a disadvantage from")]
    {
        if number > 0 {
            parts.push(format!("{} {cost}", count(number as u64, "finding")));
        }
    }
    let mut text = if parts.is_empty() { "no rule is broken".to_owned() } else { parts.join(", ") };
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

fn compared(out: &mut Lines, comparison: &ComparisonReport, verbose: bool) {
    line(out, "against", &dump(&comparison.against));
    line(out, "", &sites(&comparison.against.sites));
    let shown = [("import optimization", &comparison.import_optimization), ("retpoline", &comparison.retpoline)];
    for (what, shown) in shown.iter().filter_map(|(what, shown)| Some((what, shown.as_ref()?))) {
        line(out, "", &printable(&format!("{what} {}: {}", shown.mode, shown.reason)));
    }
    let totals = &comparison.totals;
    let others = comparison.others.len();
    let text =
        format!("{} in both, {} in one or not the same", count(totals.modules, "module"), grouped(others as u64));
    line(out, "modules", &text);
    let text = format!("{} held by both, {} differ", count(totals.bytes, "byte"), grouped(totals.differing));
    line(out, "bytes", &text);
    let shown: Vec<_> = comparison.modules.iter().filter(|module| module.bytes > 0).collect();
    if !shown.is_empty() {
        let mut table =
            Table::new(&["module", "base", "both hold", "differ", "file", "why"], &[2, 3]).wrapping(&[0, 5]);
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
        let _ = write!(out.text, "\n{}\n", table.render(2, out.width));
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
fn listed(out: &mut Lines, module: &CommonModule, verbose: bool) {
    let wanted = |class| verbose || class == Class::Unexplained;
    let mut table = Table::new(&["place", "address", "bytes", "here", "there", "why"], &[2]).wrapping(&[0, 3, 4, 5]);
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
        let _ = writeln!(out.text, "{}", table.render(2, out.width));
    }
    if module.omitted > 0 && any {
        let _ = writeln!(out.text, "  {} more of {} not listed\n", grouped(module.omitted), printable(&module.name));
    }
    if let Some(note) = module.note.as_ref().filter(|_| any || module.differing > 0) {
        let _ = writeln!(out.text, "  {}: {}\n", printable(&module.name), printable(note));
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
    let comparison = report.comparison.as_ref();
    let verdict = report.verdict();
    if verdict == Verdict::NothingInCommon {
        return "nothing in common: the dumps hold no byte of the same module".into();
    }
    let mut parts = vec![if verdict == Verdict::Broken { "a rule is broken" } else { "no rule is broken" }.to_owned()];
    if let Some(comparison) = comparison {
        let unexplained = comparison.totals.differences.unexplained;
        let forms = &comparison.other_forms;
        if unexplained.bytes > 0 {
            let (bytes, places) = (count(unexplained.bytes, "byte"), count(unexplained.places, "place"));
            parts.push(format!("{bytes} at {places} unexplained"));
        }
        if forms.sites() > 0 {
            parts.push(other_forms(forms));
        }
        if unexplained.bytes == 0 && forms.sites() == 0 {
            parts.push("every difference is explained".into());
        }
        parts.extend(comparison.relation.map(|relation| relation_of(relation).to_owned()));
    }
    parts.join("; ")
}

/// Why a comparison proves nothing.
fn relation_of(relation: Relation) -> &'static str {
    match relation {
        Relation::SameFile => "this proves nothing, because both are the same file",
        Relation::MadeFromOther => {
            "this proves nothing, because the dump was made from the other one and holds its bytes; compare it with a \
             dump that it was not made from"
        }
        Relation::SourceOfOther => {
            "this proves nothing, because the other dump was made from this one and holds its bytes"
        }
    }
}

/// What sites in another form mean, and how to build a dump that has the right one.
fn other_forms(forms: &OtherForms) -> String {
    let have = if forms.sites() == 1 { "has" } else { "have" };
    let mut text = format!("{} {have} another form than in the other dump", count(forms.sites(), "site"));
    let wanted = [("--import-optimization", forms.import_optimization), ("--retpoline", forms.retpoline)];
    let options: Vec<_> = wanted
        .into_iter()
        .filter_map(|(option, wanted)| match wanted? {
            OnOff::On => Some(format!("{option} on")),
            OnOff::Off => Some(format!("{option} off")),
        })
        .collect();
    if options.is_empty() {
        text += "; no option gives these forms: they differ from site to site, or are those of Driver Verifier";
    } else {
        let _ = write!(text, ": rebuild with {}", options.join(" "));
    }
    text
}
