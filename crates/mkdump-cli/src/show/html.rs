//! A report as one HTML page that needs nothing else: no network, no fonts, no images. What it shows is plain values, so
//! that a test can build any page by hand; text from traces and files is escaped wherever it stands.

mod map;
mod tables;
mod text;

use std::fmt::{self, Write};

use mkdump::report::{BuildReport, ModeReport, OsReport, Status};

use text::{Grouped, Size, Text};

/// A page's contents.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Name of the trace or dump that the modules are from.
    pub source: String,
    /// Name of the file that was written.
    pub output: String,
    /// What it is, in words: `user minidump`.
    pub format: String,
    /// Its size.
    pub bytes: u64,
    /// What is known of the machine and the recording, as name and value.
    pub facts: Vec<(String, String)>,
    /// What was assumed of load-time changes, and why.
    pub choices: Vec<Choice>,
    /// Modules in any order.
    pub modules: Vec<Module>,
    /// True when there was Intel PT data: then modules without hits are shown as cold, and not as unknown.
    pub has_ipt: bool,
    /// Pages outside of all modules that Intel PT packets name: address and hits.
    pub unknown: Vec<(u64, u64)>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
    /// What to do next: a description and the line to type.
    pub next: Vec<(String, String)>,
}

/// A load-time change, whether it was applied, and the reason.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `import optimization`.
    pub name: String,
    /// `on`.
    pub mode: String,
    /// A sentence.
    pub reason: String,
}

/// A module of the page.
#[derive(Clone, Debug)]
pub struct Module {
    /// File name.
    pub name: String,
    /// First address.
    pub base: u64,
    /// SizeOfImage.
    pub size: u64,
    /// In the dump or not.
    pub status: Status,
    /// Why not, or what to know.
    pub reason: Option<String>,
    /// The file that its bytes are from.
    pub file: Option<String>,
    /// The symbol server's key.
    pub key: Option<String>,
    /// Bytes of it in the dump.
    pub included: u64,
    /// Import call sites.
    pub sites: Sites,
    /// Hits of Intel PT packets by 4 KiB page: the page's number in the module, and how many.
    pub heat: Vec<(u64, u64)>,
}

/// Import call sites of a module, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// Rewritten as direct calls.
    pub optimized: u64,
    /// Left as calls through the import address table.
    pub indirect: u64,
}

impl Module {
    fn hits(&self) -> u64 {
        sum(self.heat.iter().map(|page| page.1))
    }
}

/// The page of a build, as far as its report goes: what to do next is for the caller to add.
impl From<&BuildReport> for Page {
    fn from(report: &BuildReport) -> Self {
        let source = &report.source;
        let OsReport { major, minor, build, revision } = source.os;
        let revision = revision.map_or_else(String::new, |revision| format!(".{revision}"));
        let mut facts = vec![("Windows".to_owned(), format!("{major}.{minor}.{build}{revision}"))];
        let mut fact = |name: &str, value: Option<String>| facts.extend(value.map(|value| (name.to_owned(), value)));
        fact("Processors", source.processors.map(|count| count.to_string()));
        fact("Recorded", source.start.clone());
        fact("Covers", source.duration.map(|seconds| format!("{seconds:.1} s")));
        fact("Events", (source.events > 0).then(|| format!("{}, {} lost", Grouped(source.events), source.events_lost)));
        if !report.shortcomings.is_empty() {
            facts.push(("Not complete".to_owned(), report.shortcomings.join("; ")));
        }
        let choice = |name: &str, mode: &ModeReport| Choice {
            name: name.to_owned(),
            mode: mode.mode.to_owned(),
            reason: mode.reason.clone(),
        };
        let heat = report.heat.clone().unwrap_or_default();
        if report.heat.is_some() {
            let snapshots = format!("{} snapshots, {}", Grouped(heat.snapshots), Size(heat.bytes));
            facts.push(("Intel PT".to_owned(), snapshots));
        }
        let mut heats = heat.modules.into_iter();
        let modules = report.modules.iter().map(|module| (module, heats.next().unwrap_or_default()));
        let modules = modules.map(|(module, heat)| Module {
            name: module.name.clone(),
            base: module.base.0,
            size: module.size.0,
            status: module.status,
            reason: module.reason.clone(),
            file: module.file.clone(),
            key: module.image_key.clone(),
            included: sum(module.ranges.iter().map(|[start, end]| end.0.saturating_sub(start.0))),
            sites: Sites {
                optimized: module.sites.import.optimized,
                indirect: module.sites.import.listed.saturating_sub(module.sites.import.optimized),
            },
            heat: heat.pages,
        });
        Self {
            source: source.name.clone(),
            output: report.output.clone(),
            format: super::summary::format(report.format).to_owned(),
            bytes: report.bytes,
            facts,
            choices: vec![
                choice("Import optimization", &report.import_optimization),
                choice("Retpoline", &report.retpoline),
            ],
            modules: modules.collect(),
            has_ipt: report.heat.is_some(),
            unknown: heat.unknown,
            warnings: report.warnings.clone(),
            next: Vec::new(),
        }
    }
}

