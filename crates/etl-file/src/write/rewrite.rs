//! A trace written anew: what is to be kept of its events, in the buffers that they were in.

use super::layout::{Layout, Packing, Plan, Writer};
use super::{Body, Result};
use crate::buffer::{Buffer, BufferHeader};
use crate::compress::Scratch;
use crate::event::{EventId, RawEvent};
use crate::log_header::LogHeader;
use crate::parallel::scan_batches;
use crate::raw::{BufferFlags, HookId};
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::io::Write;

/// How a trace is written anew.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RewriteOptions {
    /// The log-file header of the new file.
    pub header: LogHeader,
    /// How its buffers are stored.
    pub packing: Packing,
    /// Leave out buffers in which nothing was kept. Sequence numbers are then closed up so that
    /// [`Losses`](crate::Losses) stay what they were.
    pub drop_empty: bool,
}

impl RewriteOptions {
    /// The same log-file header, compressed, every buffer.
    pub fn of(trace: &Trace<'_>) -> Self {
        Self { header: trace.header().clone(), packing: Packing::Xpress, drop_empty: false }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewritten {
    /// Events, the log-file header included.
    pub events: u64,
    /// Buffers.
    pub buffers: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What is to be kept of an event: called with each event, it adds to the new buffer what is to be there.
pub type Keep<'k> = dyn Fn(&RawEvent<'_>, &mut Body) -> Result<()> + Sync + 'k;

/// A buffer in the first pass.
#[derive(Clone, Copy)]
struct Seen {
    offset: u64,
    header: BufferHeader,
    length: usize,
}

impl Trace<'_> {
    /// Writes a trace of what `keep` adds for each event but the log-file header, which `options` states. Buffers keep
    /// their order, processors, sequence numbers and times. What is damaged is left out.
    ///
    /// The trace is read twice, in parallel, and `keep` is called twice for each event: it must add the same both times.
    /// Memory is that of an index of the buffers (about 100 bytes for each) and of the buffers at hand on each thread.
    ///
    /// # Errors
    /// When `keep` fails, an output buffer would be too large, or the output fails.
    pub fn rewrite<W: Write + Send>(
        &self,
        options: &RewriteOptions,
        keep: &Keep<'_>,
        out: W,
    ) -> Result<(W, Rewritten)> {
        let (mut seen, events) = self.measure(keep)?;
        if options.drop_empty {
            drop_empty(&mut seen);
        }
        let mut plan = Plan::new(options.header.clone(), options.packing);
        // A file whose first buffer is damaged still has a log-file header.
        let has_first = seen.first().is_some_and(|buffer| buffer.offset == 0);
        if !has_first {
            plan.add(BufferHeader::first(), 0)?;
        }
        for buffer in &seen {
            plan.add(buffer.header, buffer.length)?;
        }
        let layout = plan.lay_out()?;
        let mut writer = Writer::new(&layout, Counted { out, bytes: 0 });
        if !has_first {
            writer.buffer(&Body::default())?;
        }
        let mut outcome = Ok(());
        scan_batches(
            self.buffers(),
            |batch, scratch| {
                let encode = |buffer| encode(buffer, &seen, &layout, keep, scratch);
                encode_all(batch.buffers.iter(), encode)
            },
            |_, encoded: Result<Vec<Vec<u8>>>| {
                if outcome.is_ok() {
                    outcome = encoded.and_then(|all| all.iter().try_for_each(|buffer| writer.encoded(buffer)));
                }
            },
        );
        outcome?;
        let Counted { out, bytes } = writer.finish()?;
        Ok((out, Rewritten { events: events + 1, buffers: layout.buffers() as u64, bytes }))
    }

    /// The first pass: how long each buffer will be, and how many events there will be.
    fn measure(&self, keep: &Keep<'_>) -> Result<(Vec<Seen>, u64)> {
        let (mut seen, mut events, mut outcome) = (Vec::new(), 0, Ok(()));
        scan_batches(
            self.buffers(),
            |batch, scratch| {
                let (mut body, mut events) = (Body::default(), 0);
                let measure = |buffer: &Buffer<'_>| {
                    fill(buffer, keep, scratch, &mut body)?;
                    events += body.events();
                    Ok(Seen { offset: buffer.offset(), header: *buffer.header(), length: body.len() })
                };
                let found: Result<Vec<Seen>> = batch.buffers.iter().map(measure).collect();
                found.map(|found| (found, events))
            },
            |_, found| match found {
                Ok((more, kept)) => {
                    seen.extend(more);
                    events += kept;
                }
                Err(error) => outcome = Err(error),
            },
        );
        outcome.map(|()| (seen, events))
    }
}

