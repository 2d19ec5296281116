//! The top of the page: what was written, whether it is of use, what to do next.

use std::fmt::{self, Write};

use mkdump::report::Status;

use super::text::{Grouped, Size, Text};
use super::{Module, Page, bar, intel_pt, sum};
use crate::show::text;

pub(super) fn header(out: &mut String, page: &Page) -> fmt::Result {
    write!(
        out,
        "<header>\n<p class=\"kicker\">mkdump report</p>\n<h1>{}</h1>\n<p class=\"lead\">{}, {}, made from <b>{}</b></p>\n",
        Text(&page.output),
        Text(&page.format),
        Size(page.bytes),
        Text(&page.source)
    )?;
    out.write_str(
        "<p class=\"search\"><label for=\"filter\">Find</label> <input id=\"filter\" type=\"search\" placeholder=\"module, status, \
         key, file, thread\" autocomplete=\"off\"> <span class=\"note\" id=\"left\" aria-live=\"polite\"></span></p>\n</header>\n",
    )
}

/// What a reader needs first: is the dump complete, what is missing most, what was assumed.
pub(super) fn verdict(out: &mut String, page: &Page) -> fmt::Result {
    let with = |status| page.modules.iter().filter(|module| module.status == status).count() as u64;
    let included = with(Status::Included);
    let absent = with(Status::Missing) + with(Status::Mismatch);
    let wanted = included + absent;
    let (class, headline) = match (included, absent) {
        (0, _) => ("bad", "None of the module files was found, so the dump contains no code.".to_owned()),
        (_, 0) => ("good", format!("Complete: the code of all {} is in the dump.", text::count(wanted, "module"))),
        (_, 1) => {
            ("part", format!("{} of {} modules are in the dump; 1 is missing.", Grouped(included), Grouped(wanted)))
        }
        _ => {
            let (included, wanted, absent) = (Grouped(included), Grouped(wanted), Grouped(absent));
            ("part", format!("{included} of {wanted} modules are in the dump; {absent} are missing."))
        }
    };
    write!(out, "<section class=\"verdict {class}\" id=\"verdict\">\n<h2>{headline}</h2>\n<ul>")?;
    if let Some(doubt) = page.quality.as_ref().and_then(|quality| quality.doubt.as_ref()) {
        write!(out, "<li class=\"doubt\"><b>Intel PT data not reliable</b>: {}</li>", Text(doubt))?;
    }
    if page.has_ipt {
        covered(out, page)?;
    }
    for choice in &page.choices {
        write!(
            out,
            "<li><b>{}</b> <span class=\"mode\">{}</span> {}</li>",
            Text(&choice.name),
            Text(&choice.mode),
            Text(&choice.reason)
        )?;
    }
    if !page.shortcomings.is_empty() {
        write!(out, "<li>Not complete: {}</li>", Text(&page.shortcomings.join("; ")))?;
    }
    if !page.warnings.is_empty() {
        write!(out, "<li><a href=\"#warnings\">{}</a></li>", text::count(page.warnings.len() as u64, "warning"))?;
    }
    out.write_str("</ul>\n</section>\n")
}

/// How much of the Intel PT data the dump has code for.
fn covered(out: &mut String, page: &Page) -> fmt::Result {
    let hits = |chosen: &dyn Fn(&&Module) -> bool| sum(page.modules.iter().filter(chosen).map(Module::hits));
    let inside = hits(&|module| module.status == Status::Included);
    let all = sum([hits(&|_| true), sum(page.unknown.iter().map(|found| found.1))]);
    if all == 0 {
        return out.write_str("<li>The Intel PT data names no address.</li>");
    }
    let share = (u128::from(inside) * 1000 / u128::from(all)) as f64 / 10.0;
    write!(out, "<li>{share}% of {} lie in modules of the dump.", text::count(all, "packet address"))?;
    let missed = page.modules.iter().filter(|module| module.is_absent() && module.hits() > 0);
    if let Some(most) = missed.max_by_key(|module| module.hits()) {
        write!(out, " Most are missed in {} ({}).", Text(&most.name), Grouped(most.hits()))?;
    }
    out.write_str("</li>")
}

pub(super) fn next(out: &mut String, page: &Page) -> fmt::Result {
    if page.next.is_empty() {
        return Ok(());
    }
    out.write_str("<section id=\"next\">\n<h2>Next</h2>\n<dl class=\"next\">")?;
    for (what, line) in &page.next {
        write!(
            out,
            "<dt>{}</dt><dd><code>{}</code><button type=\"button\" class=\"copy\">Copy</button></dd>",
            Text(what),
            Text(line)
        )?;
    }
    out.write_str("</dl>\n</section>\n")
}

/// Numbers at a glance.
pub(super) fn tiles(out: &mut String, page: &Page) -> fmt::Result {
    let count = |status| page.modules.iter().filter(|module| module.status == status).count() as u64;
    let [included, missing, mismatch, excluded] =
        [Status::Included, Status::Missing, Status::Mismatch, Status::Excluded].map(count);
    let total = page.modules.len() as u64;
    out.write_str("<section class=\"tiles\">\n")?;
    write!(
        out,
        "<div class=\"tile\"><h2>Modules</h2><p class=\"big\">{} <small>of {}</small></p>",
        Grouped(included),
        Grouped(total)
    )?;
    bar(out, &[("included", included), ("missing", missing), ("mismatch", mismatch), ("excluded", excluded)])?;
    let parts = [(missing, "missing"), (mismatch, "of another build"), (excluded, "left out")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts.map(|(number, what)| format!("{} {what}", text::grouped(*number))).collect();
    writeln!(out, "<p>{}</p></div>", if parts.is_empty() { "all in the dump".to_owned() } else { parts.join(", ") })?;
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
        let all = hits.saturating_add(unknown);
        write!(out, "<div class=\"tile\"><h2>Packet addresses</h2><p class=\"big\">{}</p>", Grouped(all))?;
        bar(out, &[("hot", hits), ("missing", unknown)])?;
        writeln!(out, "<p>in {}; {} in none</p></div>", text::count(touched as u64, "module"), Grouped(unknown))?;
    }
    intel_pt::quality_tile(out, page)?;
    out.write_str("</section>\n")
}

/// What is known of the machine and the recording, and by what the files can be told.
pub(super) fn facts(out: &mut String, page: &Page) -> fmt::Result {
    out.write_str("<section id=\"facts\">\n<h2>Source</h2>\n<dl class=\"facts\">")?;
    for (name, value) in &page.facts {
        write!(out, "<div><dt>{}</dt><dd>{}</dd></div>", Text(name), Text(value))?;
    }
    for (name, hash) in &page.hashes {
        write!(
            out,
            "<div><dt>SHA-256 of {}</dt><dd><code>{}</code><button type=\"button\" class=\"copy\">Copy</button></dd></div>",
            Text(name),
            Text(hash)
        )?;
    }
    out.write_str("</dl>\n</section>\n")
}
