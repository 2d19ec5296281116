//! One file of a recording, before it is joined with others.

use super::pass::{self, Found};
use super::{Counts, IptSnapshot, Losses, Survey, SurveyOptions, ipt, lives, system};
use crate::clock::Clock;
use crate::error::Diagnostic;
use crate::log_header::LogHeader;
use crate::timeline;
use crate::trace::Trace;
use std::collections::HashMap;

/// What one file of a recording holds, before it is joined with others: the kernel's session and a user session are often
/// in files of their own.
#[non_exhaustive]
pub struct Part<'a> {
    /// The log-file header.
    pub header: LogHeader,
    /// How many events and buffers there are.
    pub counts: Counts,
    /// What was lost.
    pub losses: Losses,
    /// Local damage, and remarks about a healthy file, as in [`Survey::warnings`].
    pub warnings: Vec<Diagnostic>,
    /// Warnings that were counted but not kept.
    pub warnings_dropped: u64,
    clock: Clock,
    ipt: Vec<IptSnapshot<'a>>,
    found: Found<'a>,
}

impl<'a> Part<'a> {
    /// Reads one file, as [`Trace::survey`] does.
    pub fn read(trace: &Trace<'a>, options: &SurveyOptions, progress: &(dyn Fn(u64) + Sync)) -> Self {
        let mut found = pass::run(trace, options, progress);
        let header = trace.header().clone();
        let counts = Counts {
            events: found.events,
            buffers: found.buffers,
            ipt_events: found.ipt_events,
            events_lost: header.events_lost,
            buffers_lost: header.buffers_lost,
        };
        Self {
            counts,
            losses: Losses::count(&header, &mut found.sequences, found.marked_lost),
            warnings: std::mem::take(&mut found.warnings.kept),
            warnings_dropped: found.warnings.dropped,
            clock: trace.clock(),
            ipt: ipt::assemble(trace, std::mem::take(&mut found.ipt)),
            header,
            found,
        }
    }

    /// The computer's name, if this file says it.
    pub fn computer_name(&self) -> Option<&str> {
        let cpu = self.found.system.cpu.as_ref()?;
        Some(&*cpu.computer_name).filter(|name| !name.is_empty())
    }

    /// The survey of this file by itself.
    pub fn alone(self) -> Survey<'a> {
        self.with(Vec::new())
    }

    /// The survey of this file and others as one recording. Whether they belong together is for the caller to know: all
    /// must be of one boot and count time by the same clock, so that a timestamp means the same moment in each.
    ///
    /// What two files say of the same module, process or thread is one; the survey's clock starts with the earliest file,
    /// and its header is that of the session that saw most processors.
    pub fn with(self, others: Vec<Self>) -> Survey<'a> {
        let Self {
            mut header,
            mut counts,
            mut losses,
            mut warnings,
            mut warnings_dropped,
            mut clock,
            mut ipt,
            mut found,
        } = self;
        let is_joined = !others.is_empty();
        for other in others {
            if other.header.processors > header.processors {
                header = other.header;
            }
            if other.clock.start() < clock.start() {
                clock = other.clock;
            }
            counts.add(&other.counts);
            losses.add(&other.losses);
            warnings.extend(other.warnings);
            warnings_dropped += other.warnings_dropped;
            join_ipt(&mut ipt, other.ipt);
            found.join(other.found);
        }
        if is_joined {
            ipt.sort_by_key(|snapshot| snapshot.processor);
        }
        let system = system::describe(&header, &mut found.system);
        let (processes, threads) = lives::settle(found.processes, found.threads);
        Survey {
            clock,
            counts,
            losses,
            kernel_base: found.system.kernel_base,
            modules: timeline::modules(found.images, found.image_ids, found.debug_ids, system.pointer_size),
            system,
            processes,
            threads,
            volumes: found.volumes,
            ipt,
            warnings,
            warnings_dropped,
            header,
        }
    }
}

/// Adds the Intel PT snapshots of another file, but for those that both hold.
fn join_ipt<'a>(ipt: &mut Vec<IptSnapshot<'a>>, other: Vec<IptSnapshot<'a>>) {
    let key = |found: &IptSnapshot<'_>| (found.trigger_time, found.processor, found.pid, found.tid);
    let known: HashMap<_, usize> = ipt.iter().enumerate().map(|(number, found)| (key(found), number)).collect();
    let is_new =
        |found: &IptSnapshot<'_>| known.get(&key(found)).is_none_or(|&number| ipt[number].pieces != found.pieces);
    let new: Vec<_> = other.into_iter().filter(is_new).collect();
    ipt.extend(new);
}
