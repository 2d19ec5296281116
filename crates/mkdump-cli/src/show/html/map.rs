//! The kernel address space with its modules to scale, in two drawings: one for wide windows, and one of shorter rows for
//! narrow ones, where the addresses stand above the rows. The style sheet shows the one that fits.
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

/// A drawing's measures, in units of the picture: pixels at full size.
struct Drawing {
    /// `wide` or `narrow`.
    name: &'static str,
    width: f64,
    /// Room for a row's address in front of it.
    left: f64,
    /// From the top of a row to the next, and the height of what is drawn in it.
    row: f64,
    boxed: f64,
    /// Of that, room for the address above.
    above: f64,
    /// Height of the line that tells a gap.
    gap: f64,
    /// Width of a character of a label, a little more than any font of that size has on average.
    character: f64,
    /// Rows that a page should not exceed, if larger rows help.
    most_rows: u64,
}

const WIDE: Drawing = Drawing {
    name: "wide",
    width: 1200.0,
    left: 146.0,
    row: 30.0,
    boxed: 22.0,
    above: 0.0,
    gap: 26.0,
    character: 6.6,
    most_rows: 26,
};

const NARROW: Drawing = Drawing {
    name: "narrow",
    width: 452.0,
    left: 0.0,
    row: 46.0,
    boxed: 26.0,
    above: 16.0,
    gap: 24.0,
    character: 7.2,
    most_rows: 40,
};

pub(super) fn section(out: &mut String, page: &Page) -> fmt::Result {
    let mut modules: Vec<&Module> = page.modules.iter().filter(|module| module.size > 0).collect();
    if modules.is_empty() {
        return Ok(());
    }
    modules.sort_by_key(|module| (module.base, module.size));
    write!(
        out,
        "<section id=\"map\">\n<h2>Kernel address space</h2>\n<p class=\"legend\"><span><span class=\"key included\"></span>in the dump</span> \
         <span><span class=\"key missing\"></span>missing</span> <span><span class=\"key mismatch\"></span>another build found</span> \
         <span><span class=\"key excluded\"></span>left out</span>",
    )?;
    if page.has_ipt {
        out.write_str(" <span><span class=\"key ramp\"></span>packet addresses, few to many</span>")?;
    }
    out.write_str(
        "</p>\n<p class=\"note\" id=\"picked\" aria-live=\"polite\">Choose a module, by pointer, tap or Tab key, for its numbers.</p>\n",
    )?;
    drawn(out, page, &modules, &WIDE)?;
    drawn(out, page, &modules, &NARROW)?;
    out.write_str("</section>\n")
}

