//! How many events of each kind a trace holds.

use std::collections::HashMap;

use etl_file::{Error, Event, Guid, RawEvent, Trace};

use crate::decoder::{Decoder, EventNumber};
use crate::select::Selection;

/// Kinds of events that are told apart; a file made for it can name each of its events otherwise.
const MOST_KINDS: usize = 65_536;

/// The events of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindCount {
    /// The provider or class.
    pub provider: Option<Guid>,
    /// The provider by its name, else by its GUID.
    pub provider_name: String,
    /// The event's number.
    pub number: EventNumber,
    /// The event by its name, else by its number.
    pub event: String,
    /// How many there are.
    pub events: u64,
}

/// What a trace holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindCounts {
    /// Each kind, the most frequent first.
    pub kinds: Vec<KindCount>,
    /// Events of further kinds, beyond the 65,536 that are told apart.
    pub further: u64,
    /// Events whose header could not be read.
    pub unreadable: u64,
    /// What of the trace is damaged, in file order.
    pub damage: Vec<Error>,
}

impl KindCounts {
    /// All events that were counted.
    pub fn events(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.events).sum::<u64>() + self.further
    }
}

/// The events of one number, by the names that they bear.
type Names = HashMap<Box<str>, KindCount>;

#[derive(Default)]
struct Partial {
    kinds: HashMap<(Option<Guid>, EventNumber), Names>,
    len: usize,
    further: u64,
    unreadable: u64,
}

impl Partial {
    fn add(&mut self, decoder: &Decoder, event: &Event<'_>) {
        let name = decoder.name(event);
        let label = name.event_name.as_deref().unwrap_or_default();
        let names = self.kinds.entry((name.provider, name.number)).or_default();
        if let Some(kind) = names.get_mut(label) {
            kind.events += 1;
        } else if self.len < MOST_KINDS {
            self.len += 1;
            let kind = KindCount {
                provider: name.provider,
                provider_name: name.provider().into_owned(),
                number: name.number,
                event: name.event().into_owned(),
                events: 1,
            };
            names.insert(label.into(), kind);
        } else {
            self.further += 1;
        }
    }

    fn join(&mut self, later: Self) {
        (self.further, self.unreadable) = (self.further + later.further, self.unreadable + later.unreadable);
        for (key, names) in later.kinds {
            let ours = self.kinds.entry(key).or_default();
            for (label, kind) in names {
                if let Some(known) = ours.get_mut(&label) {
                    known.events += kind.events;
                } else if self.len < MOST_KINDS {
                    self.len += 1;
                    ours.insert(label, kind);
                } else {
                    self.further += kind.events;
                }
            }
        }
    }
}

impl Selection {
    /// Counts the wanted events of a trace by kind, on all threads at once.
    pub fn count_kinds(&self, trace: &Trace<'_>, decoder: &Decoder) -> KindCounts {
        let add = |partial: &mut Partial, raw: RawEvent<'_>| match raw.parse() {
            Ok(event) if self.admits(decoder, &event) => partial.add(decoder, &event),
            Ok(_) => {}
            Err(_) => partial.unreadable += 1,
        };
        let (found, walked) = trace.par_fold(&self.filter(), Partial::default, add, Partial::join);
        let mut kinds: Vec<KindCount> = found.kinds.into_values().flat_map(HashMap::into_values).collect();
        kinds.sort_by(|a, b| {
            let key = |kind: &KindCount| (kind.provider_name.clone(), kind.number.number(), kind.event.clone());
            b.events.cmp(&a.events).then_with(|| key(a).cmp(&key(b)))
        });
        KindCounts { kinds, further: found.further, unreadable: found.unreadable, damage: walked.damage }
    }
}
