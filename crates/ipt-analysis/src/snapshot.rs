//! Packets with what is known about them.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::input::Origin;
use crate::touched::{Stream, Thread};
use crate::word28::Piece;

/// One stretch of packets of one processor or thread, in the order in which it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot<'a> {
    /// The packets; borrowed from the trace where nothing had to be moved.
    pub bytes: Cow<'a, [u8]>,
    /// What was done to get them in order.
    pub origin: Origin,
    /// What the trace says about it; nothing for data saved by hand.
    pub logged: Option<Logged>,
    /// The file that it was saved in by hand.
    pub file: Option<PathBuf>,
}

/// What a trace says about a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// When the event was logged that triggered it, in seconds from the start of the trace.
    pub time: f64,
    /// Processor that traced.
    pub processor: u16,
    /// The traced thread.
    pub thread: Thread,
    /// The event that triggered it: its hook id.
    pub hook: Option<u16>,
    /// Its name, such as `CSwitch`.
    pub trigger: Option<&'static str>,
    /// The events that the data was split over, in order.
    pub pieces: Vec<Piece>,
    /// Bytes of the processor's buffer, as the session's options say.
    pub buffer: u64,
    /// Bytes that the events declare; more than there are when one was cut.
    pub declared: u64,
}

impl Snapshot<'_> {
    /// The packets with the thread that they belong to, 0 when it is not known, and the time.
    pub fn stream(&self) -> Stream<'_> {
        let named = self.origin.thread.map(|tid| Thread { pid: 0, tid: tid as u32 });
        let thread = self.logged.as_ref().map(|logged| logged.thread).or(named).unwrap_or_default();
        Stream { thread, time: self.logged.as_ref().map(|logged| logged.time), bytes: &self.bytes }
    }
}
