//! What the Intel PT data says: where it was, in which snapshots and threads, the votes of the verdict, what could not be
//! read.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use mkdump::report::ipt::QualityReport;

use super::text::{Address, Grouped, Size, Text};
use super::{Module, Page, bar, class, sum, warmth};
use crate::show::text::moment;

/// A snapshot.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Its number.
    pub number: usize,
    /// Seconds from the start of the trace.
    pub time: Option<f64>,
    /// Logical processor.
    pub cpu: Option<u16>,
    /// Process, with its id.
    pub process: String,
    /// Thread, with its id.
    pub thread: String,
    /// The event that triggered it, or the file that it is from.
    pub event: String,
    /// Bytes of packets.
    pub bytes: u64,
    /// Packet addresses.
    pub hits: u64,
    /// Stretches that are lost.
    pub gaps: u64,
    /// How well it can be followed over the code in the dump.
    pub followed: Option<QualityReport>,
}

/// The votes on a module's import calls.
#[derive(Clone, Debug, Default)]
pub struct Votes {
    /// File name.
    pub module: String,
    /// `on`, `off`, `undecided`.
    pub verdict: String,
    /// Call sites that were direct calls, that went through the table, that both or neither form explains.
    pub on: u32,
    /// Through the table.
    pub off: u32,
    /// Both forms explain them.
    pub either: u32,
    /// Neither does.
    pub neither: u32,
}

