//! What a developer needs to know of a trace whose Intel PT events look different than expected.
//!
//! No public trace holds these events, so the reader's layout was never held against a real file. The text names no module,
//! path, process or other data of the user: it can be pasted into a report as it is.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use etl_file::{IptOptions, IptSnapshot};
use intel_pt::sync_forward;
use ipt_analysis::input::from_events;
use ipt_analysis::word28::Meaning;
use kernel_snapshot::Reading;

use crate::ipt::pieces;

/// Snapshots whose pieces are listed.
const LISTED: usize = 16;

/// The form of a reading's Intel PT events, as text of some 30 lines. The reading must have been asked for them.
pub fn diagnose(reading: &Reading<'_>) -> String {
    let summary = &reading.summary;
    let os = &summary.os;
    let mut out = String::new();
    let mut line = |name: &str, value: &dyn Display| _ = writeln!(out, "{name:<24}{value}");
    line("tool", &concat!("mkdump ", env!("CARGO_PKG_VERSION"), ", Intel PT events"));
    line("windows", &format_args!("{}.{}.{}", os.major, os.minor, os.build));
    line("processors", &summary.processors.map_or_else(|| "?".to_owned(), |count| count.to_string()));
    line("events", &summary.events);
    line("lost events", &summary.events_lost);
    line("ipt events", &summary.ipt_events);
    line("snapshots", &reading.ipt.len());
    let snapshots = &reading.ipt;
    let events = || snapshots.iter().flat_map(|snapshot| &snapshot.events);
    let count = |values: &mut dyn Iterator<Item = String>| counted(values);
    line("headers", &count(&mut events().map(|event| format!("{:?} of {} bytes", event.header, event.header_length))));
    let trigger = |snapshot: &IptSnapshot<'_>| match snapshot.trigger {
        Some(trigger) => format!("hook {:#06x}", trigger.hook.0),
        None => "not found".to_owned(),
    };
    line("triggers", &count(&mut snapshots.iter().map(trigger)));
    line("options", &count(&mut snapshots.iter().map(|snapshot| options(snapshot.options))));
    line("pieces per trigger", &count(&mut snapshots.iter().map(|snapshot| snapshot.events.len().to_string())));
    let cut = snapshots.iter().flat_map(|snapshot| snapshot.events.iter().zip(&snapshot.pieces));
    let cut = cut.filter(|(event, piece)| piece.len() < event.declared as usize).count();
    line("pieces cut short", &cut);
    line("declared bytes", &range(events().map(|event| event.declared.into())));
    line("offset 28", &range(events().map(|event| event.word28.into())));
    for meaning in Meaning::ALL {
        let fitting = |wanted: &dyn Fn(&IptSnapshot<'_>) -> bool| {
            let all = snapshots.iter().filter(|snapshot| wanted(snapshot));
            let fits = all.clone().filter(|snapshot| meaning.fits(&pieces(snapshot), buffer(snapshot))).count();
            format!("{fits} of {}", all.count())
        };
        let (all, several) = (fitting(&|_| true), fitting(&|snapshot| snapshot.events.len() > 1));
        line(&format!("  as {}", meaning.name()), &format_args!("fits {all} snapshots, {several} of several pieces"));
    }
    line("  turned there", &count(&mut snapshots.iter().map(turned)));
    line("first PSB of a piece", &range(all_pieces(reading).filter_map(|piece| Some(sync_forward(piece, 0)? as u64))));
    line("pieces without PSB", &all_pieces(reading).filter(|piece| sync_forward(piece, 0).is_none()).count());
    let _ = writeln!(out, "\nsnapshot: declared bytes / offset 28 / first PSB of each piece");
    for (number, snapshot) in snapshots.iter().enumerate().take(LISTED) {
        let piece = |(event, bytes): (&etl_file::IptEvent, &std::borrow::Cow<'_, [u8]>)| {
            let psb = sync_forward(bytes, 0).map_or_else(|| "none".to_owned(), |at| format!("{at:#x}"));
            format!("{} / {:#x} / {psb}", event.declared, event.word28)
        };
        let pieces: Vec<String> = snapshot.events.iter().zip(&snapshot.pieces).map(piece).take(LISTED).collect();
        let _ = writeln!(out, "{number:>8}: {}", pieces.join(", "));
    }
    if snapshots.len() > LISTED {
        let _ = writeln!(out, "          and {} more", snapshots.len() - LISTED);
    }
    out
}

fn all_pieces<'r>(reading: &'r Reading<'_>) -> impl Iterator<Item = &'r [u8]> {
    reading.ipt.iter().flat_map(|snapshot| &snapshot.pieces).map(|piece| &**piece)
}

/// Bytes of the processor's buffer.
fn buffer(snapshot: &IptSnapshot<'_>) -> u64 {
    IptOptions(snapshot.options).buffer_size()
}

fn options(word: u64) -> String {
    let options = IptOptions(word);
    format!(
        "{word:#x} (timing {}, MTC {}, CYC {}, buffer {:#x}, mode {})",
        options.timing(),
        options.mtc_frequency(),
        options.cyc_threshold(),
        options.buffer_size(),
        options.mode()
    )
}

/// Whether the data read better when it was turned at the word's value.
fn turned(snapshot: &IptSnapshot<'_>) -> String {
    let pieces: Vec<&[u8]> = snapshot.pieces.iter().map(|piece| &**piece).collect();
    let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
    if snapshot.ring_offset == 0 || u64::from(snapshot.ring_offset) >= length {
        return "nothing to turn".to_owned();
    }
    let stored = pieces.concat();
    let is_turned = |bytes: &[u8]| bytes.len() == stored.len() && *bytes != *stored;
    match from_events(&pieces, snapshot.ring_offset, None).iter().any(|data| is_turned(&data.bytes)) {
        true => "reads as well or better".to_owned(),
        false => "reads worse".to_owned(),
    }
}

/// `a: 3, b: 1`, the most frequent first.
fn counted(values: &mut dyn Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let mut counts = BTreeMap::<String, usize>::new();
    values.for_each(|value| *counts.entry(value).or_insert(0) += 1);
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = counts.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = counts.iter().take(SHOWN).map(|(value, count)| format!("{value}: {count}")).collect();
    shown.extend((more > 0).then(|| format!("and {more} others")));
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// `12 to 65480`, or `none`.
fn range(values: impl Iterator<Item = u64>) -> String {
    let widened = |range: Option<(u64, u64)>, value: u64| {
        Some(range.map_or((value, value), |(a, b)| (value.min(a), value.max(b))))
    };
    match values.fold(None, widened) {
        Some((least, most)) => format!("{least} to {most}"),
        _ => "none".to_owned(),
    }
}
