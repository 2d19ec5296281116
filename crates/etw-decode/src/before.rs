//! What came before a moment: the last events of a thread and of a processor.

use std::collections::{BTreeMap, HashMap, VecDeque};

use etl_file::{Event, HookId, Merged, Record, Tick, Trace};

use crate::decoder::Decoder;
use crate::list::Listed;
use crate::select::{Selection, TooLarge, owner};

/// A thread on a processor at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The processor.
    pub processor: u16,
    /// The thread.
    pub thread: u32,
    /// The time.
    pub tick: Tick,
}

/// The numbers of the last events of someone, the latest last.
#[derive(Debug, Default)]
struct Ring(VecDeque<u64>);

impl Ring {
    fn push(&mut self, number: u64, most: usize) {
        if self.0.len() == most {
            self.0.pop_front();
        }
        self.0.push_back(number);
    }
}

/// Which events came last, as the trace is gone over.
struct Rings {
    processors: HashMap<u16, Ring>,
    threads: HashMap<u32, Ring>,
    /// The thread that runs on a processor, by its context switches.
    running: HashMap<u16, u32>,
    most: usize,
}

impl Rings {
    fn add(&mut self, event: &Event<'_>, number: u64) {
        let (_, mut threads) = owner(event);
        if let Some(HookId::CONTEXT_SWITCH) = event.hook()
            && let Ok(Record::ContextSwitch(switch)) = event.record()
        {
            self.running.insert(event.processor, switch.new_thread);
        } else if threads == [None, None] {
            // Its header has no room for a thread: it is of the one that runs.
            threads[0] = self.running.get(&event.processor).copied();
        }
        if let Some(ring) = self.processors.get_mut(&event.processor) {
            ring.push(number, self.most);
        }
        for thread in threads.iter().flatten() {
            if let Some(ring) = self.threads.get_mut(thread) {
                ring.push(number, self.most);
            }
        }
    }

    /// The last events of either.
    fn last(&self, moment: &Moment) -> impl Iterator<Item = u64> {
        let of_processor = self.processors.get(&moment.processor).map(|ring| &ring.0);
        let of_thread = self.threads.get(&moment.thread).map(|ring| &ring.0);
        let mut numbers: Vec<u64> = of_processor.into_iter().chain(of_thread).flatten().copied().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let skipped = numbers.len().saturating_sub(self.most);
        numbers.into_iter().skip(skipped)
    }
}

impl Decoder {
    /// Hands out the last `most` events before each moment that are of its thread or on its processor, in order of time, with
    /// the moment's place in `moments`. Events with Intel PT data are left out: they say nothing of what ran. An event
    /// whose header has no thread is of the one that its processor runs, as context switches say.
    ///
    /// The trace is gone over twice: to find these events, and to read them. Memory is that of [`Selection::list`], and
    /// numbers of `most` events for each moment.
    ///
    /// # Errors
    /// A trace that is too large to be read in order of time.
    pub fn before(
        &self,
        trace: &Trace<'_>,
        moments: &[Moment],
        most: usize,
        mut take: impl FnMut(usize, &Listed<'_>),
    ) -> Result<(), TooLarge> {
        let all = Selection::default();
        let mut order: Vec<usize> = (0..moments.len()).collect();
        order.sort_by_key(|&place| moments[place].tick);
        let mut rings = Rings {
            processors: moments.iter().map(|moment| (moment.processor, Ring::default())).collect(),
            threads: moments.iter().map(|moment| (moment.thread, Ring::default())).collect(),
            running: HashMap::new(),
            most,
        };
        let mut wanted: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut open = order.into_iter().peekable();
        let mut close = |rings: &Rings, until: Option<Tick>| {
            while let Some(place) = open.next_if(|&place| until.is_none_or(|until| moments[place].tick <= until)) {
                rings.last(&moments[place]).for_each(|number| wanted.entry(number).or_default().push(place));
            }
        };
        if most > 0 {
            each(all.in_order(trace)?, |event, number| {
                if event.timestamp.is_some() {
                    close(&rings, event.timestamp);
                }
                rings.add(event, number);
            });
            close(&rings, None);
        }
        each(all.in_order(trace)?, |event, number| {
            let Some(places) = wanted.get(&number) else { return };
            let listed = Listed::new(event, self.decode(event), trace.clock());
            places.iter().for_each(|&place| take(place, &listed));
        });
        Ok(())
    }
}

/// Every event but those with Intel PT data, with its number.
fn each(mut events: Merged<'_>, mut take: impl FnMut(&Event<'_>, u64)) {
    let mut number = 0;
    while let Some(event) = events.next_event() {
        let Ok(event) = event else { continue };
        number += 1;
        if event.hook() != Some(HookId::IPT) {
            take(&event, number);
        }
    }
}
