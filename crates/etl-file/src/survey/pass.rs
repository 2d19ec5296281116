//! The pass itself: buffers in parallel, everything of no interest skipped unread.

use super::ipt::{self, Piece};
use super::system::SystemFacts;
use super::{SurveyOptions, Volume, WARNINGS_KEPT};
use crate::buffer::{Buffer, Buffers};
use crate::clock::Tick;
use crate::compress::Scratch;
use crate::error::Error;
use crate::event::{Event, EventId, Events, Filter};
use crate::file::Trace;
use crate::raw::{BufferFlags, HookId, ProviderGuid};
use crate::records::{DebugId, Image, ImageId, ProcessRecord, Record, ThreadRecord, image_base};
use crate::timeline::is_kernel;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads take this many bytes of events at a time: some 0.1 ms of work, much more than the taking costs.
const BATCH_BYTES: u64 = 1 << 20;
/// And at most this many buffers.
const BATCH_BUFFERS: usize = 1024;

/// What a part of the trace holds.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub events: u64,
    pub buffers: u64,
    /// Sequence numbers of the buffers, but for the file's first one.
    pub sequences: Vec<i64>,
    /// Buffers that say that something was lost before them.
    pub marked_lost: u64,
    pub ipt_events: u64,
    pub images: Vec<(Tick, Image)>,
    pub image_ids: Vec<(Tick, ImageId)>,
    pub debug_ids: Vec<(Tick, DebugId)>,
    pub processes: Vec<(Tick, ProcessRecord)>,
    pub threads: Vec<(Tick, ThreadRecord)>,
    pub volumes: Vec<Volume>,
    pub system: SystemFacts,
    pub ipt: Vec<Piece<'a>>,
    pub warnings: Warnings,
}

/// Warnings, as many as are kept.
#[derive(Default)]
pub(super) struct Warnings {
    pub kept: Vec<Error>,
    pub dropped: u64,
}

impl Warnings {
    pub fn push(&mut self, error: Error) {
        // Events of a compressed buffer share its place, and one damaged byte there is copied into many of them.
        if self.kept.last() == Some(&error) {
            return;
        }
        if self.kept.len() < WARNINGS_KEPT {
            self.kept.push(error);
        } else {
            self.dropped += 1;
        }
    }
}

/// Threads never wait for each other but to take buffers and to hand in what they found: where one is held up, by
/// another program or by a buffer that is slow to read, the others go on.
pub(super) fn run<'a>(trace: &Trace<'a>, options: &SurveyOptions, progress: &(dyn Fn(u64) + Sync)) -> Found<'a> {
    let filter = filter(options);
    let pointer_size = if trace.header().pointer_size == 4 { 4 } else { 8 };
    let source = Mutex::new(Source { buffers: trace.buffers(), taken: 0 });
    let results = Mutex::new(Results::default());
    let work = || {
        let mut scratch = Scratch::default();
        loop {
            let batch = lock(&source).take();
            if batch.is_empty() {
                return;
            }
            let mut found = Found::default();
            for buffer in &batch.buffers {
                found.buffer(buffer, &filter, options, pointer_size, &mut scratch);
            }
            lock(&results).add(batch, found, progress);
        }
    };
    rayon::scope(|scope| (0..rayon::current_num_threads()).for_each(|_| scope.spawn(|_| work())));
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut total = results.total;
    total.images = results.known_images.into_iter().collect();
    total.warnings.kept.sort_by_key(Error::offset);
    total
}

/// A thread that panicked has taken the whole pass with it, so a lock that it held does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where threads take buffers from.
struct Source<'a> {
    buffers: Buffers<'a>,
    /// Batches so far.
    taken: usize,
}

/// Neighbouring buffers, scanned by one thread.
struct Batch<'a> {
    /// Its place in the file, counted in batches.
    number: usize,
    buffers: Vec<Buffer<'a>>,
    damage: Vec<Error>,
    /// File offset behind the last.
    end: u64,
}

impl<'a> Source<'a> {
    fn take(&mut self) -> Batch<'a> {
        let mut batch = Batch { number: self.taken, buffers: Vec::new(), damage: Vec::new(), end: 0 };
        self.taken += 1;
        let mut bytes = 0;
        // Damage counts as a buffer does, so that a file of nothing else is told in batches too.
        while bytes < BATCH_BYTES && batch.buffers.len() + batch.damage.len() < BATCH_BUFFERS {
            match self.buffers.next() {
                Some(Ok(buffer)) => {
                    bytes += u64::from(buffer.header().filled.max(buffer.header().size));
                    batch.buffers.push(buffer);
                }
                Some(Err(error)) => batch.damage.push(error),
                None => break,
            }
        }
        batch.end = self.buffers.offset();
        batch
    }
}

