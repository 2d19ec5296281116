//! Intel PT snapshots: put together from their events, and tied to the events that triggered them.

use super::{IptEvent, IptSnapshot, Trigger};
use crate::buffer::Buffer;
use crate::clock::Tick;
use crate::event::{Event, Events, Filter};
use crate::raw::HookId;
use crate::records::{ContextSwitch, Ipt, Record};
use crate::trace::Trace;
use std::borrow::Cow;
use std::collections::HashMap;

/// One event's data, and where in its processor's stream it stood.
pub(super) struct Piece<'a> {
    sequence: i64,
    buffer: u64,
    position: u32,
    processor: u16,
    trigger_time: Tick,
    pid: u32,
    tid: u32,
    options: u64,
    event: IptEvent,
    trigger: Option<Candidate>,
    data: Cow<'a, [u8]>,
}

/// An event that may be a snapshot's trigger; the better one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// The event says that it is about the traced thread.
    same_thread: bool,
    hook: HookId,
}

impl<'a> Piece<'a> {
    /// `raw_length` are the bytes of the event with its header.
    pub fn new(
        buffer: &Buffer<'a>,
        raw_length: usize,
        event: &Event<'_>,
        record: &Ipt<'_>,
        data: Cow<'a, [u8]>,
    ) -> Self {
        Self {
            sequence: buffer.header().sequence,
            buffer: buffer.offset(),
            position: event.position,
            processor: event.processor,
            trigger_time: record.trigger_time,
            pid: record.process,
            tid: record.thread,
            options: record.options.0,
            event: IptEvent {
                header: event.kind,
                header_length: raw_length.saturating_sub(event.payload.len()),
                declared: record.declared,
                word28: record.ring_offset,
            },
            trigger: None,
            data,
        }
    }
}

/// Looks in one buffer for the events that triggered `pieces`, which are of the same processor.
pub(super) fn find_triggers(events: Events<'_>, pieces: &mut [Piece<'_>]) {
    if pieces.is_empty() {
        return;
    }
    let mut wanted: HashMap<Tick, Vec<&mut Piece<'_>>> = HashMap::new();
    for piece in pieces {
        wanted.entry(piece.trigger_time).or_default().push(piece);
    }
    for event in events.filter_map(|raw| raw.ok()?.parse().ok()) {
        let Some(pieces) = event.timestamp.and_then(|tick| wanted.get_mut(&tick)) else { continue };
        for piece in pieces {
            piece.trigger = piece.trigger.max(candidate(&event, piece.tid));
        }
    }
}

/// What `event` is as a trigger. Neither Intel PT events nor stacks trigger one: they are follow-ups themselves.
fn candidate(event: &Event<'_>, thread: u32) -> Option<Candidate> {
    let hook = event.hook().filter(|&hook| hook != HookId::IPT && hook != HookId::STACK_WALK)?;
    let about = match event.record() {
        Ok(Record::ContextSwitch(ContextSwitch { new_thread, old_thread })) => {
            new_thread == thread || old_thread == thread
        }
        Ok(Record::SampledProfile(sample)) => sample.thread == thread,
        _ => event.thread == Some(thread),
    };
    Some(Candidate { same_thread: about, hook })
}

/// Joins the pieces of each snapshot. Triggers that were not in the same buffer are looked for in the other buffers of
/// the processor, in a second pass that only such traces need.
pub(super) fn assemble<'a>(trace: &Trace<'a>, mut pieces: Vec<Piece<'a>>) -> Vec<IptSnapshot<'a>> {
    pieces.sort_by_key(|piece| (piece.processor, piece.sequence, piece.buffer, piece.position));
    find_far_triggers(trace, &mut pieces);
    let mut places = HashMap::new();
    let mut snapshots: Vec<IptSnapshot<'a>> = Vec::new();
    for piece in pieces {
        let key = (piece.processor, piece.pid, piece.tid, piece.trigger_time, piece.options);
        let place = *places.entry(key).or_insert(snapshots.len());
        if place == snapshots.len() {
            snapshots.push(IptSnapshot {
                trigger_time: piece.trigger_time,
                processor: piece.processor,
                pid: piece.pid,
                tid: piece.tid,
                options: piece.options,
                ring_offset: piece.event.word28,
                trigger: None,
                declared: 0,
                pieces: Vec::new(),
                events: Vec::new(),
            });
        }
        let snapshot = &mut snapshots[place];
        snapshot.declared += u64::from(piece.event.declared);
        snapshot.events.push(piece.event);
        let trigger = piece.trigger.map(|found| Trigger { hook: found.hook, name: found.hook.name() });
        snapshot.trigger = snapshot.trigger.or(trigger);
        snapshot.pieces.push(piece.data);
    }
    snapshots
}

