//! What readers say about the sessions of a dump, in one form, and what is true.

use std::fmt;

use anyhow::Result;
use xtask::outcome::Outcome;

use super::kernel::Made;

/// A session as a reader lists it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// Id.
    pub id: u32,
    /// Address of its context.
    pub context: u64,
    /// Name.
    pub name: String,
    /// Mode bits.
    pub mode: u32,
    /// Events that were lost.
    pub lost: u32,
    /// Buffers in the order of its list.
    pub buffers: Vec<SeenBuffer>,
}

/// A buffer as a reader lists it.
#[derive(Clone, PartialEq, Eq)]
pub struct SeenBuffer {
    /// Address.
    pub address: u64,
    /// Processor.
    pub processor: u16,
    /// Sequence number.
    pub sequence: i64,
    /// Where its data end.
    pub end: u32,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { id, context, name, mode, lost, buffers } = self;
        write!(f, "{id} {name:?} at {context:#x}, mode {mode:#x}, {lost} lost, {buffers:?}")
    }
}

impl fmt::Debug for SeenBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} (processor {}, number {}, to {:#x})", self.address, self.processor, self.sequence, self.end)
    }
}

/// What the C file says.
pub fn expected(made: &Made) -> Result<Vec<Seen>> {
    let session = |session: &session_kernels::truth::Session| -> Result<Seen> {
        let buffer = |(index, buffer): (usize, &session_kernels::truth::Buffer)| -> Result<SeenBuffer> {
            let address = made.buffer(session, index)?;
            let (processor, sequence, end) = (buffer.processor, buffer.sequence, buffer.end());
            Ok(SeenBuffer { address, processor, sequence, end })
        };
        Ok(Seen {
            id: session.id.into(),
            context: made.context(session)?,
            name: session.name.to_owned(),
            mode: session.mode,
            lost: session.events_lost,
            buffers: session.buffers.iter().enumerate().map(buffer).collect::<Result<_>>()?,
        })
    };
    made.sessions.iter().map(session).collect()
}

/// Judges what a reader listed.
pub fn judge(place: &str, expected: &[Seen], found: &[Seen], outcome: &mut Outcome) {
    for wanted in expected {
        match found.iter().find(|seen| seen.id == wanted.id) {
            Some(seen) if seen == wanted => outcome.add_pass(),
            Some(seen) => outcome.add_failure(format!("{place}: {seen:?}\n  expected {wanted:?}")),
            None => outcome.add_failure(format!("{place}: no session {wanted:?}")),
        }
    }
    for seen in found.iter().filter(|seen| expected.iter().all(|wanted| wanted.id != seen.id)) {
        outcome.add_failure(format!("{place}: a session that the kernel does not have: {seen:?}"));
    }
}
