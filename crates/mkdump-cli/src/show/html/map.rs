//! The kernel address space with its modules to scale.
//!
//! ```text
//!   region (modules with less than a row between them)
//!   fffff803`1a000000 │▓▓▓ntoskrnl.exe▓▓▓▓│▒▒│  │▓▓│ ...        a row: the same number of bytes in each
//!   fffff803`1b000000 │...
//!        71.2 GiB of other addresses
//!   fffff960`00000000 │...
//! ```

use std::fmt::{self, Write};

use super::text::{Address, Grouped, Size, Text};
use super::{Module, Page, Sites, class, warmth, word};

/// Width of the drawing, of a row's address in front, and the height of a row, in units of the picture: pixels at
/// full size.
const WIDTH: f64 = 1200.0;
const LEFT: f64 = 146.0;
const ROW: f64 = 30.0;
const BOX: f64 = 22.0;
/// Width of a character of a label, a little more than any font of that size has on average.
const CHARACTER: f64 = 6.6;
/// A gap's line.
const GAP: f64 = 26.0;
/// Rows that a page should not exceed, if larger rows help.
const MOST_ROWS: u64 = 26;

pub(super) fn section(out: &mut String, page: &Page) -> fmt::Result {
    let mut modules: Vec<&Module> = page.modules.iter().filter(|module| module.size > 0).collect();
    if modules.is_empty() {
        return Ok(());
    }
    modules.sort_by_key(|module| (module.base, module.size));
    let per_row = per_row(&modules);
    let regions = regions(&modules, per_row);
    write!(
        out,
        "<section>\n<h2>Kernel address space</h2>\n<p class=\"note\">To scale: every row is {}. Rest the pointer on a module for its \
         name and numbers.</p>\n<p class=\"legend\"><span class=\"key included\"></span>in the dump \
         <span class=\"key missing\"></span>missing <span class=\"key mismatch\"></span>another build found \
         <span class=\"key excluded\"></span>left out",
        Size(per_row)
    )?;
    if page.has_ipt {
        out.write_str(" <span class=\"key ramp\"></span>Intel PT hits, few to many")?;
    }
    let rows: u64 = regions.iter().map(|region| region.rows).sum();
    let height = rows as f64 * ROW + (regions.len() - 1) as f64 * GAP + 2.0;
    write!(
        out,
        "</p>\n<svg class=\"map\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Modules in the kernel address space\">\n{PATTERNS}"
    )?;
    let scale = (WIDTH - LEFT) / per_row as f64;
    let most = modules.iter().flat_map(|module| bins(module, scale)).map(|bin| bin.1).max().unwrap_or(1);
    let mut y = 1.0;
    let mut end_before = None;
    for region in &regions {
        if let Some(before) = end_before {
            let text = format!("{} of other addresses", Size(region.start.saturating_sub(before)));
            writeln!(out, "<text class=\"gap\" x=\"{LEFT}\" y=\"{:.1}\">⋮ {text}</text>", y + GAP * 0.55)?;
            y += GAP;
        }
        end_before = Some(region.start.saturating_add(region.rows * per_row));
        for row in 0..region.rows {
            let (top, start) = (y + row as f64 * ROW, region.start.saturating_add(row * per_row));
            write!(
                out,
                "<text class=\"address\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
                LEFT - 10.0,
                top + 15.5,
                Address(start)
            )?;
            writeln!(
                out,
                "<rect class=\"row\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.0}\" height=\"{BOX}\"/>",
                WIDTH - LEFT
            )?;
        }
        for module in &modules[region.first..region.last] {
            draw(out, page, module, region.start, per_row, y, most)?;
        }
        y += region.rows as f64 * ROW;
    }
    out.write_str("</svg>\n</section>\n")
}

/// Neighbouring modules.
struct Region {
    /// First address of its first row, a multiple of 64 KiB.
    start: u64,
    rows: u64,
    /// Its modules, as a range of the sorted list.
    first: usize,
    last: usize,
}

fn regions(modules: &[&Module], per_row: u64) -> Vec<Region> {
    let mut regions: Vec<Region> = Vec::new();
    for (index, module) in modules.iter().enumerate() {
        let needs = |start: u64| (module.base - start + span(module)).div_ceil(per_row).max(1);
        match regions.last_mut() {
            // A region ends where more than a row would be empty.
            Some(region) if (module.base - region.start) / per_row <= region.rows => {
                region.rows = region.rows.max(needs(region.start));
                region.last = index + 1;
            }
            _ => {
                let start = module.base & !0xffff;
                regions.push(Region { start, rows: needs(start), first: index, last: index + 1 });
            }
        }
    }
    regions
}

