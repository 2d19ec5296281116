//! `mkdump ipt --context`: what happened before each snapshot.

use std::fmt::Write;

use anyhow::Result;
use etw_decode::{Decoder, Moment};
use mkdump::report::ipt::IptReport;
use mkdump::{Reading, Source};

use crate::show::events;

/// The last `most` events before each snapshot of the report that the trace holds, from all files of the recording.
pub fn text(most: usize, source: &Source, reading: &Reading<'_>, report: &IptReport) -> Result<String> {
    let numbered = mkdump::ipt::numbered(reading);
    let mut moments = Vec::new();
    let mut numbers = Vec::new();
    for snapshot in &report.snapshots {
        // Data from files comes behind the trace's own, and belongs to no event.
        let Some(found) = numbered.get(snapshot.facts.index).map(|&place| &reading.ipt[place]) else { continue };
        moments.push(Moment { processor: found.processor, thread: found.tid, tick: found.trigger_time });
        numbers.push(snapshot.facts.index);
    }
    let mut lines = vec![Vec::new(); moments.len()];
    let decoder = Decoder::new();
    for trace in &source.traces().map_err(mkdump::Error::from)? {
        decoder.before(trace, &moments, most, |place, event| lines[place].push((event.tick, events::line(event))))?;
    }
    let mut out = String::new();
    for (number, mut lines) in numbers.into_iter().zip(lines) {
        // Files of one recording have one clock.
        lines.sort_by_key(|(tick, _)| *tick);
        let skipped = lines.len().saturating_sub(most);
        let _ = writeln!(out, "\nbefore snapshot {number}{}", if lines.is_empty() { ": no events" } else { "" });
        lines.iter().skip(skipped).for_each(|(_, line)| out += line);
    }
    Ok(out)
}
