//! Which events are kept, and what of them.

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;

use etl_file::write::{EventHeader, payload};
use etl_file::{
    Clock, Event, EventId, ExtendedType, Filter, Guid, HookId, Ipt, IptSnapshot, ProviderGuid, RawEvent, Record, Tick,
    Trace, is_kernel_image,
};

use crate::Options;
use crate::path::{file_name, shared_path};

/// What an event was kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// The log-file header.
    LogHeader,
    /// Loads, unloads and rundowns of kernel images.
    KernelImage,
    /// A merge's notes about kernel images: size, stamp and PDB.
    Identity,
    /// The base of the kernel's own image.
    KernelBase,
    /// Windows build, processors.
    System,
    /// Processes: ids and page tables.
    Process,
    /// Threads: ids.
    Thread,
    /// Intel PT data.
    IntelPt,
    /// The events that Intel PT data belongs to.
    Trigger,
    /// Events of a provider that was asked for, whole.
    Asked,
}

impl What {
    /// A few words for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogHeader => "log-file header",
            Self::KernelImage => "kernel images",
            Self::Identity => "image identities",
            Self::KernelBase => "kernel base",
            Self::System => "system",
            Self::Process => "processes",
            Self::Thread => "threads",
            Self::IntelPt => "Intel PT data",
            Self::Trigger => "triggers of Intel PT data",
            Self::Asked => "asked for",
        }
    }

    /// What of such an event is in the new trace.
    pub fn keeps(self) -> &'static str {
        match self {
            Self::LogHeader => "Windows version, clock, losses; no names",
            Self::KernelImage => "address, size, identity, path inside Windows and program folders",
            Self::Identity => "size, stamp, PDB identity, file names",
            Self::KernelBase => "address",
            Self::System => "Windows build, processors; no computer name",
            Self::Process => "ids, page tables; no names, command lines, users",
            Self::Thread => "ids; no names",
            Self::IntelPt => "packets, ids, time",
            Self::Trigger => "kind, ids, time; of samples the address",
            Self::Asked => "everything but users and stacks",
        }
    }
}

/// An event to be written.
pub(crate) struct Kept {
    pub what: What,
    pub header: EventHeader,
    pub payload: Vec<u8>,
    /// Its path was cut.
    pub cut: bool,
}

/// Identifies an Intel PT snapshot: processor, process, thread, trigger time, options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotKey(u16, u32, u32, Tick, u64);

impl SnapshotKey {
    /// That of a snapshot that a survey found.
    pub fn of(snapshot: &IptSnapshot<'_>) -> Self {
        Self(snapshot.processor, snapshot.pid, snapshot.tid, snapshot.trigger_time, snapshot.options)
    }
}

/// A snapshot that is asked for and is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchSnapshot {
    number: usize,
    count: usize,
}

impl fmt::Display for NoSuchSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no Intel PT snapshot {}: ", self.number)?;
        match self.count {
            0 => f.write_str("the trace has none"),
            1 => f.write_str("the only one is 0"),
            count => write!(f, "they are numbered 0 to {}", count - 1),
        }
    }
}

impl std::error::Error for NoSuchSnapshot {}

/// The snapshots of these numbers, out of a list in which the snapshot of number N stands at N.
///
/// # Errors
/// When a number is beyond the list.
pub fn choose(
    numbered: &[SnapshotKey],
    numbers: &[RangeInclusive<usize>],
) -> Result<HashSet<SnapshotKey>, NoSuchSnapshot> {
    let mut chosen = HashSet::new();
    for range in numbers {
        let missing = NoSuchSnapshot { number: *range.end(), count: numbered.len() };
        chosen.extend(numbered.get(range.clone()).ok_or(missing)?);
    }
    Ok(chosen)
}

/// Decides event by event.
pub(crate) struct Keeper {
    pointer_size: u8,
    clock: Clock,
    asked: Vec<Guid>,
    time: Option<RangeInclusive<f64>>,
    chosen: Option<HashSet<SnapshotKey>>,
    triggers: HashSet<(u16, Tick)>,
    /// Lets through whatever may be kept, but for triggers and what is asked for.
    filter: Filter,
}

