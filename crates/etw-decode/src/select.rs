//! Which events of a trace are wanted.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use etl_file::{Clock, Event, Filter, Guid, HookId, Merged, ProviderGuid, Record, Tick, Trace};

use crate::decoder::Decoder;
use crate::wer_kernel;

/// A provider or class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderChoice {
    /// By GUID.
    Guid(Guid),
    /// By a name that only its events can tell, in whatever case.
    Name(String),
}

/// An event of a provider or class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventChoice {
    /// By its id, type, message number or hook id.
    Number(u16),
    /// By its name, in whatever case.
    Name(String),
}

impl FromStr for EventChoice {
    type Err = Infallible;

    /// A number, decimal or after `0x` hexadecimal; anything else is a name.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) if !digits.starts_with('+') => u16::from_str_radix(digits, 16).ok(),
            _ => text.parse().ok(),
        };
        Ok(number.map_or_else(|| Self::Name(text.to_owned()), Self::Number))
    }
}

impl Decoder {
    /// A provider by GUID or by name; a name that is not known may still be that of a provider whose events tell it.
    pub fn provider(&self, text: &str) -> ProviderChoice {
        let guid = self.guid_of(text).or_else(|| text.parse().ok());
        guid.map_or_else(|| ProviderChoice::Name(text.to_owned()), ProviderChoice::Guid)
    }
}

/// Which events: those for which everything given holds. Of several values of one kind, one has to.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of these providers and classes.
    pub providers: Vec<ProviderChoice>,
    /// These events.
    pub events: Vec<EventChoice>,
    /// Of these processes.
    pub processes: Vec<u32>,
    /// Of these threads; a context switch is of the thread that comes and of the one that goes.
    pub threads: Vec<u32>,
    /// Of these processors.
    pub processors: Vec<u16>,
    /// At this tick or later.
    pub from: Option<Tick>,
    /// At this tick or earlier.
    pub to: Option<Tick>,
}

/// Bytes of unpacked buffers that reading in order of time may hold at once.
pub const MOST_UNPACKED: u64 = 1 << 30;

/// A trace whose buffers unpack to more than reading it in order of time may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes of the largest compressed buffer of each processor, added up.
    pub needed: u64,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in order of time it has to be read with one unpacked buffer for each processor: that is {} bytes, allowed are \
             {MOST_UNPACKED}",
            self.needed
        )
    }
}

impl std::error::Error for TooLarge {}

impl Selection {
    /// Limits the time to what [`crate::time_text`] shows as `from` to `to`, both included.
    pub fn set_seconds(&mut self, clock: &Clock, from: Option<f64>, to: Option<f64>) {
        // A float converts to an integer that saturates.
        let units = |seconds: f64| (seconds * 1e7).round() as i64;
        self.from = from.map(|from| clock.tick_at_nanos(i128::from(units(from)) * 100));
        self.to = to.map(|to| Tick(clock.tick_at_nanos((i128::from(units(to)) + 1) * 100).0.saturating_sub(1)));
    }

    /// Whether an event is wanted. Nothing is allocated unless events are chosen by name.
    pub fn admits(&self, decoder: &Decoder, event: &Event<'_>) -> bool {
        self.admits_place(event) && self.admits_owner(event) && self.admits_name(decoder, event)
    }

    fn admits_place(&self, event: &Event<'_>) -> bool {
        let is_in = |tick: Tick| self.from.is_none_or(|from| tick >= from) && self.to.is_none_or(|to| tick <= to);
        (self.processors.is_empty() || self.processors.contains(&event.processor))
            && (self.from.is_none() && self.to.is_none() || event.timestamp.is_some_and(is_in))
    }

    fn admits_owner(&self, event: &Event<'_>) -> bool {
        if self.processes.is_empty() && self.threads.is_empty() {
            return true;
        }
        let (process, threads) = owner(event);
        (self.processes.is_empty() || process.is_some_and(|process| self.processes.contains(&process)))
            && (self.threads.is_empty() || threads.iter().flatten().any(|thread| self.threads.contains(thread)))
    }

    fn admits_name(&self, decoder: &Decoder, event: &Event<'_>) -> bool {
        let of_provider = |choice: &ProviderChoice| match choice {
            ProviderChoice::Guid(guid) => event.class() == Some(*guid),
            ProviderChoice::Name(name) => {
                decoder.name(event).provider_name.is_some_and(|found| found.eq_ignore_ascii_case(name))
            }
        };
        let is_it = |choice: &EventChoice| match choice {
            EventChoice::Number(number) => decoder.name(event).number.number() == Some(*number),
            EventChoice::Name(name) => decoder.name(event).event().eq_ignore_ascii_case(name),
        };
        (self.providers.is_empty() || self.providers.iter().any(of_provider))
            && (self.events.is_empty() || self.events.iter().any(is_it))
    }