fn drawn(out: &mut String, page: &Page, modules: &[&Module], drawing: &Drawing) -> fmt::Result {
    let Drawing { name, width, left, row: row_height, boxed, above, gap, .. } = *drawing;
    let per_row = per_row(modules, drawing.most_rows);
    let regions = regions(modules, per_row);
    let rows: u64 = regions.iter().map(|region| region.rows).sum();
    let height = rows as f64 * row_height + (regions.len() - 1) as f64 * gap + 2.0;
    write!(
        out,
        "<div class=\"drawing {name}\"><p class=\"note\">To scale; each row is {}.</p>\n\
         <svg class=\"map\" viewBox=\"0 0 {width} {height}\" role=\"group\" aria-label=\"Modules in the kernel address space\">\n",
        Size(per_row)
    )?;
    patterns(out, name)?;
    let scale = (width - left) / per_row as f64;
    let most = modules.iter().flat_map(|module| bins(module, scale)).map(|bin| bin.1).max().unwrap_or(1);
    let mut y = 1.0;
    let mut end_before = None;
    for region in &regions {
        if let Some(before) = end_before {
            let text = format!("{} of other addresses", Size(region.start.saturating_sub(before)));
            writeln!(out, "<text class=\"gap\" x=\"{left}\" y=\"{:.1}\">⋮ {text}</text>", y + gap * 0.55)?;
            y += gap;
        }
        end_before = Some(region.start.saturating_add(region.rows * per_row));
        for row in 0..region.rows {
            let (top, start) = (y + row as f64 * row_height, region.start.saturating_add(row * per_row));
            let (at, baseline) = if left > 0.0 { (left - 10.0, top + 15.5) } else { (0.0, top + 12.0) };
            write!(out, "<text class=\"address\" x=\"{at:.0}\" y=\"{baseline:.1}\">{}</text>", Address(start))?;
            writeln!(
                out,
                "<rect class=\"row\" x=\"{left}\" y=\"{:.1}\" width=\"{:.0}\" height=\"{boxed}\"/>",
                top + above,
                width - left
            )?;
        }
        for module in &modules[region.first..region.last] {
            let place = Place { start: region.start, per_row, top: y, most };
            draw(out, page, module, drawing, &place)?;
        }
        y += region.rows as f64 * row_height;
    }
    out.write_str("</svg></div>\n")
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
fn per_row(modules: &[&Module], most_rows: u64) -> u64 {
    let choices = (16..33).map(|bits| {
        let per_row = 1u64 << bits;
        (regions(modules, per_row).iter().map(|region| region.rows + 1).sum::<u64>(), per_row)
    });
    let choices: Vec<(u64, u64)> = choices.collect();
    let fits = choices.iter().find(|choice| choice.0 <= most_rows);
    fits.or(choices.iter().min()).map_or(1 << 32, |choice| choice.1)
}

/// What a module takes. Images have less than 4 GiB; a trace may claim anything.
fn span(module: &Module) -> u64 {
    module.size.min(u64::from(u32::MAX))
}

/// Where a region is drawn.
struct Place {
    start: u64,
    per_row: u64,
    top: f64,
    /// The most hits of any bin.
    most: u64,
}

fn draw(out: &mut String, page: &Page, module: &Module, drawing: &Drawing, place: &Place) -> fmt::Result {
    let Drawing { width: full, left, row: row_height, boxed, above, .. } = *drawing;
    let Place { start, per_row, top: y, most } = *place;
    let scale = (full - left) / per_row as f64;
    let top_of = |row: u64| y + row as f64 * row_height + above;
    write!(
        out,
        "<g class=\"{}\" tabindex=\"0\"><title>{}\n{}, {}, {}",
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
        write!(out, "\n{} packet addresses", Grouped(module.hits()))?;
    }
    out.write_str("</title>")?;
    // One piece per row; the widest has the name.
    let (from, to) = (module.base - start, module.base - start + span(module));
    let pieces: Vec<(u64, u64, u64)> = (from / per_row..=(to - 1) / per_row)
        .map(|row| (row, from.max(row * per_row) - row * per_row, to.min((row + 1) * per_row) - row * per_row))
        .collect();
    for (row, begin, end) in &pieces {
        let width = ((end - begin) as f64 * scale).max(1.2);
        let (x, top) = (left + *begin as f64 * scale, top_of(*row));
        write!(out, "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{boxed}\"/>")?;
    }
    for (number, hits) in bins(module, scale) {
        let at = from + number * 0x1000;
        let (row, x) = (at / per_row, left + (at % per_row) as f64 * scale);
        let width = (4096.0 * scale).max(1.6).min(full - x);
        let (heat, top) = (warmth(hits, most), top_of(row) + boxed - 6.0);
        write!(out, "<rect class=\"h{heat}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"6\"/>")?;
    }
    let widest = pieces.iter().max_by_key(|(row, begin, end)| (end - begin, u64::MAX - row));
    if let Some((row, begin, end)) = widest {
        let room = (end - begin) as f64 * scale - 8.0;
        let short = module.name.strip_suffix(".sys").unwrap_or(&module.name);
        // With its size where there is room: numbers must not need a pointer.
        let long = format!("{} {}", module.name, Size(module.size));
        let fits = |label: &&str| label.chars().count() as f64 * drawing.character <= room;
        if let Some(label) = [long.as_str(), &module.name, short].into_iter().find(fits) {
            let x = left + (begin + (end - begin) / 2) as f64 * scale;
            // Above the heat.
            let top = top_of(*row) + if module.heat.is_empty() { boxed / 2.0 + 4.0 } else { boxed / 2.0 };
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

/// Hatching, so that readers who cannot tell the colours apart see what is not in the dump. Each drawing has its own
/// patterns: browsers ignore those of a drawing that is not shown.
fn patterns(out: &mut String, name: &str) -> fmt::Result {
    out.write_str("<defs>")?;
    for (status, angle) in [("missing", 45), ("mismatch", -45)] {
        write!(
            out,
            "<pattern id=\"hatch-{status}-{name}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
             patternTransform=\"rotate({angle})\"><rect width=\"6\" height=\"6\" class=\"p-{status}\"/>\
             <line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\" class=\"l-{status}\"/></pattern>"
        )?;
    }
    out.write_str("</defs>\n")
}
