//! The sessions of a full or bitmap dump, from the kernel's own structures.

use etl_file::{FileTime, Tick};

use crate::buffer::{Budget, HEADER, MAX_BUFFER, MIN_BUFFER, SessionBuffer};
use crate::kernel::Kernel;
use crate::layout::{Layout, Slots, context, entries, find, is_free, silo};
use crate::machine::machine;
use crate::memory::{Memory, Reader, Text, is_kernel};
use crate::ring::{self, Wanted};
use crate::session::{IptSettings, LeftOut, Reference, Session, SessionSource, Sessions, Silo};
use crate::silos;
use crate::types::{PdbKey, StructLayout};
use crate::warning::{Warning, Warnings};

/// The layout of a kernel's structures is not known: its PDB has to be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout of this kernel's trace sessions is not known")]
#[non_exhaustive]
pub struct UnknownLayout {
    /// The PDB that says it, when the dump holds the kernel's debug directory.
    pub pdb: Option<PdbKey>,
    /// What was tried and did not fit.
    pub warnings: Vec<Warning>,
}

/// Reads the sessions of a dump that holds pages of the kernel's memory.
///
/// The work is bounded by [`Kernel::held`]: no more bytes of buffers and lists are read than that.
///
/// # Errors
/// When none of the ways to a layout leads to one that fits.
pub fn read(memory: &dyn Memory, kernel: &Kernel<'_>) -> Result<Sessions, UnknownLayout> {
    let reader = Reader(memory);
    let mut warnings = Warnings::default();
    let Some(layout) = find(kernel, reader, &mut warnings) else {
        return Err(UnknownLayout { pdb: kernel.pdb, warnings: warnings.finish() });
    };
    let mut reading = Reading { reader, layout: &layout, budget: Budget(kernel.held), sessions: Vec::new(), warnings };
    let mut found = vec![reading.silo(layout.slots, layout.state, true)];
    let servers = silos::servers(kernel, reader, &layout, &mut reading.budget, &mut reading.warnings);
    let has_all_silos = servers.is_some();
    for (state, slots) in servers.into_iter().flatten() {
        found.push(reading.silo(slots, Some(state), false));
    }
    let Reading { sessions, warnings, .. } = reading;
    Ok(Sessions {
        machine: machine(kernel, reader),
        source: SessionSource::Contexts(Box::new(layout)),
        silos: found,
        has_all_silos,
        sessions,
        warnings: warnings.finish(),
    })
}

struct Reading<'r> {
    reader: Reader<'r>,
    layout: &'r Layout,
    budget: Budget,
    sessions: Vec<Session>,
    warnings: Warnings,
}

/// Bytes of the longest name that is shown.
const LONGEST_NAME: usize = 1024;

