//! What a trace lacks, by the log-file header and by its buffers.

use crate::log_header::{LogFileMode, LogHeader};

/// What was logged and is not in the file, or could not be logged. Modules may be missing from a trace with losses, or
/// be listed as loaded although they were unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Losses {
    /// Events that the session could not log, by the log-file header.
    pub events: u32,
    /// Buffers that the session could not write, by the log-file header.
    pub buffers: u32,
    /// Buffers of the start that a circular file overwrote when it wrapped: the rundown of what was loaded when the
    /// session began was in them.
    pub overwritten: u64,
    /// Buffers that are missing between others, or before the first one of a file that is not circular.
    pub missing: u64,
    /// Buffers that are marked: something was lost before them.
    pub marked: u64,
}

/// A jump of more sequence numbers than this is a damaged number and not that many missing buffers.
const LARGEST_JUMP: i64 = 1 << 20;

impl Losses {
    /// Counts. `sequences` are the sequence numbers of all buffers but the first one of the file, in any order: they
    /// count a session's buffers from 1 on, those of all processors together (measured: 11 of the 12 real traces that
    /// have such buffers; the other one belongs to a series of files and goes on counting).
    pub(super) fn count(header: &LogHeader, sequences: &mut Vec<i64>, marked: u64) -> Self {
        let mut losses = Self { events: header.events_lost, buffers: header.buffers_lost, marked, ..Self::default() };
        sequences.sort_unstable();
        // A session saved out of a crash dump may hold a buffer twice.
        sequences.dedup();
        for pair in sequences.windows(2) {
            losses.missing += missing_between(pair[0], pair[1]);
        }
        // A session that begins a new file whenever one is full goes on counting, and so does one that appends.
        let goes_on = header.mode.has(LogFileMode::NEW_FILE) || header.mode.has(LogFileMode::APPEND);
        if let Some(&first) = sequences.first().filter(|_| !goes_on) {
            let before = missing_between(0, first);
            match header.mode.has(LogFileMode::CIRCULAR) {
                true => losses.overwritten = before,
                false => losses.missing += before,
            }
        }
        losses
    }

    /// Adds what another file of the same recording lacks.
    pub(super) fn add(&mut self, other: &Self) {
        self.events = self.events.saturating_add(other.events);
        self.buffers = self.buffers.saturating_add(other.buffers);
        self.overwritten += other.overwritten;
        self.missing += other.missing;
        self.marked += other.marked;
    }

    /// True when nothing says that something was lost.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Numbers between two sequence numbers, 0 when they are too far apart to be of one session.
fn missing_between(before: i64, after: i64) -> u64 {
    let between = after.saturating_sub(before).saturating_sub(1);
    if (0..=LARGEST_JUMP).contains(&between) { between as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::missing_between;

    #[test]
    fn a_jump_counts_what_lies_between() {
        for (before, after, expected) in [
            (0, 1, 0),
            (1, 4, 2),
            (5, 5, 0),
            (5, 2, 0),
            (0, 1 << 20, (1 << 20) - 1),
            (0, 1 << 40, 0),
            (i64::MIN, i64::MAX, 0),
        ] {
            assert_eq!(missing_between(before, after), expected, "{before} {after}");
        }
    }
}