/// The most touched modules, one strip each, with their packet addresses where they fall.
pub(super) fn heat(out: &mut String, page: &Page) -> fmt::Result {
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
        "<section id=\"heat\">\n<h2>Code reached by Intel PT</h2>\n<p class=\"note\">{} Each strip is a module from its first to its last \
         byte; the warmer, the more packet addresses, on one logarithmic scale for all.</p>\n<div class=\"heat\">",
        if modules.len() > MOST {
            format!("The {MOST} modules with the most packet addresses, of {}.", modules.len())
        } else {
            "The modules with packet addresses.".to_owned()
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
            "<span class=\"name\">{}</span><svg viewBox=\"0 0 {} 10\" preserveAspectRatio=\"none\" class=\"strip {}\" role=\"img\"><title>{}: {} packet addresses</title>",
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

/// The votes of the verdict, module by module.
pub(super) fn votes(out: &mut String, page: &Page) -> fmt::Result {
    if page.votes.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section id=\"votes\">\n<h2>Votes on import optimization</h2>\n<p class=\"note\">Executed import calls by the form that the \
         packets show them in.</p>\n<div class=\"scroll\"><table class=\"sortable\">\n<thead><tr><th>Module<th>Verdict<th class=\"n\">Direct\
         <th class=\"n\">Through the table<th class=\"n\">Either<th class=\"n\">Neither</tr></thead>\n<tbody>\n",
    )?;
    for votes in &page.votes {
        write!(out, "<tr><td>{}<td>{}", Text(&votes.module), Text(&votes.verdict))?;
        for number in [votes.on, votes.off, votes.either, votes.neither] {
            write!(out, "<td class=\"n\" data-v=\"{number}\">{}", Grouped(number.into()))?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

/// The snapshots, and the threads that they are of.
pub(super) fn snapshots(out: &mut String, page: &Page) -> fmt::Result {
    if page.snapshots.is_empty() {
        return Ok(());
    }
    out.write_str(
        "<section id=\"snapshots\">\n<h2>Snapshots</h2>\n<div class=\"scroll\"><table class=\"sortable\">\n<thead><tr><th class=\"n\">#<th class=\"n\">Time\
         <th class=\"n\">CPU<th>Process<th>Thread<th>Event<th class=\"n\">Bytes<th class=\"n\">Packet addresses<th class=\"n\">Gaps<th class=\"n\">Followed<th class=\"n\">Contradictions per MiB<th class=\"n\">Confirming packets</tr></thead>\n<tbody>\n",
    )?;
    let mut threads: BTreeMap<(&str, &str), (u64, u64, u64)> = BTreeMap::new();
    for snapshot in &page.snapshots {
        let thread = threads.entry((&snapshot.process, &snapshot.thread)).or_default();
        *thread = (thread.0 + 1, sum([thread.1, snapshot.bytes]), sum([thread.2, snapshot.hits]));
        let time = snapshot.time.unwrap_or(-1.0);
        let shown = snapshot.time.map(|time| moment(time, 6)).unwrap_or_default();
        let cpu = snapshot.cpu.map(|cpu| cpu.to_string()).unwrap_or_default();
        write!(
            out,
            "<tr><td class=\"n\" data-v=\"{0}\">{0}<td class=\"n\" data-v=\"{time}\">{shown}<td class=\"n\" data-v=\"{cpu}\">{cpu}",
            snapshot.number
        )?;
        write!(out, "<td>{}<td>{}<td>{}", Text(&snapshot.process), Text(&snapshot.thread), Text(&snapshot.event))?;
        for number in [snapshot.bytes, snapshot.hits, snapshot.gaps] {
            write!(out, "<td class=\"n\" data-v=\"{number}\">{}", Grouped(number))?;
        }
        followed(out, snapshot.followed.as_ref())?;
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")?;
    out.write_str(
        "<section id=\"threads\">\n<h2>Threads</h2>\n<div class=\"scroll\"><table class=\"sortable\">\n<thead><tr><th>Process<th>Thread\
         <th class=\"n\">Snapshots<th class=\"n\">Bytes<th class=\"n\">Packet addresses</tr></thead>\n<tbody>\n",
    )?;
    for ((process, thread), (number, bytes, hits)) in threads {
        write!(out, "<tr><td>{}<td>{}", Text(or_unknown(process)), Text(or_unknown(thread)))?;
        for number in [number, bytes, hits] {
            write!(out, "<td class=\"n\" data-v=\"{number}\">{}", Grouped(number))?;
        }
        out.write_str("</tr>\n")?;
    }
    out.write_str("</tbody></table></div>\n</section>\n")
}

/// The cells that say how well a snapshot can be followed: the share as a bar and a number, how often packets and code
/// contradict each other, and how many packets confirm the flow.
fn followed(out: &mut String, quality: Option<&QualityReport>) -> fmt::Result {
    let Some(quality) = quality else { return out.write_str("<td class=\"n\"><td class=\"n\"><td class=\"n\">") };
    let share = quality.share_followed.unwrap_or_default();
    let class = if quality.doubt.is_some() { "n doubt" } else { "n" };
    write!(out, "<td class=\"{class}\" data-v=\"{share}\">{} ", percent(share))?;
    share_bar(out, share)?;
    let rate = quality.out_of_step_per_mib.unwrap_or_default();
    write!(out, "<td class=\"{class}\" data-v=\"{rate}\">{}", Grouped(rate.round() as u64))?;
    let packets = quality.confirmed.packets();
    write!(out, "<td class=\"n\" data-v=\"{packets}\">{}", Grouped(packets))
}

/// A share, rounded down: only the whole is 100%.
fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).floor())
}

/// A share of a whole as a small bar.
fn share_bar(out: &mut String, share: f64) -> fmt::Result {
    let (followed, rest) = (share.clamp(0.0, 1.0) * 100.0, 100.0 - share.clamp(0.0, 1.0) * 100.0);
    write!(out, "<span class=\"bar share\"><i class=\"included\" style=\"width:{followed:.1}%\"></i>")?;
    if rest > 0.0 {
        write!(out, "<i class=\"missing\" style=\"width:{rest:.1}%\"></i>")?;
    }
    out.write_str("</span>")
}

/// How well all snapshots together can be followed, at a glance.
pub(super) fn quality_tile(out: &mut String, page: &Page) -> fmt::Result {
    let Some(quality) = &page.quality else { return Ok(()) };
    let share = quality.share_followed.unwrap_or_default();
    write!(out, "<div class=\"tile\"><h2>Intel PT data followed</h2><p class=\"big\">{}", percent(share))?;
    write!(out, " <small>of {}</small></p>", Size(quality.bytes))?;
    bar(out, &[("hot", quality.followed), ("missing", quality.bytes.saturating_sub(quality.followed))])?;
    let contradictions = crate::show::text::count(quality.out_of_step, "contradiction");
    let rate = Grouped(quality.out_of_step_per_mib.unwrap_or_default().round() as u64);
    let packets = crate::show::text::count(quality.confirmed.packets(), "confirming packet");
    writeln!(out, "<p>{contradictions} ({rate} per MiB), {packets}</p></div>")
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "not known" } else { text }
}

/// Addresses that no module covers, and data that could not be read.
pub(super) fn unknown(out: &mut String, page: &Page) -> fmt::Result {
    /// The rest is counted.
    const MOST: usize = 40;
    if !page.unknown.is_empty() {
        let mut pages = page.unknown.clone();
        pages.sort_by_key(|&(address, hits)| (std::cmp::Reverse(hits), address));
        write!(
            out,
            "<section id=\"unknown\">\n<h2>Packet addresses in no module</h2>\n<p class=\"note\">Pages that packets name and that no \
             module of the source covers{}.</p>\n<ul class=\"pages\">",
            if pages.len() > MOST {
                format!(": the {MOST} with the most packet addresses, of {}", pages.len())
            } else {
                String::new()
            }
        )?;
        for (address, hits) in pages.iter().take(MOST) {
            write!(out, "<li><code>{}</code> {}</li>", Address(*address), Grouped(*hits))?;
        }
        out.write_str("</ul>\n</section>\n")?;
    }
    if page.gaps.is_empty() {
        return Ok(());
    }
    out.write_str("<section id=\"errors\">\n<h2>Intel PT data that could not be read</h2>\n<ul class=\"warnings\">")?;
    for gap in page.gaps.iter().take(MOST) {
        write!(out, "<li>{}</li>", Text(gap))?;
    }
    if page.gaps.len() > MOST {
        write!(out, "<li>and {} more</li>", page.gaps.len() - MOST)?;
    }
    out.write_str("</ul>\n</section>\n")
}

/// Bytes and number of the snapshots, for the facts.
pub(super) fn total(snapshots: u64, bytes: u64) -> String {
    format!("{}, {}", crate::show::text::count(snapshots, "snapshot"), Size(bytes))
}
