//! A dump's threads as text.

use std::fmt::Write;

use mkdump::report::Hex;
use mkdump::report::{ThreadReport, ThreadsReport};

use super::table::Table;
use super::text::{address, count, hex};

/// The list that `mkdump threads` prints.
pub fn table(report: &ThreadsReport, width: usize) -> String {
    let headings = ["thread", "found", "pid.tid", "process", "stack pointer", "captured", "stack"];
    let mut table = Table::new(&headings, &[5]).wrapping(&[1, 6]);
    for thread in &report.threads {
        let pointer = |value: Option<Hex>| value.map(|value| address(value.0)).unwrap_or_default();
        table.row([
            address(thread.address.0),
            found(thread),
            thread.process_id.zip(thread.thread_id).map(|(p, t)| format!("{p:x}.{t:x}")).unwrap_or_default(),
            pointer(thread.process),
            pointer(thread.stack_pointer),
            thread.captured.map(|[from, to]| hex(to.0 - from.0)).unwrap_or_default(),
            thread.stack.map(|[low, end]| format!("{} {}", address(low.0), address(end.0))).unwrap_or_default(),
        ]);
    }
    table.render(0, width)
}

fn found(thread: &ThreadReport) -> String {
    let mut words = match (thread.found, thread.parameter, thread.processor) {
        ("current", _, Some(number)) => format!("current cpu{number}"),
        ("running", _, Some(number)) => format!("cpu{number}"),
        ("bugcheck", Some(number), _) => format!("bugcheck{number}"),
        (how, ..) => how.to_owned(),
    };
    if !thread.verified {
        words.push('?');
    }
    words
}

/// What to say below the list.
pub fn remarks(report: &ThreadsReport) -> String {
    let mut out = String::new();
    let all = report.threads.len() as u64;
    let with_stack = report.threads.iter().filter(|thread| thread.captured.is_some()).count();
    let _ = writeln!(out, "{}, {with_stack} with a captured stack", count(all, "thread"));
    let layout = &report.layout;
    let origin = match &layout.pdb {
        Some(pdb) => super::text::printable(pdb),
        None => "Windows 10 19041, x64 (built in)".into(),
    };
    let _ = writeln!(out, "KTHREAD.Process is at +{:#x}; other offsets from {origin}", layout.process.0);
    out
}

#[cfg(test)]
mod tests {
    use mkdump::report::Hex;
    use mkdump::report::ThreadReport;

    #[test]
    fn how_a_thread_was_found_is_one_word() {
        let thread = |found, parameter, processor, verified| ThreadReport {
            address: Hex(0),
            found,
            parameter,
            verified,
            process: None,
            process_id: None,
            thread_id: None,
            processor,
            stack_pointer: None,
            stack: None,
            captured: None,
        };
        for (thread, expected) in [
            (thread("current", None, Some(3), true), "current cpu3"),
            (thread("current", None, None, true), "current"),
            (thread("running", None, Some(0), true), "cpu0"),
            (thread("bugcheck", Some(2), None, true), "bugcheck2"),
            (thread("scanned", None, None, false), "scanned?"),
        ] {
            assert_eq!(super::found(&thread), expected);
        }
    }
}