impl Batch<'_> {
    fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.damage.is_empty()
    }
}

/// What batches held, put together in file order whatever the order in which they were scanned: of several events that
/// say the same, the first counts.
#[derive(Default)]
struct Results<'a> {
    total: Found<'a>,
    /// Exact duplicates of image events are one event, and would else fill memory if there were very many.
    known_images: HashSet<(Tick, Image)>,
    /// Batches in the total.
    added: usize,
    /// Batches that were scanned before an earlier one.
    waiting: BTreeMap<usize, (Batch<'a>, Found<'a>)>,
}

impl<'a> Results<'a> {
    fn add(&mut self, batch: Batch<'a>, found: Found<'a>, progress: &(dyn Fn(u64) + Sync)) {
        self.waiting.insert(batch.number, (batch, found));
        while let Some((batch, found)) = self.waiting.remove(&self.added) {
            self.added += 1;
            self.total.buffers += batch.buffers.len() as u64;
            batch.damage.into_iter().for_each(|error| self.total.warnings.push(error));
            self.total.absorb(found, &mut self.known_images);
            progress(batch.end);
        }
    }
}

/// Everything a survey may collect.
fn filter(options: &SurveyOptions) -> Filter {
    let filter = Filter::none()
        .hooks(&[HookId::IMAGE_LOAD, HookId::IMAGE_UNLOAD, HookId::IMAGE_DC_START, HookId::IMAGE_DC_END])
        .hooks(&[HookId::KERNEL_BASE, HookId::CONFIG_CPU, HookId::CONFIG_PROCESSOR, HookId::CONFIG_DEVICE_FAMILY])
        .hooks(&[HookId::BUILD_LAB, HookId::IPT])
        .classes(&[ProviderGuid::IMAGE_ID, ProviderGuid::SYSTEM_CONFIG_EX, ProviderGuid::KERNEL_PROCESS]);
    if !options.processes {
        return filter;
    }
    filter
        .hooks(&[HookId::PROCESS_START, HookId::PROCESS_END, HookId::PROCESS_DC_START, HookId::PROCESS_DC_END])
        .hooks(&[HookId::THREAD_START, HookId::THREAD_END, HookId::THREAD_DC_START, HookId::THREAD_DC_END])
}

impl<'a> Found<'a> {
    /// Adds one buffer's events.
    fn buffer(
        &mut self,
        buffer: &Buffer<'a>,
        filter: &Filter,
        options: &SurveyOptions,
        pointer_size: u8,
        scratch: &mut Scratch,
    ) {
        let header = buffer.header();
        if buffer.offset() > 0 {
            self.sequences.push(header.sequence);
        }
        let lost = [BufferFlags::EVENTS_LOST, BufferFlags::BUFFER_LOST];
        self.marked_lost += u64::from(lost.into_iter().any(|flag| header.flags.has(flag)));
        let ipt_before = self.ipt.len();
        if let Some(events) = buffer.plain_events() {
            self.scan(events, buffer, filter, options, pointer_size, Cow::Borrowed);
            ipt::find_triggers(events_of(buffer, scratch), &mut self.ipt[ipt_before..]);
            return;
        }
        match buffer.events(scratch) {
            Ok(events) => {
                self.scan(events.clone(), buffer, filter, options, pointer_size, |data| Cow::Owned(data.to_vec()));
                ipt::find_triggers(Some(events), &mut self.ipt[ipt_before..]);
            }
            Err(error) => self.warnings.push(error),
        }
    }

    fn scan<'d>(
        &mut self,
        mut events: Events<'d>,
        buffer: &Buffer<'a>,
        filter: &Filter,
        options: &SurveyOptions,
        pointer_size: u8,
        keep: impl Fn(&'d [u8]) -> Cow<'a, [u8]>,
    ) {
        while let Some(event) = events.next_matching(filter) {
            let mut length = 0;
            let record = event.and_then(|raw| {
                let event = raw.parse()?;
                length = raw.bytes.len();
                let user_image = || image_base(&event).is_some_and(|base| !is_kernel(None, base, pointer_size));
                if !options.user_modules && user_image() {
                    Ok((event, Record::Other))
                } else {
                    Ok((event, event.record()?))
                }
            });
            match record {
                Ok((event, Record::Ipt(record))) => {
                    self.ipt_events += 1;
                    if options.ipt {
                        self.ipt.push(Piece::new(buffer, length, &event, &record, keep(record.data)));
                    }
                    if (record.data.len() as u64) < u64::from(record.declared) {
                        let missing = u64::from(record.declared) - record.data.len() as u64;
                        self.warnings.push(
                            Error::short(
                                event.offset,
                                "Intel PT event's trace data",
                                record.data.len() as u64,
                                record.declared.into(),
                            )
                            .losing(missing),
                        );
                    }
                }
                Ok((event, record)) => self.record(&event, record, options, pointer_size),
                Err(error) => self.warnings.push(error),
            }
        }
        self.events += events.seen();
    }