/// Bytes in a row: the least with which the picture is not too high, or the least of those that make it lowest.
fn per_row(modules: &[&Module]) -> u64 {
    let choices = (16..33).map(|bits| {
        let per_row = 1u64 << bits;
        (regions(modules, per_row).iter().map(|region| region.rows + 1).sum::<u64>(), per_row)
    });
    let choices: Vec<(u64, u64)> = choices.collect();
    let fits = choices.iter().find(|choice| choice.0 <= MOST_ROWS);
    fits.or(choices.iter().min()).map_or(1 << 32, |choice| choice.1)
}

/// What a module takes. Images have less than 4 GiB; a trace may claim anything.
fn span(module: &Module) -> u64 {
    module.size.min(u64::from(u32::MAX))
}

fn draw(out: &mut String, page: &Page, module: &Module, start: u64, per_row: u64, y: f64, most: u64) -> fmt::Result {
    let scale = (WIDTH - LEFT) / per_row as f64;
    write!(
        out,
        "<g class=\"{}\"><title>{}\n{}, {}, {}",
        class(module.status),
        Text(&module.name),
        Address(module.base),
        Size(module.size),
        word(module.status)
    )?;
    if module.sites != Sites::default() {
        let sites = module.sites;
        write!(out, "\nimport calls: {} direct, {} indirect", Grouped(sites.optimized), Grouped(sites.indirect))?;
    }
    if page.has_ipt && module.hits() > 0 {
        write!(out, "\nIntel PT: {} hits", Grouped(module.hits()))?;
    }
    out.write_str("</title>")?;
    // One piece per row; the widest has the name.
    let (from, to) = (module.base - start, module.base - start + span(module));
    let pieces: Vec<(u64, u64, u64)> = (from / per_row..=(to - 1) / per_row)
        .map(|row| (row, from.max(row * per_row) - row * per_row, to.min((row + 1) * per_row) - row * per_row))
        .collect();
    for (row, left, right) in &pieces {
        let (x, top) = (LEFT + *left as f64 * scale, y + *row as f64 * ROW);
        let width = ((right - left) as f64 * scale).max(1.2);
        write!(out, "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BOX}\"/>")?;
    }
    for (number, hits) in bins(module, scale) {
        let at = from + number * 0x1000;
        let (row, x) = (at / per_row, LEFT + (at % per_row) as f64 * scale);
        let width = (4096.0 * scale).max(1.6).min(WIDTH - x);
        write!(
            out,
            "<rect class=\"h{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"6\"/>",
            warmth(hits, most),
            y + row as f64 * ROW + BOX - 6.0
        )?;
    }
    let widest = pieces.iter().max_by_key(|(row, left, right)| (right - left, u64::MAX - row));
    if let Some((row, left, right)) = widest {
        let room = (right - left) as f64 * scale - 8.0;
        let name = module.name.strip_suffix(".sys").unwrap_or(&module.name);
        let label =
            [module.name.as_str(), name].into_iter().find(|name| name.chars().count() as f64 * CHARACTER <= room);
        if let Some(label) = label {
            let x = LEFT + (left + (right - left) / 2) as f64 * scale;
            // Above the heat.
            let top = y + *row as f64 * ROW + if module.heat.is_empty() { 15.0 } else { 11.0 };
            write!(out, "<text x=\"{x:.1}\" y=\"{top:.1}\">{}</text>", Text(label))?;
        }
    }
    out.write_str("</g>\n")
}

/// A module's hits, pages that fall on one pixel added up: a picture of a busy trace stays small.
fn bins(module: &Module, scale: f64) -> Vec<(u64, u64)> {
    let pages = ((1.6 / (4096.0 * scale)).floor() as u64).max(1);
    let last = span(module).div_ceil(0x1000).saturating_sub(1);
    let mut bins: Vec<(u64, u64)> = Vec::new();
    let mut heat = module.heat.clone();
    heat.sort_unstable();
    for (page, hits) in heat {
        let bin = page.min(last) / pages * pages;
        match bins.last_mut() {
            Some(found) if found.0 == bin => found.1 = found.1.saturating_add(hits),
            _ => bins.push((bin, hits)),
        }
    }
    bins
}

/// Hatching, so that what is not in the dump is told apart without colours too.
const PATTERNS: &str = "<defs><pattern id=\"hatch-missing\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" class=\"p-missing\"/><line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\" class=\"l-missing\"/></pattern>\
<pattern id=\"hatch-mismatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\"><rect width=\"6\" height=\"6\" class=\"p-mismatch\"/><line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\" class=\"l-mismatch\"/></pattern></defs>\n";
