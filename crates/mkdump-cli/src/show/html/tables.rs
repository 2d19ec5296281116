//! Lists and tables: what is missing, every module, addresses in none, warnings.

use std::fmt::{self, Write};

use mkdump::report::Status;

use super::text::{Address, Grouped, Size, Text};
use super::{Module, Page, Sites, bar, class, word};

pub(super) fn absent(out: &mut String, page: &Page) -> fmt::Result {
    let mut modules: Vec<&Module> =
        page.modules.iter().filter(|module| matches!(module.status, Status::Missing | Status::Mismatch)).collect();
    if modules.is_empty() {
        return Ok(());
    }
    modules.sort_by_key(|module| (std::cmp::Reverse(module.hits()), module.base));
    out.write_str("<section>\n<h2>Not in the dump</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>Module<th>Base<th>Key<th class=\"n\">Hits<th>Why</tr></thead>\n<tbody>\n")?;
    for module in modules {
        writeln!(
            out,
            "<tr><td><span class=\"dot {}\"></span>{}<td class=\"mono\">{}<td class=\"mono\">{}<td class=\"n\">{}<td>{}</tr>",
            class(module.status),
            Text(&module.name),
            Address(module.base),
            Text(module.key.as_deref().unwrap_or("not known")),
            Hits(module),
            Text(module.reason.as_deref().unwrap_or(word(module.status)))
        )?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

pub(super) fn table(out: &mut String, page: &Page) -> fmt::Result {
    let mut modules: Vec<&Module> = page.modules.iter().collect();
    modules.sort_by_key(|module| module.base);
    let ipt = if page.has_ipt { "<th class=\"n\">Hits" } else { "" };
    writeln!(
        out,
        "<section>\n<h2>Modules</h2>\n<p class=\"filter\"><label>Show <input id=\"filter\" type=\"search\" placeholder=\"name, status or file\"></label> \
         <span class=\"note\">A click on a heading sorts.</span></p>\n<div class=\"scroll\"><table id=\"modules\">\n\
         <thead><tr><th>Module<th>Base<th class=\"n\">Size<th class=\"n\">In the dump<th class=\"sites\">Import calls, direct / indirect{ipt}<th>File</tr></thead>\n<tbody>"
    )?;
    for module in modules {
        write!(
            out,
            "<tr><td><span class=\"dot {0}\" title=\"{1}\"></span>{2}<td class=\"mono\">{3}<td class=\"n\" data-v=\"{4}\">{5}",
            class(module.status),
            word(module.status),
            Text(&module.name),
            Address(module.base),
            module.size,
            Size(module.size)
        )?;
        if module.status == Status::Included {
            write!(out, "<td class=\"n\" data-v=\"{}\">{}", module.included, Size(module.included))?;
        } else {
            let (class, word) = (class(module.status), word(module.status));
            write!(out, "<td class=\"n\" data-v=\"0\"><em class=\"{class}\">{word}</em>")?;
        }
        let Sites { optimized, indirect } = module.sites;
        write!(out, "<td class=\"sites\" data-v=\"{}\">", optimized.saturating_add(indirect))?;
        if (optimized, indirect) != (0, 0) {
            bar(out, &[("direct", optimized), ("indirect", indirect)])?;
            write!(out, "<span>{} / {}</span>", Grouped(optimized), Grouped(indirect))?;
        }
        if page.has_ipt {
            write!(out, "<td class=\"n\" data-v=\"{}\">{}", module.hits(), Hits(module))?;
        }
        let file = module.file.as_deref().or(module.reason.as_deref()).unwrap_or_default();
        writeln!(out, "<td class=\"file\">{}</tr>", Text(file))?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

pub(super) fn unknown(out: &mut String, page: &Page) -> fmt::Result {
    /// The rest is counted.
    const MOST: usize = 40;
    if page.unknown.is_empty() {
        return Ok(());
    }
    let mut pages = page.unknown.clone();
    pages.sort_by_key(|&(address, hits)| (std::cmp::Reverse(hits), address));
    write!(
        out,
        "<section>\n<h2>Addresses in no module</h2>\n<p class=\"note\">Pages that Intel PT packets name and no module of the \
         source covers{}.</p>\n<ul class=\"pages\">",
        if pages.len() > MOST { format!(": the {MOST} with the most hits of {}", pages.len()) } else { String::new() }
    )?;
    for (address, hits) in pages.iter().take(MOST) {
        write!(out, "<li><code>{}</code> {}</li>", Address(*address), Grouped(*hits))?;
    }
    out.write_str("</ul>\n</section>\n")
}

pub(super) fn warnings(out: &mut String, page: &Page) -> fmt::Result {
    if page.warnings.is_empty() {
        return Ok(());
    }
    write!(out, "<section>\n<h2>Warnings</h2>\n<ul class=\"warnings\">")?;
    for warning in &page.warnings {
        write!(out, "<li>{}</li>", Text(warning))?;
    }
    out.write_str("</ul>\n</section>\n")
}

/// Hits of a module; nothing when there are none.
struct Hits<'a>(&'a Module);

impl fmt::Display for Hits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.hits() {
            0 => Ok(()),
            hits => write!(f, "{}", Grouped(hits)),
        }
    }
}
