//! Events as lines of text.

use std::fmt::Write;

use etw_decode::{Capture, EventNumber, KindCounts, Listed, Value};

use super::table::Table;
use super::text::{count, grouped, printable};

/// Bytes of a payload or field that a line shows.
const SHOWN_BYTES: usize = 64;

/// A line with everything: time, processor, process and thread, provider, event, and what it says.
pub fn line(event: &Listed<'_>) -> String {
    let name = &event.decoded.name;
    let id = |id: Option<u32>| id.map_or("-".to_owned(), |id| id.to_string());
    let time = event.time().unwrap_or_else(|| "-".to_owned());
    let owner = format!("{}.{}", id(event.process), id(event.thread));
    let mut out = format!("{time:>11} cpu{:<3} {owner:<11} {} {}", event.processor, name.provider(), name.event());
    if name.event_name.is_none() && matches!(name.number, EventNumber::Id(_) | EventNumber::Type(_)) {
        let _ = write!(out, " version {}", name.version);
    }
    let said = said(event);
    if !said.is_empty() {
        let _ = write!(out, "  {said}");
    }
    printable(&out) + "\n"
}

/// A line of a provider whose events are sentences: the time and the sentence.
pub fn sentence(event: &Listed<'_>) -> String {
    let time = event.time().unwrap_or_else(|| "-".to_owned());
    printable(&format!("{time} {}", said(event))) + "\n"
}

/// An event's sentence, else its fields, else its payload.
fn said(event: &Listed<'_>) -> String {
    let decoded = &event.decoded;
    if let Some(message) = &decoded.message {
        return message.clone();
    }
    let mut parts: Vec<String> =
        decoded.fields.iter().map(|field| format!("{}: {}", field.name, value(&field.value))).collect();
    match (decoded.rest.len(), decoded.fields.is_empty()) {
        (0, _) => {}
        (_, true) => parts.push(format!("payload: {}", bytes(decoded.rest))),
        (rest, false) => parts.push(format!("+{}", count(rest as u64, "byte"))),
    }
    if decoded.cut {
        parts.push("cut".to_owned());
    }
    parts.join(", ")
}

fn value(value: &Value<'_>) -> String {
    match value {
        Value::Bytes(found) => bytes(found),
        other => other.to_string(),
    }
}

fn bytes(bytes: &[u8]) -> String {
    let shown = Value::Bytes(&bytes[..bytes.len().min(SHOWN_BYTES)]);
    match bytes.len() {
        0..=SHOWN_BYTES => shown.to_string(),
        all => format!("{shown}… ({})", count(all as u64, "byte")),
    }
}

/// How many events there are of each kind.
pub fn counts(counts: &KindCounts, width: usize) -> String {
    let mut table = Table::new(&["provider", "event", "events"], &[2]).wrapping(&[0, 1]);
    for kind in &counts.kinds {
        table.row([kind.provider_name.clone(), kind.event.clone(), grouped(kind.events)]);
    }
    let mut out = table.render(0, width);
    if counts.further > 0 {
        let _ = writeln!(out, "and {} of further kinds", count(counts.further, "event"));
    }
    out
}

/// How long a live dump took.
pub fn capture(capture: &Capture) -> String {
    let of = capture.process.map_or(String::new(), |process| format!(" of process {process}"));
    let what = if capture.is_deferred { "writing of a dump that was put off" } else { "live dump" };
    format!("{what}{of}: {capture}\n")
}

/// Why there is nothing to print, and what to do.
pub fn nothing(events: u64, is_about_live_dumps: bool) -> String {
    let all = count(events, "event");
    if !is_about_live_dumps {
        return format!("none of its {all} is what was asked for; `mkdump events --count` lists what there is");
    }
    format!(
        "none of its {all} is about a live dump. To record them, enable the provider \
         {{bef2aa8e-81cd-11e2-a7bb-5eac6188709b}} in a session, at level 4 with all keywords (no kernel flags are needed); a \
         session of its Operational channel alone lacks half of the lines"
    )
}