/// The page.
pub fn render(page: &Page) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, page);
    out
}

fn write_page(out: &mut String, page: &Page) -> fmt::Result {
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{} · mkdump</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>",
        Text(&page.output),
        include_str!("html/page.css"),
    )?;
    header(out, page)?;
    tiles(out, page)?;
    next(out, page)?;
    map::section(out, page)?;
    heat(out, page)?;
    tables::absent(out, page)?;
    tables::table(out, page)?;
    tables::unknown(out, page)?;
    tables::warnings(out, page)?;
    writeln!(
        out,
        "<footer>Addresses are hexadecimal. The page is complete in itself and loads nothing.</footer>\n\
         </main>\n<script>\n{}</script>\n</body>\n</html>",
        include_str!("html/page.js")
    )
}

fn header(out: &mut String, page: &Page) -> fmt::Result {
    write!(
        out,
        "<header>\n<p class=\"kicker\">mkdump report</p>\n<h1>{}</h1>\n<p class=\"lead\">{}, {}, made from <b>{}</b></p>\n<dl class=\"facts\">",
        Text(&page.output),
        Text(&page.format),
        Size(page.bytes),
        Text(&page.source)
    )?;
    for (name, value) in &page.facts {
        write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", Text(name), Text(value))?;
    }
    out.write_str("</dl>\n</header>\n")
}

fn tiles(out: &mut String, page: &Page) -> fmt::Result {
    let count = |status| page.modules.iter().filter(|module| module.status == status).count() as u64;
    let [included, missing, mismatch, excluded] =
        [Status::Included, Status::Missing, Status::Mismatch, Status::Excluded].map(count);
    let total = page.modules.len() as u64;
    out.write_str("<section class=\"tiles\">\n")?;
    write!(
        out,
        "<div class=\"tile\"><h2>Modules in the dump</h2><p class=\"big\">{included} <small>of {total}</small></p>"
    )?;
    bar(out, &[("included", included), ("missing", missing), ("mismatch", mismatch), ("excluded", excluded)])?;
    writeln!(out, "<p>{missing} missing, {mismatch} of another build, {excluded} left out</p></div>")?;
    let bytes = sum(page.modules.iter().map(|module| module.included));
    let mapped = sum(page.modules.iter().map(|module| module.size));
    write!(out, "<div class=\"tile\"><h2>Memory in the dump</h2><p class=\"big\">{}</p>", Size(bytes))?;
    bar(out, &[("included", bytes), ("excluded", mapped.saturating_sub(bytes))])?;
    writeln!(out, "<p>of {} that the modules span</p></div>", Size(mapped))?;
    let optimized = sum(page.modules.iter().map(|module| module.sites.optimized));
    let indirect = sum(page.modules.iter().map(|module| module.sites.indirect));
    write!(out, "<div class=\"tile\"><h2>Import calls made direct</h2><p class=\"big\">{}", Grouped(optimized))?;
    write!(out, " <small>of {}</small></p>", Grouped(optimized.saturating_add(indirect)))?;
    bar(out, &[("direct", optimized), ("indirect", indirect)])?;
    writeln!(out, "<p>{} stay indirect</p></div>", Grouped(indirect))?;
    if page.has_ipt {
        let hits = sum(page.modules.iter().map(Module::hits));
        let unknown = sum(page.unknown.iter().map(|found| found.1));
        let touched = page.modules.iter().filter(|module| !module.heat.is_empty()).count();
        write!(
            out,
            "<div class=\"tile\"><h2>Intel PT addresses</h2><p class=\"big\">{}</p>",
            Grouped(hits.saturating_add(unknown))
        )?;
        bar(out, &[("hot", hits), ("missing", unknown)])?;
        writeln!(out, "<p>in {touched} modules; {} in none</p></div>", Grouped(unknown))?;
    }
    out.write_str("</section>\n<section class=\"choices\">\n")?;
    for choice in &page.choices {
        writeln!(
            out,
            "<p><b>{}</b> <span class=\"mode\">{}</span> {}</p>",
            Text(&choice.name),
            Text(&choice.mode),
            Text(&choice.reason)
        )?;
    }
    out.write_str("</section>\n")
}