/// The path of an image that is kept for its time alone.
const LEFT_OUT: &str = "left-out";

impl Keeper {
    pub fn new(trace: &Trace<'_>, options: &Options) -> Self {
        Self {
            filter: Filter::none().hooks(&NEEDED_HOOKS).classes(&NEEDED_CLASSES),
            pointer_size: if trace.header().pointer_size == 4 { 4 } else { 8 },
            clock: trace.clock(),
            asked: options.providers.iter().map(|provider| provider.0).collect(),
            time: options.time.clone(),
            chosen: options.snapshots.clone(),
            triggers: HashSet::new(),
        }
    }

    /// Keeps the events of these processors and times as triggers.
    pub fn tie(&mut self, triggers: HashSet<(u16, Tick)>) {
        self.triggers = triggers;
    }

    /// Whether Intel PT data is kept.
    pub fn wants(&self, ipt: &Ipt<'_>, processor: u16) -> bool {
        let key = || SnapshotKey(processor, ipt.process, ipt.thread, ipt.trigger_time, ipt.options.0);
        self.in_time(ipt.trigger_time) && self.chosen.as_ref().is_none_or(|chosen| chosen.contains(&key()))
    }

    fn in_time(&self, tick: Tick) -> bool {
        self.time.as_ref().is_none_or(|time| time.contains(&self.clock.seconds(tick)))
    }

    /// What is kept of an event, written anew; `None` for one that is left out.
    pub fn keep(&self, raw: &RawEvent<'_>) -> Option<Kept> {
        if self.triggers.is_empty() && self.asked.is_empty() && !self.filter.matches(raw) {
            return None;
        }
        let event = raw.parse().ok()?;
        if !self.asked.is_empty() && self.is_asked(&event) {
            return Some(asked(&event));
        }
        let is_trigger = self.is_trigger(&event);
        if !is_trigger && !may_be_needed(&event) {
            return None;
        }
        // Most image events are user processes', and are not worth reading.
        let is_user_image = |base| !is_kernel_image(None, base, self.pointer_size);
        if !is_trigger && event.image_base().is_some_and(is_user_image) {
            return None;
        }
        let mut header = EventHeader::of(&event);
        if let EventId::Provider(provider) = &mut header.id {
            provider.activity = Guid([0; 16]);
        }
        let (what, record, cut) = match event.record() {
            Ok(record) => self.cut(record, event.processor, is_trigger)?,
            // The time and the thread of a trigger are in its header. The others would be damage in the new trace.
            Err(_) if is_trigger && !may_be_needed(&event) => (What::Trigger, Record::Other, false),
            Err(_) => return None,
        };
        let payload = payload(&record, &header).ok()?.unwrap_or_default();
        Some(Kept { what, header, payload, cut })
    }