    /// A filter for the events' first bytes, which lets through all that is wanted and more.
    pub fn filter(&self) -> Filter {
        let mut filter = Filter::none();
        for choice in &self.providers {
            // A filter knows no WPP messages, whose class can be any GUID but those of the kernel and of manifests.
            let known = match choice {
                ProviderChoice::Guid(guid) => Some(*guid).filter(|guid| Decoder::new().name_of(*guid).is_some()),
                ProviderChoice::Name(_) => None,
            };
            let Some(guid) = known else { return Filter::all().clone() };
            let hooks: Vec<HookId> = hooks_of(guid).collect();
            filter = filter.classes(&[guid]).hooks(&hooks);
        }
        if self.providers.is_empty() { Filter::all().clone() } else { filter }
    }

    /// The events of a trace in order of time, with more than those that are wanted among them: each has to be held
    /// against [`Self::admits`].
    ///
    /// # Errors
    /// When the trace's compressed buffers, one for each processor, unpack to more than [`MOST_UNPACKED`].
    pub fn in_order<'t>(&self, trace: &Trace<'t>) -> Result<Merged<'t>, TooLarge> {
        let mut largest = BTreeMap::<u16, u64>::new();
        for buffer in trace.buffers().flatten().filter(etl_file::Buffer::is_compressed) {
            let bytes = largest.entry(buffer.header().processor).or_default();
            *bytes = (*bytes).max(buffer.header().filled.into());
        }
        let needed = largest.values().sum();
        if needed > MOST_UNPACKED {
            return Err(TooLarge { needed });
        }
        Ok(trace.events_by_time().filter(self.filter()))
    }

    /// How many events are wanted, found on all threads.
    pub fn count(&self, trace: &Trace<'_>, decoder: &Decoder) -> u64 {
        let add = |count: &mut u64, raw: etl_file::RawEvent<'_>| {
            *count += u64::from(raw.parse().is_ok_and(|event| self.admits(decoder, &event)));
        };
        trace.par_fold(&self.filter(), || 0, add, |count, later| *count += later).0
    }

    /// True when every provider chosen is one whose events are sentences about live dumps.
    pub fn is_about_live_dumps(&self) -> bool {
        let is_it = |choice: &ProviderChoice| match choice {
            ProviderChoice::Guid(guid) => [ProviderGuid::KERNEL_LIVE_DUMP, wer_kernel::PROVIDER].contains(guid),
            ProviderChoice::Name(_) => false,
        };
        !self.providers.is_empty() && self.providers.iter().all(is_it)
    }
}

/// The kernel events of a class.
fn hooks_of(class: Guid) -> impl Iterator<Item = HookId> {
    // No class has hooks beyond these groups.
    (0..0x2000).map(HookId).filter(move |hook| hook.class() == Some(class))
}

/// Process and threads that an event is of: those of its header, else those that it names.
pub(crate) fn owner(event: &Event<'_>) -> (Option<u32>, [Option<u32>; 2]) {
    let is_known = |id: &u32| *id != u32::MAX;
    let (process, thread) = (event.process.filter(is_known), event.thread.filter(is_known));
    let hook = event.hook();
    if hook == Some(HookId::CONTEXT_SWITCH)
        && let Ok(Record::ContextSwitch(switch)) = event.record()
    {
        return (process, [Some(switch.new_thread), Some(switch.old_thread)]);
    }
    if thread.is_some() {
        return (process, [thread, None]);
    }
    const NAMING: [HookId; 4] = [HookId::SAMPLED_PROFILE, HookId::STACK_WALK, HookId::LAST_BRANCH, HookId::IPT];
    match hook.filter(|hook| NAMING.contains(hook)).and_then(|_| event.record().ok()) {
        Some(Record::SampledProfile(sample)) => (process, [Some(sample.thread), None]),
        Some(Record::StackWalk(stack)) => (Some(stack.process), [Some(stack.thread), None]),
        Some(Record::LastBranches(branches)) => (Some(branches.process), [Some(branches.thread), None]),
        Some(Record::Ipt(ipt)) => (Some(ipt.process), [Some(ipt.thread), None]),
        _ => (process, [None, None]),
    }
}
