//! The pass itself: buffers in parallel, everything of no interest skipped unread.

use super::ipt::{self, Piece};
use super::system::SystemFacts;
use super::{SurveyOptions, Volume, WARNINGS_KEPT};
use crate::buffer::Buffer;
use crate::clock::Tick;
use crate::compress::Scratch;
use crate::error::{Diagnostic, Error};
use crate::event::{Event, EventId, Events, Filter};
use crate::parallel::scan_batches;
use crate::raw::{BufferFlags, HookId, ProviderGuid};
use crate::records::{DebugId, Image, ImageId, ProcessRecord, Record, ThreadRecord};
use crate::timeline::is_kernel_image;
use crate::trace::Trace;
use std::borrow::Cow;
use std::collections::HashSet;

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
    pub kept: Vec<Diagnostic>,
    pub dropped: u64,
}

impl Warnings {
    pub fn push(&mut self, warning: Diagnostic) {
        // Events of a compressed buffer share its place, and one damaged byte there is copied into many of them.
        if self.kept.last() == Some(&warning) {
            return;
        }
        if self.kept.len() < WARNINGS_KEPT {
            self.kept.push(warning);
        } else {
            self.dropped += 1;
        }
    }
}

/// Goes over the trace once. Of several events that say the same, the first one in the file counts.
pub(super) fn run<'a>(trace: &Trace<'a>, options: &SurveyOptions, progress: &(dyn Fn(u64) + Sync)) -> Found<'a> {
    let filter = filter(options);
    let pointer_size = if trace.header().pointer_size == 4 { 4 } else { 8 };
    let mut total = Found::default();
    // Exact duplicates of image events are one event, and would otherwise fill memory if there were very many.
    let mut images = HashSet::new();
    let buffers = scan_batches(
        trace,
        |batch, scratch| {
            let mut found = Found::default();
            for buffer in &batch.buffers {
                found.buffer(buffer, &filter, options, pointer_size, scratch);
            }
            found
        },
        |batch, found| {
            total.buffers += batch.buffers.len() as u64;
            batch.damage.into_iter().for_each(|error| total.warnings.push(Diagnostic::Damage(error)));
            total.absorb(found, &mut images);
            progress(batch.end);
        },
    );
    total.images = images.into_iter().collect();
    if let Some(tail) = buffers.reserved_tail() {
        total.warnings.push(Diagnostic::ReservedTail { offset: tail.start, length: tail.end - tail.start });
    }
    total.warnings.kept.sort_by_key(Diagnostic::offset);
    total
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
            self.scan(events.clone(), buffer, filter, options, pointer_size, Cow::Borrowed);
            ipt::find_triggers(events, &mut self.ipt[ipt_before..]);
            return;
        }
        match buffer.events(scratch) {
            Ok(events) => {
                self.scan(events.clone(), buffer, filter, options, pointer_size, |data| Cow::Owned(data.to_vec()));
                ipt::find_triggers(events, &mut self.ipt[ipt_before..]);
            }
            Err(error) => self.warnings.push(Diagnostic::Damage(error)),
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
                let user_image = || event.image_base().is_some_and(|base| !is_kernel_image(None, base, pointer_size));
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
                        self.warnings.push(Diagnostic::Damage(
                            Error::short(
                                event.offset,
                                "Intel PT event's trace data",
                                record.data.len() as u64,
                                record.declared.into(),
                            )
                            .losing(missing),
                        ));
                    }
                }
                Ok((event, record)) => self.record(&event, record, options, pointer_size),
                Err(error) => self.warnings.push(Diagnostic::Damage(error)),
            }
        }
        self.events += events.seen();
    }

    fn record(&mut self, event: &Event<'_>, record: Record<'_>, options: &SurveyOptions, pointer_size: u8) {
        let tick = event.timestamp.unwrap_or_default();
        let wanted = |process, base| options.user_modules || is_kernel_image(process, base, pointer_size);
        let system = &mut self.system;
        match record {
            Record::Image(mut image) => {
                // Version 0 does not say whose image it is. In the user half it is the logging process's own; a rundown
                // of the kernel's images may be logged by any process.
                image.process = image.process.or_else(|| match is_kernel_image(None, image.base, pointer_size) {
                    true => Some(0),
                    false => event.process,
                });
                if wanted(image.process, image.base) {
                    self.images.push((tick, image));
                }
            }
            Record::ImageId(id) => self.image_ids.push((tick, id)),
            Record::DebugId(id) => self.debug_ids.push((tick, id)),
            Record::Process(process) => self.processes.push((tick, process)),
            Record::Thread(thread) => self.threads.push((tick, thread)),
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