    /// A record without what is not needed; and whether that was part of a path.
    fn cut<'d>(&self, record: Record<'d>, processor: u16, is_trigger: bool) -> Option<(What, Record<'d>, bool)> {
        let is_kernel = |process, base| is_kernel_image(process, base, self.pointer_size);
        let plain = |what, record| Some((what, record, false));
        match record {
            Record::Image(mut image) if is_kernel(image.process, image.base) => {
                let path = shared_path(&image.path).to_owned();
                let cut = path != image.path;
                image.path = path;
                Some((What::KernelImage, Record::Image(image), cut))
            }
            Record::Image(mut image) if is_trigger => {
                image.path = LEFT_OUT.to_owned();
                plain(What::Trigger, Record::Image(image))
            }
            Record::ImageId(mut id) if is_kernel(Some(id.process), id.base) => {
                id.original_name = file_name(&id.original_name).to_owned();
                plain(What::Identity, Record::ImageId(id))
            }
            Record::DebugId(mut id) if is_kernel(Some(id.process), id.base) => {
                let name = file_name(&id.name).to_owned();
                let cut = name != id.name;
                id.name = name;
                Some((What::Identity, Record::DebugId(id), cut))
            }
            Record::KernelBase(_) => plain(What::KernelBase, record),
            Record::ConfigCpu(mut cpu) => {
                (cpu.computer_name, cpu.domain) = (String::new(), String::new());
                plain(What::System, Record::ConfigCpu(cpu))
            }
            Record::ConfigProcessor(_) | Record::DeviceFamily(_) | Record::BuildInfo(_) | Record::BuildLab(_) => {
                plain(What::System, record)
            }
            Record::Process(mut process) => {
                (process.name, process.command_line, process.exit_status) = (String::new(), String::new(), 0);
                plain(What::Process, Record::Process(process))
            }
            Record::Thread(mut thread) => {
                thread.name = String::new();
                plain(What::Thread, Record::Thread(thread))
            }
            Record::Ipt(ipt) => self.wants(&ipt, processor).then_some((What::IntelPt, record, false)),
            Record::ContextSwitch(_) | Record::SampledProfile(_) if is_trigger => plain(What::Trigger, record),
            _ if is_trigger => plain(What::Trigger, Record::Other),
            _ => None,
        }
    }

    /// Whether Intel PT data may belong to the event. Neither that data nor stacks trigger any.
    fn is_trigger(&self, event: &Event<'_>) -> bool {
        let is_tied = |tick| self.triggers.contains(&(event.processor, tick));
        !self.triggers.is_empty()
            && event.timestamp.is_some_and(is_tied)
            && event.hook().is_some_and(|hook| hook != HookId::IPT && hook != HookId::STACK_WALK)
    }

    fn is_asked(&self, event: &Event<'_>) -> bool {
        event.class().is_some_and(|class| self.asked.contains(&class))
            && event.timestamp.is_none_or(|tick| self.in_time(tick))
    }
}

/// Kinds of events that are kept, at least in part, whenever they are logged.
const NEEDED_HOOKS: [HookId; 18] = [
    HookId::IMAGE_LOAD,
    HookId::IMAGE_UNLOAD,
    HookId::IMAGE_DC_START,
    HookId::IMAGE_DC_END,
    HookId::KERNEL_BASE,
    HookId::IPT,
    HookId::BUILD_LAB,
    HookId::CONFIG_CPU,
    HookId::CONFIG_PROCESSOR,
    HookId::CONFIG_DEVICE_FAMILY,
    HookId::PROCESS_START,
    HookId::PROCESS_END,
    HookId::PROCESS_DC_START,
    HookId::PROCESS_DC_END,
    HookId::THREAD_START,
    HookId::THREAD_END,
    HookId::THREAD_DC_START,
    HookId::THREAD_DC_END,
];

/// Classes and providers whose events are kept, at least in part.
const NEEDED_CLASSES: [Guid; 3] =
    [ProviderGuid::IMAGE_ID, ProviderGuid::SYSTEM_CONFIG_EX, ProviderGuid::KERNEL_PROCESS];

/// Whether an event is of a kind of which something is kept whenever it is logged.
fn may_be_needed(event: &Event<'_>) -> bool {
    if let EventId::Class { guid, opcode, .. } = event.id {
        match guid {
            ProviderGuid::IMAGE_ID => return true,
            ProviderGuid::SYSTEM_CONFIG_EX => return matches!(opcode, 32 | 37),
            _ => {}
        }
    }
    if let EventId::Provider(provider) = event.id {
        return provider.provider == ProviderGuid::KERNEL_PROCESS;
    }
    event.hook().is_some_and(|hook| NEEDED_HOOKS.contains(&hook))
}

/// An event of a provider that was asked for: its payload as it is, and of the extended items those that say how to
/// read it. The others are users, stacks and keys.
fn asked(event: &Event<'_>) -> Kept {
    let mut header = EventHeader::of(event);
    let describing = [ExtendedType::EVENT_SCHEMA_TL, ExtendedType::PROV_TRAITS];
    let items = event.extended_items().filter(|item| describing.contains(&item.kind));
    header.items = items.map(|item| (item.kind, item.data.to_vec())).collect();
    Kept { what: What::Asked, header, payload: event.payload.to_vec(), cut: false }
}
