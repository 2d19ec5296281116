//! How long the parts of a live dump took.

use std::fmt;

use etl_file::{Clock, Event, ProviderGuid, Tick};

use crate::decoder::Decoded;
use crate::elapsed::seconds;
use crate::table::number_of;
use crate::value::Value;

/// Captures that are kept; later ones are not looked at.
const MOST: usize = 4096;

/// Times of standing still that are kept of one capture, which has two.
const MOST_QUIESCED: usize = 16;

/// One live dump, or one writing of a dump that was put off. A part is there when both of its ends are in the trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capture {
    /// The process that the events bear.
    pub process: Option<u32>,
    /// The writing of a dump whose data had been captured before.
    pub is_deferred: bool,
    /// Before the file is written, in units of 100 ns.
    pub preparing: Option<u64>,
    /// While the file is written, in units of 100 ns.
    pub writing: Option<u64>,
    /// Bytes of the file.
    pub bytes: Option<u64>,
    /// Times for which the system stood still, in units of 100 ns: for sizing, then for copying.
    pub quiesced: Vec<u64>,
}

impl Capture {
    /// Bytes written a second, rounded down.
    pub fn bytes_per_second(&self) -> Option<u64> {
        let (bytes, units) = (self.bytes?, self.writing.filter(|units| *units > 0)?);
        u64::try_from(u128::from(bytes) * 10_000_000 / u128::from(units)).ok()
    }

    fn is_empty(&self) -> bool {
        self.preparing.is_none() && self.writing.is_none() && self.quiesced.is_empty()
    }
}

impl fmt::Display for Capture {
    /// `preparing 0.8822749 s, writing 34.1006242 s (46075913 bytes/s), quiesced 0.1970574 s and 0.4745292 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |units: u64| format!("{}.{:07} s", units / 10_000_000, units % 10_000_000);
        let mut parts = Vec::new();
        parts.extend(self.preparing.map(|units| format!("preparing {}", time(units))));
        parts.extend(self.writing.map(|units| {
            let rate = self.bytes_per_second().map_or(String::new(), |rate| format!(" ({rate} bytes/s)"));
            format!("writing {}{rate}", time(units))
        }));
        if !self.quiesced.is_empty() {
            let times: Vec<String> = self.quiesced.iter().map(|units| time(*units)).collect();
            parts.push(format!("quiesced {}", times.join(" and ")));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Finds the captures among a trace's events, which are given in order of time.
#[derive(Clone, Debug)]
pub struct Captures {
    clock: Clock,
    /// Under way, each with when its parts began.
    open: Vec<(Capture, Begun)>,
    done: Vec<Capture>,
}

/// When the parts of a capture began that are not over yet.
#[derive(Clone, Copy, Debug, Default)]
struct Begun {
    api: Option<Tick>,
    writing: Option<Tick>,
    quiesce: Option<Tick>,
}

impl Captures {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, open: Vec::new(), done: Vec::new() }
    }

    /// Whether an event is of the provider that is listened to; others need not be decoded for this.
    pub fn wants(event: &Event<'_>) -> bool {
        event.class() == Some(ProviderGuid::KERNEL_LIVE_DUMP)
    }

    /// Takes an event, of whatever provider.
    pub fn add(&mut self, event: &Event<'_>, decoded: &Decoded<'_>) {
        let id = number_of(event, ProviderGuid::KERNEL_LIVE_DUMP);
        let (Some(id), Some(now)) = (id, event.timestamp) else { return };
        let is_deferred = (201..=204).contains(&id);
        // The steps of both kinds of dump have the same last digits.
        let step = if is_deferred { id - 200 } else { id };
        if step == 1 {
            self.end(event.process, is_deferred);
        }
        let is_it =
            |(capture, _): &(Capture, Begun)| (capture.process, capture.is_deferred) == (event.process, is_deferred);
        let place = self.open.iter().position(is_it);
        let place = match place {
            Some(place) => place,
            None if self.open.len() + self.done.len() >= MOST => return,
            None => {
                let capture = Capture { process: event.process, is_deferred, ..Capture::default() };
                self.open.push((capture, Begun::default()));
                self.open.len() - 1
            }
        };
        let clock = self.clock;
        let since = |begun: &mut Option<Tick>| {
            let units = |tick| seconds(&clock, now) - seconds(&clock, tick);
            begun.take().and_then(|tick| u64::try_from(units(tick)).ok())
        };
        let (capture, begun) = &mut self.open[place];
        match step {
            1 => begun.api = Some(now),
            3 => (capture.preparing, begun.writing) = (since(&mut begun.api), Some(now)),
            4 => {
                capture.writing = since(&mut begun.writing);
                let total = decoded.fields.iter().find(|field| field.name == "TotalBytes");
                capture.bytes = total.and_then(|field| match field.value {
                    Value::Unsigned(bytes) => Some(bytes),
                    _ => None,
                });
            }
            104 | 154 => begun.quiesce = Some(now),
            105 | 155 => {
                let units = since(&mut begun.quiesce);
                capture.quiesced.extend(units.filter(|_| capture.quiesced.len() < MOST_QUIESCED));
            }
            2 => self.end(event.process, is_deferred),
            _ => {}
        }
    }

    /// Ends what a process had under way.
    fn end(&mut self, process: Option<u32>, is_deferred: bool) {
        let is_it = |capture: &Capture| (capture.process, capture.is_deferred) == (process, is_deferred);
        if let Some(place) = self.open.iter().position(|(capture, _)| is_it(capture)) {
            self.done.push(self.open.remove(place).0);
        }
    }

    /// The captures that are known at least in part: those that ended, in the order in which they ended, then the others.
    pub fn finish(self) -> Vec<Capture> {
        let all = self.done.into_iter().chain(self.open.into_iter().map(|(capture, _)| capture));
        all.filter(|capture| !capture.is_empty()).collect()
    }
}
