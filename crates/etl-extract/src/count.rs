//! How many events of each kind were kept and left out.

use std::collections::{BTreeMap, HashMap};

use etl_file::{Event, EventId, Guid, HookId, ProviderGuid, RawEvent};

use crate::keep::{Kept, What};

/// Events of each kind.
#[derive(Clone, Debug)]
pub struct Counts {
    kept: BTreeMap<What, u64>,
    /// Kernel events that were left out, by group: nearly all events of a kernel trace are counted here, without hashing.
    groups: Box<[u64; 256]>,
    /// The others.
    left_out: HashMap<Kind, u64>,
    /// Events of which a path was cut to a file name.
    pub paths_cut: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { kept: BTreeMap::new(), groups: Box::new([0; 256]), left_out: HashMap::new(), paths_cut: 0 }
    }
}

/// One kind, and how many events of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// A kernel class by its name, another class or provider by its GUID.
    pub kind: String,
    /// How many.
    pub events: u64,
}

/// What kind of event was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Class(Guid),
    /// A kernel event of a group without a class.
    Group(u8),
    Message,
    Unknown,
}

impl Kind {
    fn of(event: &Event<'_>) -> Self {
        match (event.class(), event.id) {
            (Some(class), _) => Self::Class(class),
            (None, EventId::Hook(hook)) => Self::Group(hook.group()),
            (None, EventId::Message(_)) => Self::Message,
            _ => Self::Unknown,
        }
    }

    /// Of the kernel events of a group, but for image loads.
    fn of_group(group: u8) -> Self {
        HookId(u16::from(group) << 8).class().map_or(Self::Group(group), Self::Class)
    }

    fn name(self) -> String {
        match self {
            Self::Class(class) => ProviderGuid::name(class).map_or_else(|| format!("{{{class}}}"), str::to_owned),
            Self::Group(group) => format!("kernel group {group:#04x}"),
            Self::Message => "WPP messages".to_owned(),
            Self::Unknown => "unknown".to_owned(),
        }
    }
}

impl Counts {
    /// Counts the log-file header, which is written anew.
    pub(crate) fn add_log_header(&mut self) {
        *self.kept.entry(What::LogHeader).or_default() += 1;
    }

    pub(crate) fn add_kept(&mut self, kept: &Kept) {
        *self.kept.entry(kept.what).or_default() += 1;
        self.paths_cut += u64::from(kept.cut);
    }

    pub(crate) fn add_left_out(&mut self, raw: &RawEvent<'_>) {
        let kind = match raw.parse() {
            Ok(event) => match event.id {
                // An image load is of another class than its group.
                EventId::Hook(hook) if hook != HookId::IMAGE_LOAD => {
                    self.groups[usize::from(hook.group())] += 1;
                    return;
                }
                _ => Kind::of(&event),
            },
            Err(_) => Kind::Unknown,
        };
        *self.left_out.entry(kind).or_default() += 1;
    }

    pub(crate) fn join(&mut self, later: Self) {
        later.kept.into_iter().for_each(|(what, events)| *self.kept.entry(what).or_default() += events);
        later.left_out.into_iter().for_each(|(kind, events)| *self.left_out.entry(kind).or_default() += events);
        self.groups.iter_mut().zip(*later.groups).for_each(|(sum, events)| *sum += events);
        self.paths_cut += later.paths_cut;
    }

    /// Events that were kept, by kind.
    pub fn kept(&self) -> impl Iterator<Item = (What, u64)> + '_ {
        self.kept.iter().map(|(what, events)| (*what, *events))
    }

    /// Events that were kept as something.
    pub fn kept_as(&self, what: What) -> u64 {
        self.kept.get(&what).copied().unwrap_or(0)
    }

    /// Events that were left out, the most frequent kind first.
    pub fn left_out(&self) -> Vec<Count> {
        let mut by_kind = self.left_out.clone();
        for (group, &events) in (0..=u8::MAX).zip(&*self.groups).filter(|(_, events)| **events > 0) {
            *by_kind.entry(Kind::of_group(group)).or_default() += events;
        }
        let count = |(kind, events): (Kind, u64)| Count { kind: kind.name(), events };
        let mut all: Vec<Count> = by_kind.into_iter().map(count).collect();
        all.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.kind.cmp(&b.kind)));
        all
    }
}