/// Collects what is kept of a buffer. One that cannot be opened has nothing.
fn fill(buffer: &Buffer<'_>, keep: &Keep<'_>, scratch: &mut Scratch, body: &mut Body) -> Result<()> {
    body.clear();
    let Ok(events) = buffer.events(scratch) else { return Ok(()) };
    for event in events.flatten() {
        if buffer.offset() == 0 && event.position == 0 && is_log_header(&event) {
            continue;
        }
        keep(&event, body)?;
    }
    Ok(())
}

fn is_log_header(event: &RawEvent<'_>) -> bool {
    event.parse().is_ok_and(|event| event.id == EventId::Hook(HookId::LOG_HEADER))
}

/// The second pass over one buffer: `None` for one that is left out.
fn encode(
    buffer: &Buffer<'_>,
    seen: &[Seen],
    layout: &Layout,
    keep: &Keep<'_>,
    scratch: &mut Scratch,
) -> Result<Option<Vec<u8>>> {
    let Ok(place) = seen.binary_search_by_key(&buffer.offset(), |seen| seen.offset) else { return Ok(None) };
    let mut body = Body::default();
    fill(buffer, keep, scratch, &mut body)?;
    // The layout has one buffer more when the first one was made up.
    layout.encode(place + layout.buffers() - seen.len(), &body).map(Some)
}

fn encode_all<'b, 'a: 'b>(
    buffers: impl Iterator<Item = &'b Buffer<'a>>,
    encode: impl FnMut(&'b Buffer<'a>) -> Result<Option<Vec<u8>>>,
) -> Result<Vec<Vec<u8>>> {
    buffers.map(encode).filter_map(Result::transpose).collect()
}

/// Removes buffers without events whose absence would not be seen as a loss: neighbours in sequence are there on both
/// sides, and no mark says that something was lost before them. The numbers after them move up.
fn drop_empty(seen: &mut Vec<Seen>) {
    let lost = [BufferFlags::EVENTS_LOST, BufferFlags::BUFFER_LOST];
    let is_empty = |one: &Seen| one.length == 0 && !lost.iter().any(|&flag| one.header.flags.has(flag));
    // The first buffer of the file does not count.
    let mut by_sequence: BTreeMap<i64, bool> = BTreeMap::new();
    for one in seen.iter().filter(|one| one.offset > 0) {
        let empty = by_sequence.entry(one.header.sequence).or_insert(true);
        *empty &= is_empty(one);
    }
    let numbers: Vec<(i64, bool)> = by_sequence.into_iter().collect();
    let mut moved: BTreeMap<i64, Option<i64>> = BTreeMap::new();
    let mut dropped = 0;
    for (place, &(number, empty)) in numbers.iter().enumerate() {
        let before = place.checked_sub(1).map(|before| numbers[before].0);
        let after = numbers.get(place + 1).map(|after| after.0);
        let is_between = before.is_some_and(|b| b.checked_add(1) == Some(number))
            && after.is_none_or(|a| a.checked_sub(1) == Some(number));
        if empty && is_between {
            dropped += 1;
            moved.insert(number, None);
        } else {
            moved.insert(number, Some(number.wrapping_sub(dropped)));
        }
    }
    seen.retain_mut(|one| {
        if one.offset == 0 {
            return true;
        }
        match moved.get(&one.header.sequence).copied().flatten() {
            Some(number) => {
                one.header.sequence = number;
                true
            }
            None => false,
        }
    });
}

/// An output that counts.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
