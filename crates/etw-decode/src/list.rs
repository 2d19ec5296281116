//! The wanted events of a trace one after the other.

use etl_file::{Clock, Event, Tick, Trace};

use crate::captures::{Capture, Captures};
use crate::decoder::{Decoded, Decoder};
use crate::elapsed::time_text;
use crate::select::{Selection, TooLarge, owner};

/// An event of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listed<'e> {
    /// When it was logged; some WPP messages do not say.
    pub tick: Option<Tick>,
    /// The processor of its buffer.
    pub processor: u16,
    /// The process in its header; of samples, stacks, branches and Intel PT data without one the process that they name.
    pub process: Option<u32>,
    /// The thread, likewise.
    pub thread: Option<u32>,
    /// What it says.
    pub decoded: Decoded<'e>,
    clock: Clock,
}

impl<'e> Listed<'e> {
    pub(crate) fn new(event: &Event<'e>, decoded: Decoded<'e>, clock: Clock) -> Self {
        let (process, [thread, other]) = owner(event);
        // A context switch is of two threads; only its header can say which one logged it.
        let thread = if other.is_some() { event.thread.filter(|id| *id != u32::MAX) } else { thread };
        Self { tick: event.timestamp, processor: event.processor, process, thread, decoded, clock }
    }

    /// Its time as [`time_text`] has it.
    pub fn time(&self) -> Option<String> {
        self.tick.map(|tick| time_text(&self.clock, tick))
    }
}

/// What a list was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct List {
    /// Events that are wanted, those included that `last` left out.
    pub events: u64,
    /// How long the live dumps among them took.
    pub captures: Vec<Capture>,
}

impl Selection {
    /// Hands out the wanted events of a trace in order of time; with `last` only so many at the end, for which the trace
    /// is gone over once before, on all threads. Equal times: the lower processor first. Memory is that of an index of
    /// buffers, 80 bytes for each, and of one unpacked buffer for each processor.
    ///
    /// Damage is passed: a survey of the trace tells it.
    ///
    /// # Errors
    /// The first that `take` gives, and a trace that is too large to be read in order of time.
    pub fn list<E: From<TooLarge>>(
        &self,
        trace: &Trace<'_>,
        decoder: &Decoder,
        last: Option<u64>,
        mut take: impl FnMut(&Listed<'_>) -> Result<(), E>,
    ) -> Result<List, E> {
        let skipped = last.map_or(0, |last| self.count(trace, decoder).saturating_sub(last));
        let mut events = self.in_order(trace)?;
        let mut captures = Captures::new(trace.clock());
        let mut count = 0;
        while let Some(event) = events.next_event() {
            let Ok(event) = event else { continue };
            if !self.admits(decoder, &event) {
                continue;
            }
            count += 1;
            let is_shown = count > skipped;
            if !is_shown && !Captures::wants(&event) {
                continue;
            }
            let decoded = decoder.decode(&event);
            captures.add(&event, &decoded);
            if is_shown {
                take(&Listed::new(&event, decoded, trace.clock()))?;
            }
        }
        Ok(List { events: count, captures: captures.finish() })
    }
}
