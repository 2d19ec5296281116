//! Call trees and functions, as text.

use std::fmt::Write as _;
use std::io::{self, Write};

use mkdump::report::ipt::{CallEntry, CallKind, CallsReport, FunctionsReport, PlaceReport, debugger_name};

use super::ipt;
use super::table::Table;
use super::text::{address, count, grouped, moment, printable};

/// The tree of one snapshot, a line for each function and each thing that happened besides.
pub fn tree(out: &mut impl Write, report: &CallsReport) -> io::Result<()> {
    writeln!(out, "{}", ipt::heading(&report.snapshot))?;
    if let Some(doubt) = &report.quality.doubt {
        writeln!(out, "NOT RELIABLE: {}", printable(doubt))?;
    }
    writeln!(out, "{:>11} {:>11}  function", "total", "self")?;
    for entry in &report.calls {
        let (columns, text) = line(entry);
        let [total, own] = columns.map(|column| column.map(grouped).unwrap_or_default());
        writeln!(out, "{total:>11} {own:>11}  {:indent$}{text}", "", indent = 2 * entry.depth)?;
    }
    let shown = report.calls.len() as u64;
    if shown < report.lines {
        writeln!(out, "{} of {} are shown", count(shown, "line"), grouped(report.lines))?;
    }
    if report.left_out > 0 {
        writeln!(out, "the tree is too large: {} are left out", count(report.left_out, "call or gap"))?;
    }
    Ok(())
}

/// Instructions, with those of the functions below and without, and what ran or happened.
fn line(entry: &CallEntry) -> ([Option<u64>; 2], String) {
    let times = |text: &mut String| {
        if entry.times > 1 {
            let _ = write!(text, ", {} times", grouped(entry.times));
        }
    };
    let happened = |mut text: String| {
        times(&mut text);
        ([None, None], format!("- {text}"))
    };
    match &entry.what {
        CallKind::Function { how, at, instructions, total, open, hidden, left_out } => {
            let entered = match *how {
                "jump" => "jump to ",
                "interrupt" => "interrupt: ",
                "system-call" => "system call: ",
                "untraced" => "from untraced code: ",
                "before" => "entered before: ",
                _ => "",
            };
            let mut text = format!("{entered}{}", name(at));
            times(&mut text);
            if *open {
                text += ", not ended";
            }
            if *hidden > 0 {
                let _ = write!(text, ", {} below", count(*hidden, "line"));
            }
            if *left_out > 0 {
                let _ = write!(text, ", {} left out below", count(*left_out, "call"));
            }
            ([Some(*total), Some(*instructions)], text)
        }
        CallKind::Loop { total, hidden } => {
            let mut text = format!("repeated {} times:", grouped(entry.times));
            if *hidden > 0 {
                let _ = write!(text, " {} below", count(*hidden, "line"));
            }
            ([Some(*total), None], text)
        }
        CallKind::Overflow => happened("packets lost".into()),
        CallKind::Disabled => happened("tracing off".into()),
        CallKind::Switched => happened("stack exchanged".into()),
        CallKind::Paging { cr3 } => happened(format!("address space {:#x}", cr3.0)),
        CallKind::Missing { offset, to } => happened(format!("no code for {} (packet at {offset:#x})", name(to))),
        CallKind::UnknownCall { offset, from, module } => {
            let module = module.as_deref().map(printable).unwrap_or_default();
            let from = name(from);
            happened(format!("direct call at {from} to {module}, whose file is missing (packet at {offset:#x})"))
        }
        CallKind::Gap { offset, from, what, likely } => {
            let from = from.as_ref().map(|from| format!(" at {}", name(from))).unwrap_or_default();
            let packet = offset.map(|offset| format!(" (packet at {offset:#x})")).unwrap_or_default();
            let likely = likely.map(|likely| format!("; likely: {likely}")).unwrap_or_default();
            happened(format!("decoding lost its place{from}{packet}: {}{likely}", printable(what)))
        }
    }
}

/// The functions that ran, and the same by module, in lines of `width` columns.
pub fn functions(report: &FunctionsReport, width: usize) -> String {
    let headings = ["function", "calls", "self", "total", "snapshots", "first", "last"];
    let mut table = Table::new(&headings, &[1, 2, 3, 4, 5, 6]).wrapping(&[0]);
    for function in &report.functions {
        table.row([
            name(&function.at),
            grouped(function.calls),
            grouped(function.instructions),
            grouped(function.total),
            grouped(function.snapshots),
            function.first.map_or_else(String::new, |time| moment(time, 6)),
            function.last.map_or_else(String::new, |time| moment(time, 6)),
        ]);
        for call in &function.unknown_calls {
            let module = call.module.as_deref().map(printable).unwrap_or_default();
            let (times, sites) = (count(call.times, "direct call"), count(call.sites, "place"));
            table.under(&format!("{times} from {sites} to {module}, whose file is missing"));
        }
    }
    let mut modules = Table::new(&["module", "functions", "calls", "self"], &[1, 2, 3]).wrapping(&[0]);
    for module in &report.modules {
        let file = module.module.as_deref().unwrap_or("in no module");
        modules.row([file.into(), grouped(module.functions), grouped(module.calls), grouped(module.instructions)]);
    }
    format!("{}\n{}", table.render(0, width), modules.render(0, width))
}

/// A place as debuggers take it: `ntoskrnl!KiSwapContext+0x4`, `ntoskrnl+0x1234`, or the address. An export that is only
/// the nearest one is marked.
pub fn name(place: &PlaceReport) -> String {
    let Some(module) = place.module.as_deref().map(|module| printable(&debugger_name(module))) else {
        return address(place.address.0);
    };
    match (&place.symbol, place.rva) {
        (Some(symbol), _) => {
            let is_near = place.symbol_from == Some("exports") && symbol.contains("+0x");
            format!("{module}!{}{}", printable(symbol), if is_near { " (nearest export)" } else { "" })
        }
        (None, Some(rva)) => format!("{module}+{:#x}", rva.0),
        (None, None) => address(place.address.0),
    }
}