fn find_far_triggers(trace: &Trace<'_>, pieces: &mut [Piece<'_>]) {
    let mut wanted: HashMap<(u16, Tick), Vec<usize>> = HashMap::new();
    for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.trigger.is_none()) {
        wanted.entry((piece.processor, piece.trigger_time)).or_default().push(index);
    }
    if wanted.is_empty() {
        return;
    }
    let threads: Vec<u32> = pieces.iter().map(|piece| piece.tid).collect();
    let (found, _) = trace.par_fold(
        Filter::all(),
        Vec::new,
        |found: &mut Vec<(usize, Candidate)>, raw| {
            let Ok(event) = raw.parse() else { return };
            let indexes = event.timestamp.and_then(|tick| wanted.get(&(event.processor, tick)));
            for &index in indexes.into_iter().flatten() {
                found.extend(candidate(&event, threads[index]).map(|candidate| (index, candidate)));
            }
        },
        Extend::extend,
    );
    for (index, candidate) in found {
        pieces[index].trigger = pieces[index].trigger.max(Some(candidate));
    }
}

/// In which order a snapshot's bytes were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RingOrder {
    /// As they stand.
    Stored,
    /// From the ring offset to the end, then from the start: the ring buffer had wrapped.
    Unwrapped,
}

/// A packet stream boundary: 02 82, eight times (Intel SDM, volume 3, chapter on Intel Processor Trace).
const PSB: [u8; 16] = [2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82];

impl<'a> IptSnapshot<'a> {
    /// All pieces in one, as logged.
    pub fn stored(&self) -> Cow<'_, [u8]> {
        match &self.pieces[..] {
            [one] => Cow::Borrowed(one),
            many => Cow::Owned(many.concat()),
        }
    }

    /// All pieces in one, in the given order. [`RingOrder::Unwrapped`] is `data[offset..] ++ data[..offset]`; an offset
    /// outside the data leaves it as it is.
    pub fn bytes(&self, order: RingOrder) -> Cow<'_, [u8]> {
        let stored = self.stored();
        match (order, self.turn(stored.len())) {
            (RingOrder::Unwrapped, Some(turn)) => {
                let mut turned = stored.into_owned();
                turned.rotate_left(turn);
                Cow::Owned(turned)
            }
            _ => stored,
        }
    }

    /// Which order the data itself speaks for: the one with more packet stream boundaries, since the wrong order cuts
    /// one in two if one stands there. When they do not decide, the ring offset is taken at its word.
    pub fn likely_order(&self) -> RingOrder {
        let stored = self.stored();
        let Some(turn) = self.turn(stored.len()) else { return RingOrder::Stored };
        // Only boundaries across a seam differ: the one at the turn in stored order, the one at the ends in the other.
        let seam = |before: &[u8], after: &[u8]| {
            let reach = PSB.len() - 1;
            let around = [&before[before.len().saturating_sub(reach)..], &after[..after.len().min(reach)]].concat();
            around.windows(PSB.len()).any(|window| window == PSB)
        };
        let (first, second) = stored.split_at(turn);
        if seam(first, second) && !seam(second, first) { RingOrder::Stored } else { RingOrder::Unwrapped }
    }

    /// Where to turn the ring, if there is anything to turn.
    fn turn(&self, length: usize) -> Option<usize> {
        usize::try_from(self.ring_offset).ok().filter(|&offset| 0 < offset && offset < length)
    }
}
