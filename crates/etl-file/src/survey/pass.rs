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
use crate::raw::{HookId, ProviderGuid};
use crate::records::{DebugId, Image, ImageId, ProcessRecord, Record, ThreadRecord, image_base};
use crate::timeline::is_kernel;
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashSet;

/// Buffers are handed out in batches of this many bytes of events, so that what a batch yields is bounded too.
const BATCH_BYTES: u64 = 64 << 20;
/// And of this many buffers.
const BATCH_BUFFERS: usize = 4096;

/// What a part of the trace holds.
#[derive(Default)]
pub(super) struct Found<'a> {
    pub events: u64,
    pub buffers: u64,
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

pub(super) fn run<'a>(trace: &Trace<'a>, options: &SurveyOptions, progress: &(dyn Fn(u64) + Sync)) -> Found<'a> {
    let filter = filter(options);
    let pointer_size = if trace.header().pointer_size == 4 { 4 } else { 8 };
    let mut total = Found::default();
    // Exact duplicates of image events are one event, and would else fill memory if there were very many.
    let mut known_images = HashSet::new();
    let mut buffers = trace.buffers();
    let mut batch = Batch::gather(&mut buffers);
    while !batch.is_empty() {
        // The walk from header to header waits for memory at every step, so the next batch is gathered meanwhile.
        let scan = || batch.scan(&filter, options, pointer_size);
        let (found, next) = rayon::join(scan, || Batch::gather(&mut buffers));
        total.buffers += batch.buffers.len() as u64;
        batch.damage.into_iter().for_each(|error| total.warnings.push(error));
        for part in found {
            total.absorb(part, &mut known_images);
        }
        progress(batch.end);
        batch = next;
    }
    total.images = known_images.into_iter().collect();
    total.warnings.kept.sort_by_key(Error::offset);
    total
}

/// Buffers that are scanned together.
struct Batch<'a> {
    buffers: Vec<Buffer<'a>>,
    damage: Vec<Error>,
    /// File offset behind the last.
    end: u64,
}

impl<'a> Batch<'a> {
    fn gather(source: &mut Buffers<'a>) -> Self {
        let mut batch = Self { buffers: Vec::new(), damage: Vec::new(), end: 0 };
        let mut bytes = 0;
        // Damage counts as a buffer does, so that a file of nothing else is told in batches too.
        while bytes < BATCH_BYTES && batch.buffers.len() + batch.damage.len() < BATCH_BUFFERS {
            match source.next() {
                Some(Ok(buffer)) => {
                    bytes += u64::from(buffer.header().filled.max(buffer.header().size));
                    batch.buffers.push(buffer);
                }
                Some(Err(error)) => batch.damage.push(error),
                None => break,
            }
        }
        batch.end = source.offset();
        batch
    }

    fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.damage.is_empty()
    }

    /// What the buffers hold, in their order.
    fn scan(&self, filter: &Filter, options: &SurveyOptions, pointer_size: u8) -> Vec<Found<'a>> {
        // A few pieces of work per thread, so that none waits long for another.
        let pieces = 8 * rayon::current_num_threads();
        self.buffers
            .par_chunks(self.buffers.len().div_ceil(pieces).max(1))
            .map_init(Scratch::default, |scratch, chunk| {
                let mut found = Found::default();
                for buffer in chunk {
                    found.buffer(buffer, filter, options, pointer_size, scratch);
                }
                found
            })
            .collect()
    }
}

/// Everything a survey may collect.
fn filter(options: &SurveyOptions) -> Filter {
    let filter = Filter::none()
        .hooks(&[HookId::IMAGE_LOAD, HookId::IMAGE_UNLOAD, HookId::IMAGE_DC_START, HookId::IMAGE_DC_END])
        .hooks(&[HookId::KERNEL_BASE, HookId::CONFIG_CPU, HookId::CONFIG_PROCESSOR, HookId::CONFIG_DEVICE_FAMILY])
        .hooks(&[HookId::BUILD_LAB, HookId::IPT])
        .classes(&[ProviderGuid::IMAGE, ProviderGuid::SYSTEM_CONFIG, ProviderGuid::IMAGE_ID])
        .classes(&[ProviderGuid::SYSTEM_CONFIG_EX, ProviderGuid::IPT, ProviderGuid::KERNEL_PROCESS]);
    if !options.processes {
        return filter;
    }
    filter
        .hooks(&[HookId::PROCESS_START, HookId::PROCESS_END, HookId::PROCESS_DC_START, HookId::PROCESS_DC_END])
        .hooks(&[HookId::THREAD_START, HookId::THREAD_END, HookId::THREAD_DC_START, HookId::THREAD_DC_END])
        .classes(&[ProviderGuid::PROCESS, ProviderGuid::THREAD])
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
            let record = event.and_then(|raw| {
                let event = raw.parse()?;
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
                        self.ipt.push(Piece::new(buffer, &event, &record, keep(record.data)));
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
                // Version 0 leaves it to the header to say whose image it is.
                image.process = image.process.or(event.process);
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

    /// Adds what a later part found.
    fn absorb(&mut self, part: Self, known_images: &mut HashSet<(Tick, Image)>) {
        self.events += part.events;
        self.ipt_events += part.ipt_events;
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
