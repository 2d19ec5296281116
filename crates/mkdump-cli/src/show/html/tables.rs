//! The two tables of modules: what is missing, most costly first, and what is in the dump.

use std::cmp::Reverse;
use std::fmt::{self, Write};

use mkdump::report::Status;

use super::text::{Address, Grouped, Size, Text};
use super::{Module, Page, Sites, bar, class, word};
use crate::show::absent::rank;
use crate::show::text::count;

/// What is missing, by what it costs: packet addresses first, then the kernel and the HAL, then the size.
pub(super) fn absent(out: &mut String, page: &Page) -> fmt::Result {
    let mut modules: Vec<&Module> = page.modules.iter().filter(|module| module.is_absent()).collect();
    if modules.is_empty() {
        return Ok(());
    }
    modules.sort_by_key(|module| (Reverse(module.hits()), rank(&module.name), Reverse(module.size), module.base));
    let ipt = if page.has_ipt { "<th class=\"n\">Packet addresses" } else { "" };
    write!(
        out,
        "<section id=\"missing\">\n<h2>Missing from the dump</h2>\n<p class=\"note\">{}, the most costly first. \
         <button type=\"button\" class=\"copy\" data-from=\"absent\">Copy names and keys</button></p>\n\
         <div class=\"scroll tall\"><table id=\"absent\" class=\"sortable\">\n\
         <thead><tr><th>Module{ipt}<th class=\"n\">Size<th>Base<th>Key<th>PDB<th>Why</tr></thead>\n<tbody>\n",
        count(modules.len() as u64, "module")
    )?;
    for module in modules {
        name(out, module)?;
        if page.has_ipt {
            write!(out, "<td class=\"n\" data-v=\"{}\">{}", module.hits(), Hits(module))?;
        }
        writeln!(
            out,
            "<td class=\"n\" data-v=\"{}\">{}<td class=\"mono\">{}<td class=\"mono id\">{}<td class=\"mono pdb\">{}<td class=\"file\">{}</tr>",
            module.size,
            Size(module.size),
            Address(module.base),
            Text(module.key.as_deref().unwrap_or("not known")),
            Text(module.pdb.as_deref().unwrap_or_default()),
            Text(&why(module))
        )?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

/// Why a module is missing, in a few words where its file's version says it.
fn why(module: &Module) -> String {
    match (&module.have, &module.reason) {
        (Some(version), _) => format!("have {version}, a different build"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => word(module.status).to_owned(),
    }
}

/// What is in the dump, and what was left out of it on purpose.
pub(super) fn table(out: &mut String, page: &Page) -> fmt::Result {
    let mut modules: Vec<&Module> = page.modules.iter().filter(|module| !module.is_absent()).collect();
    if modules.is_empty() {
        return Ok(());
    }
    modules.sort_by_key(|module| module.base);
    let ipt = if page.has_ipt { "<th class=\"n\">Packet addresses" } else { "" };
    writeln!(
        out,
        "<section id=\"present\">\n<h2>Modules in the dump</h2>\n<div class=\"scroll tall\"><table id=\"modules\" class=\"sortable\">\n\
         <thead><tr><th>Module<th>Base<th class=\"n\">Size<th class=\"n\">In the dump<th class=\"sites\">Import calls, direct / indirect{ipt}<th>File<th>PDB</tr></thead>\n<tbody>"
    )?;
    for module in modules {
        name(out, module)?;
        write!(
            out,
            "<td class=\"mono\">{}<td class=\"n\" data-v=\"{}\">{}",
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
        let Sites { optimized, indirect, overridden, repointed } = module.sites;
        write!(out, "<td class=\"sites\" data-v=\"{}\">", optimized.saturating_add(indirect))?;
        if (optimized, indirect) != (0, 0) {
            bar(out, &[("direct", optimized), ("indirect", indirect)])?;
            write!(out, "<span>{} / {}</span>", Grouped(optimized), Grouped(indirect))?;
        }
        if overridden > 0 {
            write!(out, "<span> · overridden: {} of {} re-pointed</span>", Grouped(repointed), Grouped(overridden))?;
        }
        if page.has_ipt {
            write!(out, "<td class=\"n\" data-v=\"{}\">{}", module.hits(), Hits(module))?;
        }
        let file = module.file.as_deref().unwrap_or_default();
        let reason = module.reason.as_deref().unwrap_or_default();
        let between = if file.is_empty() || reason.is_empty() { "" } else { ": " };
        write!(out, "<td class=\"file\">{}{between}{}", Text(file), Text(reason))?;
        writeln!(out, "<td class=\"mono pdb\">{}</tr>", Text(module.pdb.as_deref().unwrap_or_default()))?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

/// The first cell of a row.
fn name(out: &mut String, module: &Module) -> fmt::Result {
    let (class, word) = (class(module.status), word(module.status));
    write!(out, "<tr><td><span class=\"dot {class}\" title=\"{word}\"></span>{}", Text(&module.name))
}

pub(super) fn warnings(out: &mut String, page: &Page) -> fmt::Result {
    if page.warnings.is_empty() {
        return Ok(());
    }
    write!(out, "<section id=\"warnings\">\n<h2>Warnings</h2>\n<ul class=\"warnings\">")?;
    for warning in &page.warnings {
        write!(out, "<li>{}</li>", Text(warning))?;
    }
    out.write_str("</ul>\n</section>\n")
}

/// Packet addresses of a module; nothing when there are none.
struct Hits<'a>(&'a Module);

impl fmt::Display for Hits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.hits() {
            0 => Ok(()),
            hits => write!(f, "{}", Grouped(hits)),
        }
    }
}