    fn record(&mut self, event: &Event<'_>, record: Record<'_>, options: &SurveyOptions, pointer_size: u8) {
        let tick = event.timestamp.unwrap_or_default();
        let wanted = |process, base| options.user_modules || is_kernel(process, base, pointer_size);
        let system = &mut self.system;
        match record {
            Record::Image(mut image) => {
                // Version 0 does not say whose image it is. In the user half it is the logging process's own; a rundown
                // of the kernel's images may be logged by any process.
                image.process = image.process.or_else(|| match is_kernel(None, image.base, pointer_size) {
                    true => Some(0),
                    false => event.process,
                });
                if wanted(image.process, image.base) {
                    self.images.push((tick, image));
                }
            }
            Record::ImageId(id) if wanted(Some(id.process), id.base) => self.image_ids.push((tick, id)),
            Record::DebugId(id) if wanted(Some(id.process), id.base) => self.debug_ids.push((tick, id)),
            Record::Process(process) if options.processes => self.processes.push((tick, process)),
            Record::Thread(thread) if options.processes => self.threads.push((tick, thread)),
            Record::VolumeMapping(volume) => {
                let volume = Volume { nt: volume.nt_path, dos: volume.dos_path };
                if !self.volumes.contains(&volume) {
                    self.volumes.push(volume);
                }
            }
            Record::KernelBase(base) => system.kernel_base = system.kernel_base.or(Some(base)),
            Record::ConfigCpu(cpu) => system.cpu = system.cpu.take().or(Some(cpu)),
            Record::ConfigProcessor(processor) => system.add_processor(processor),
            Record::BuildInfo(info) => system.build_info = system.build_info.take().or(Some(info)),
            Record::BuildLab(lab) => system.build_lab = system.build_lab.take().or(Some(lab)),
            Record::DeviceFamily(family) => {
                let relogged = matches!(event.id, EventId::Class { guid: ProviderGuid::SYSTEM_CONFIG_EX, .. });
                let place = if relogged { &mut system.device_family_ex } else { &mut system.device_family };
                *place = place.or(Some(family));
            }
            _ => {}
        }
    }

    /// Adds what another file of the same recording holds: the events that the survey is made of. An image event that is
    /// in both files is one.
    pub fn join(&mut self, other: Self) {
        let mut images: HashSet<(Tick, Image)> = std::mem::take(&mut self.images).into_iter().collect();
        images.extend(other.images);
        self.images = images.into_iter().collect();
        self.image_ids.extend(other.image_ids);
        self.debug_ids.extend(other.debug_ids);
        self.processes.extend(other.processes);
        self.threads.extend(other.threads);
        for volume in other.volumes {
            if !self.volumes.contains(&volume) {
                self.volumes.push(volume);
            }
        }
        self.system.absorb(other.system);
    }

    /// Adds what a later part found.
    fn absorb(&mut self, part: Self, known_images: &mut HashSet<(Tick, Image)>) {
        self.events += part.events;
        self.ipt_events += part.ipt_events;
        self.sequences.extend(part.sequences);
        self.marked_lost += part.marked_lost;
        known_images.extend(part.images);
        self.image_ids.extend(part.image_ids);
        self.debug_ids.extend(part.debug_ids);
        self.processes.extend(part.processes);
        self.threads.extend(part.threads);
        for volume in part.volumes {
            if !self.volumes.contains(&volume) {
                self.volumes.push(volume);
            }
        }
        self.system.absorb(part.system);
        self.ipt.extend(part.ipt);
        self.warnings.dropped += part.warnings.dropped;
        part.warnings.kept.into_iter().for_each(|warning| self.warnings.push(warning));
    }
}

/// A buffer's events, if they can be read; that they cannot has been reported by then.
pub(super) fn events_of<'s>(buffer: &Buffer<'s>, scratch: &'s mut Scratch) -> Option<Events<'s>> {
    buffer.events(scratch).ok()
}
