//! A trace written anew: what is to be kept of its events, in the buffers that they were in.

use super::layout::{Layout, Packing, Plan, Writer};
use super::{Body, Result};
use crate::buffer::{Buffer, BufferHeader};
use crate::compress::Scratch;
use crate::error::Error;
use crate::event::RawEvent;
use crate::log_header::LogHeader;
use crate::parallel::scan_batches;
use crate::raw::BufferFlags;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewritten {
    /// Events, the log-file header included.
    pub events: u64,
    /// Buffers.
    pub buffers: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// What is damaged in the trace that was read, and therefore not in this one; in file order.
    pub damage: Vec<Error>,
}

/// What is to be kept of an event: called with each event, it adds to the new buffer what is to be there.
pub type Keep<'k> = dyn Fn(&RawEvent<'_>, &mut Body) -> Result<()> + Sync + 'k;

/// What the first pass of [`Trace::rewrite_and_fold`] finds besides, by the rules of [`Trace::par_fold`]: how an empty value
/// is made, and how that of a later part of the file is added to that of an earlier part.
#[derive(Clone, Copy, Debug)]
pub struct Folding<S, J> {
    /// Makes an empty value.
    pub start: S,
    /// Adds the value of a later part.
    pub join: J,
}

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
        let folding = Folding { start: || (), join: |(): &mut (), ()| () };
        let (out, rewritten, ()) = self.rewrite_and_fold(options, |event, body, ()| keep(event, body), folding, out)?;
        Ok((out, rewritten))
    }

    /// The same, and `keep` adds each event to a value too, as with [`Self::par_fold`]. Of the two times that `keep` is called
    /// for an event, the first counts.
    ///
    /// # Errors
    /// As [`Self::rewrite`].
    pub fn rewrite_and_fold<T: Send, W: Write + Send>(
        &self,
        options: &RewriteOptions,
        keep: impl Fn(&RawEvent<'_>, &mut Body, &mut T) -> Result<()> + Sync,
        folding: Folding<impl Fn() -> T + Sync, impl FnMut(&mut T, T) + Send>,
        out: W,
    ) -> Result<(W, Rewritten, T)> {
        let Folding { start, join } = folding;
        let Measured { mut seen, events, damage, value } = self.measure(&keep, &start, join)?;
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
            self,
            |batch, scratch| {
                let mut again = start();
                let mut keep = |event: &RawEvent<'_>, body: &mut Body| keep(event, body, &mut again);
                let encode = |buffer| encode(buffer, &seen, &layout, &mut keep, scratch);
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
        let buffers = layout.buffers() as u64;
        Ok((out, Rewritten { events: events + 1, buffers, bytes, damage }, value))
    }

    /// The first pass.
    fn measure<T: Send>(
        &self,
        keep: &(impl Fn(&RawEvent<'_>, &mut Body, &mut T) -> Result<()> + Sync),
        start: &(impl Fn() -> T + Sync),
        mut join: impl FnMut(&mut T, T) + Send,
    ) -> Result<Measured<T>> {
        let mut all = Measured::new(start());
        let mut outcome = Ok(());
        scan_batches(
            self,
            |batch, scratch| {
                let mut found = Measured::new(start());
                let mut body = Body::default();
                for buffer in &batch.buffers {
                    let mut keep = |event: &RawEvent<'_>, body: &mut Body| keep(event, body, &mut found.value);
                    fill(buffer, &mut keep, scratch, &mut body, &mut found.damage)?;
                    found.events += body.events();
                    found.seen.push(Seen { offset: buffer.offset(), header: *buffer.header(), length: body.len() });
                }
                Ok(found)
            },
            |batch, found: Result<Measured<T>>| match found {
                Ok(found) => {
                    all.seen.extend(found.seen);
                    all.events += found.events;
                    all.damage.extend(batch.damage);
                    all.damage.extend(found.damage);
                    join(&mut all.value, found.value);
                }
                Err(error) => outcome = Err(error),
            },
        );
        all.damage.sort_by_key(Error::offset);
        outcome.map(|()| all)
    }
}

/// What the first pass finds.
struct Measured<T> {
    /// How long each buffer will be.
    seen: Vec<Seen>,
    /// How many events there will be.
    events: u64,
    damage: Vec<Error>,
    value: T,
}

impl<T> Measured<T> {
    fn new(value: T) -> Self {
        Self { seen: Vec::new(), events: 0, damage: Vec::new(), value }
    }
}

/// Collects what is kept of a buffer. What is damaged has nothing.
fn fill(
    buffer: &Buffer<'_>,
    keep: &mut impl FnMut(&RawEvent<'_>, &mut Body) -> Result<()>,
    scratch: &mut Scratch,
    body: &mut Body,
    damage: &mut Vec<Error>,
) -> Result<()> {
    body.clear();
    let events = match buffer.events(scratch) {
        Ok(events) => events,
        Err(error) => {
            damage.push(error);
            return Ok(());
        }
    };
    for event in events {
        match event {
            // The file's first event is the log-file header: the trace would not have opened otherwise.
            Ok(event) if buffer.offset() == 0 && event.position == 0 => {}
            Ok(event) => keep(&event, body)?,
            Err(error) => damage.push(error),
        }
    }
    Ok(())
}

/// The second pass over one buffer: `None` for one that is left out.
fn encode(
    buffer: &Buffer<'_>,
    seen: &[Seen],
    layout: &Layout,
    keep: &mut impl FnMut(&RawEvent<'_>, &mut Body) -> Result<()>,
    scratch: &mut Scratch,
) -> Result<Option<Vec<u8>>> {
    let Ok(place) = seen.binary_search_by_key(&buffer.offset(), |seen| seen.offset) else { return Ok(None) };
    let mut body = Body::default();
    if seen[place].length > 0 {
        fill(buffer, keep, scratch, &mut body, &mut Vec::new())?;
    }
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