impl Reading<'_> {
    /// Reads every session of a silo.
    fn silo(&mut self, slots: Slots, state: Option<u64>, is_host: bool) -> Silo {
        let before = self.sessions.len();
        let entries = entries(self.reader, slots);
        if entries.len() < slots.count as usize {
            let found = format!("{} entries held", entries.len());
            let allowed = format!("{}; sessions with higher ids are not listed", slots.count);
            self.warnings.push(Warning::at(slots.address, "array of logger contexts", found, allowed));
        }
        for (&entry, slot) in entries.iter().zip(0..).filter(|(entry, _)| !is_free(**entry)) {
            let session = if is_kernel(entry) { self.session(entry, slot, state) } else { None };
            if session.is_none() {
                let found = format!("{entry:#x}, where no session's context can be read");
                let place = slots.address.saturating_add(8 * u64::from(slot));
                self.warnings.push(Warning::at(place, format!("logger context {slot}"), found, "a context"));
            }
            self.sessions.extend(session);
        }
        let sessions = (self.sessions.len() - before) as u32;
        Silo { state, is_host, max_sessions: slots.count, sessions }
    }

    fn word(&self, at: u64, member: &str) -> Option<u32> {
        self.reader.u32(at, self.layout.context.offset(member)?)
    }

    fn session(&mut self, at: u64, slot: u32, silo: Option<u64>) -> Option<Session> {
        let members: &StructLayout = &self.layout.context;
        let id = self.word(at, context::LOGGER_ID)?;
        if id != slot {
            let allowed = format!("{slot}, its place in the array");
            self.warnings.push(Warning::at(at, "_WMI_LOGGER_CONTEXT.LoggerId", format!("{id:#x}"), allowed));
        }
        let buffer_size = self.word(at, context::BUFFER_SIZE)?;
        let text = |member: &str| match self.reader.text(at, members.offset(member)?) {
            Text::Held(text) => Some(text.chars().take(LONGEST_NAME).collect()),
            Text::Unreadable | Text::NotOne => None,
        };
        let name: Option<String> = text(context::LOGGER_NAME);
        let own = members.offset(context::SILO_STATE).and_then(|member| self.reader.u64(at, member));
        if let (Some(own), Some(silo)) = (own, silo)
            && own != silo
        {
            let allowed = format!("{silo:#x}, whose array names it");
            self.warnings.push(Warning::at(at, "_WMI_LOGGER_CONTEXT.SiloState", format!("{own:#x}"), allowed));
        }
        let mut session = Session {
            id: slot,
            name,
            context: Some(at),
            silo: own.or(silo),
            mode: self.word(at, context::LOGGER_MODE)?,
            clock: self.word(at, context::CLOCK_TYPE)?,
            buffer_size,
            number_of_buffers: self.word(at, context::NUMBER_OF_BUFFERS),
            minimum_buffers: self.word(at, context::MINIMUM_BUFFERS),
            maximum_buffers: self.word(at, context::MAXIMUM_BUFFERS),
            buffers_available: self.word(at, context::BUFFERS_AVAILABLE),
            buffers_written: self.word(at, context::BUFFERS_WRITTEN),
            events_lost: self.word(at, context::EVENTS_LOST),
            buffers_lost: self.word(at, context::LOG_BUFFERS_LOST),
            real_time_buffers_lost: self.word(at, context::REAL_TIME_BUFFERS_LOST),
            flush_timer: self.word(at, context::FLUSH_TIMER),
            log_file: text(context::LOG_FILE_NAME),
            maximum_file_size: self.word(at, context::MAXIMUM_FILE_SIZE),
            start_time: members.offset(context::START_TIME).and_then(|at_| self.reader.i64(at, at_)).map(FileTime),
            reference: self.reference(at),
            flags: self.word(at, context::FLAGS),
            is_paged: self.word(at, context::POOL_TYPE).map(|pool| pool & 1 != 0),
            consumers: self.word(at, context::NUM_CONSUMERS),
            kernel_classes: silo.and_then(|silo| self.kernel_classes(silo, slot)),
            ipt: self.ipt(at),
            buffers: Vec::new(),
            left_out: LeftOut::default(),
        };
        self.buffers(at, &mut session);
        Some(session)
    }

    fn reference(&self, at: u64) -> Option<Reference> {
        let member = self.layout.context.offset(context::REFERENCE_TIME)?;
        let (time, tick) = (self.reader.i64(at, member)?, self.reader.i64(at, member.checked_add(8)?)?);
        Some(Reference { time: FileTime(time), tick: Tick(tick) })
    }

    /// The first word of a system logger's group mask: `_ETW_SYSTEM_LOGGER_SETTINGS` has eight pairs of session and
    /// clock, a mask of those in use at 10, and eight group masks from 34 on.
    fn kernel_classes(&self, silo: u64, slot: u32) -> Option<u32> {
        let settings = self.layout.silo.as_ref()?.offset(silo::SYSTEM_LOGGER_SETTINGS)?;
        let word = |offset: u32| self.reader.u32(silo, settings.checked_add(offset)?);
        let active = word(0x10)?;
        let pairs: [u8; 16] = self.reader.bytes(silo, settings)?;
        let index = (0..8).find(|index| active & 1 << index != 0 && u32::from(pairs[2 * index]) == slot)?;
        word(0x34 + 32 * index as u32)
    }

    /// `_ETW_IPT_SUPPORT`: options at 8, number of hooks at 18, four hooks at 1C.
    fn ipt(&self, at: u64) -> Option<IptSettings> {
        let support = self.reader.pointer(at, self.layout.context.offset(context::IPT_DATA)?)?;
        let count = self.reader.u32(support, 0x18)?.min(4);
        let hooks = (0..count).filter_map(|index| self.reader.u16(support, 0x1c + 2 * index)).collect();
        Some(IptSettings { options: self.reader.u64(support, 8)?, hooks })
    }

    fn buffers(&mut self, at: u64, session: &mut Session) {
        let size = session.buffer_size;
        if !(MIN_BUFFER..=MAX_BUFFER).contains(&size) {
            let (found, allowed) = (format!("{size:#x}"), format!("{MIN_BUFFER:#x} to {MAX_BUFFER:#x}"));
            self.warnings.push(Warning::at(at, "_WMI_LOGGER_CONTEXT.BufferSize", found, allowed));
            return;
        }
        let head = self.layout.context.offset(context::GLOBAL_LIST).and_then(|list| at.checked_add(list.into()));
        let Some(head) = head else { return };
        let wanted = Wanted { session: session.id, size };
        let ring = ring::walk(self.reader, head, wanted, &mut self.budget, &mut self.warnings);
        session.left_out.unreadable = ring.unreadable;
        for (address, header) in ring.buffers {
            match header.skip() {
                Some(skip) => session.left_out.add(skip),
                // Counted as a whole: a saved trace has whole buffers.
                None if header.end() > HEADER && !self.budget.take(size) => {
                    let found = "more bytes in buffers than the dump has";
                    self.warnings.push(Warning::at(address, "buffer", found, "buffers that do not overlap"));
                    session.left_out.unreadable += 1;
                }
                None => session.buffers.push(SessionBuffer::read(self.reader, address, &header)),
            }
        }
    }
}