/// Parts of a whole as a bar; parts of 0 do not show.
fn bar(out: &mut String, parts: &[(&str, u64)]) -> fmt::Result {
    let total = sum(parts.iter().map(|part| part.1)).max(1) as f64;
    out.write_str("<div class=\"bar\">")?;
    for (class, part) in parts.iter().filter(|part| part.1 > 0) {
        write!(out, "<i class=\"{class}\" style=\"width:{:.2}%\"></i>", *part as f64 / total * 100.0)?;
    }
    out.write_str("</div>")
}

fn next(out: &mut String, page: &Page) -> fmt::Result {
    if page.next.is_empty() {
        return Ok(());
    }
    out.write_str("<section>\n<h2>Next</h2>\n<dl class=\"next\">")?;
    for (what, line) in &page.next {
        write!(out, "<dt>{}</dt><dd><code>{}</code></dd>", Text(what), Text(line))?;
    }
    out.write_str("</dl>\n</section>\n")
}

/// The most touched modules, one strip each, with their hits where they fall.
fn heat(out: &mut String, page: &Page) -> fmt::Result {
    /// More are in the table.
    const MOST: usize = 16;
    const BINS: u64 = 160;
    let mut modules: Vec<&Module> = page.modules.iter().filter(|module| !module.heat.is_empty()).collect();
    if modules.is_empty() {
        return Ok(());
    }
    modules.sort_by_key(|module| (std::cmp::Reverse(module.hits()), module.base));
    write!(
        out,
        "<section>\n<h2>Where Intel PT was</h2>\n<p class=\"note\">{} Each strip is a module from its first to its last byte; \
         the warmer, the more packets name an address there, on a logarithmic scale common to all.</p>\n<div class=\"heat\">",
        if modules.len() > MOST {
            format!("The {MOST} modules with the most hits of {}.", modules.len())
        } else {
            "The modules that packets name.".to_owned()
        }
    )?;
    modules.truncate(MOST);
    let binned: Vec<Vec<u64>> = modules
        .iter()
        .map(|module| {
            let pages = module.size.div_ceil(0x1000).max(1);
            let mut bins = vec![0; BINS.min(pages) as usize];
            for (page, hits) in &module.heat {
                let bin = u128::from((*page).min(pages - 1)) * bins.len() as u128 / u128::from(pages);
                bins[bin as usize] = sum([bins[bin as usize], *hits]);
            }
            bins
        })
        .collect();
    let most = binned.iter().flatten().copied().max().unwrap_or(1);
    for (module, bins) in modules.iter().zip(binned) {
        write!(
            out,
            "<span class=\"name\">{}</span><svg viewBox=\"0 0 {} 10\" preserveAspectRatio=\"none\" class=\"strip {}\" role=\"img\"><title>{}: {} hits</title>",
            Text(&module.name),
            bins.len(),
            class(module.status),
            Text(&module.name),
            Grouped(module.hits())
        )?;
        for (at, hits) in bins.iter().enumerate().filter(|bin| *bin.1 > 0) {
            write!(out, "<rect x=\"{at}\" width=\"1.05\" height=\"10\" class=\"h{}\"/>", warmth(*hits, most))?;
        }
        write!(out, "</svg><span class=\"count\">{}</span>", Grouped(module.hits()))?;
    }
    out.write_str("</div>\n</section>\n")
}

/// 1 to 6 on a logarithmic scale.
fn warmth(hits: u64, most: u64) -> u32 {
    let log = |value: u64| (value.max(1) as f64).ln();
    1 + (log(hits) / log(most).max(0.1) * 5.0).round().clamp(0.0, 5.0) as u32
}

/// A total. The numbers are counts from untrusted files: too large a total stays at the greatest number.
fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

/// A status as the style sheet names it.
fn class(status: Status) -> &'static str {
    match status {
        Status::Included => "included",
        Status::Missing => "missing",
        Status::Mismatch => "mismatch",
        Status::Excluded => "excluded",
    }
}

/// A status for people.
fn word(status: Status) -> &'static str {
    match status {
        Status::Included => "in the dump",
        Status::Missing => "missing",
        Status::Mismatch => "another build",
        Status::Excluded => "left out",
    }
}

#[cfg(test)]
mod tests;
