//! What an extract holds, as text.

use std::fmt::Write;

use etl_extract::ExtractReport;

use super::table::Table;
use super::text::{count, grouped, printable, size};

/// Kinds that were left out when not all are wanted.
const SHOWN: usize = 12;

/// The file, what was kept of the trace and what was left out; with `all`, every kind that was left out.
pub fn summary(report: &ExtractReport, all: bool, width: usize) -> String {
    let (source, output) = (&report.source, &report.output);
    let mut out = format!(
        "{}: {}, {:.1}% of {} ({})\n\n",
        printable(&output.name),
        size(output.bytes),
        100.0 * output.bytes as f64 / source.bytes.max(1) as f64,
        printable(&source.name),
        size(source.bytes),
    );
    let mut kept = Table::new(&["kept", "events", "of each"], &[1]).wrapping(&[2]);
    for kind in &report.kept {
        kept.row([kind.kind.to_owned(), grouped(kind.events), kind.keeps.to_owned()]);
    }
    out += &kept.render(0, width);
    if report.paths_cut > 0 {
        let _ = writeln!(out, "{} cut to file names", count(report.paths_cut, "path"));
    }
    out.push('\n');
    let shown = if all { usize::MAX } else { SHOWN };
    let mut left_out = Table::new(&["left out", "events"], &[1]);
    for kind in report.left_out.iter().take(shown) {
        left_out.row([kind.kind.clone(), grouped(kind.events)]);
    }
    if left_out.is_empty() {
        out += "nothing was left out\n";
    } else {
        out += &left_out.render(0, width);
    }
    let more = report.left_out.iter().skip(shown);
    let (kinds, events) = more.fold((0, 0), |(kinds, events), kind| (kinds + 1, events + kind.events));
    if kinds > 0 {
        let _ = writeln!(out, "and {} of {}; -v shows them", count(events, "event"), count(kinds, "further kind"));
    }
    if report.texts.is_some() {
        out.push('\n');
        out += &texts(report, width);
    }
    out
}

/// Every text that is left.
fn texts(report: &ExtractReport, width: usize) -> String {
    let mut table = Table::new(&["text left in the file", "where", "events"], &[2]).wrapping(&[0]);
    for text in report.texts.iter().flatten() {
        table.row([text.text.clone(), text.place.to_owned(), grouped(text.events)]);
    }
    table.render(0, width)
}
