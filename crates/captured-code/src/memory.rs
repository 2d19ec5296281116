//! Which addresses a dump holds, and the bytes of a place.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel_snapshot::dump::{Dump, ReadMemory};
use mdmp::AddressRange;

const PAGE: u64 = 0x1000;

/// How many pages may still be looked up in page tables. A hostile dump can list thousands of modules of 4 GiB and map
/// one page of the file everywhere; a real one has some 300 MiB of modules.
#[derive(Debug)]
pub struct PageBudget(AtomicU64);

impl Default for PageBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl PageBudget {
    /// Pages of one job: 4 GiB of memory.
    const PAGES: u64 = 1 << 20;

    /// A full budget.
    pub fn new() -> Self {
        Self(AtomicU64::new(Self::PAGES))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// True when a lookup was refused.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// The parts of `range` that a dump holds, ascending; parts that touch are one.
pub fn held(dump: &Dump<'_>, range: &Range<u64>, budget: &PageBudget) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    let mut add = |part: Range<u64>| match out.last_mut() {
        Some(last) if last.end == part.start => last.end = part.end,
        _ => out.push(part),
    };
    match dump.segments() {
        Some(segments) => {
            let size = range.end.saturating_sub(range.start);
            for segment in AddressRange::new(range.start, size).map_or(&[][..], |range| segments.within(range)) {
                let end = segment.address.saturating_add(segment.bytes.len() as u64);
                add(segment.address.max(range.start)..end.min(range.end));
            }
        }
        None => {
            let mut at = range.start;
            while at < range.end && budget.take() {
                let next = (at & !(PAGE - 1)).saturating_add(PAGE).min(range.end);
                if dump.read(at, &mut [0]) == 1 {
                    add(at..next);
                }
                at = next;
            }
        }
    }
    out
}

/// The most bytes of a place that are looked at together.
pub const PLACE: usize = 12;

/// The bytes of a place in one dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// The bytes from the place's first on; 0 where a byte is not held.
    pub bytes: [u8; PLACE],
    /// Bit n: byte n is held.
    pub held: u16,
}

impl Side {
    /// Reads `size` bytes at an address, at most [`PLACE`].
    pub fn read(dump: &(impl ReadMemory + ?Sized), address: u64, size: usize) -> Self {
        let mut side = Self::default();
        let size = size.min(PLACE);
        let mut at = 0;
        while at < size {
            let Some(here) = address.checked_add(at as u64) else { break };
            let got = dump.read(here, &mut side.bytes[at..size]).min(size - at);
            for bit in at..at + got {
                side.held |= 1 << bit;
            }
            at += got.max(1);
        }
        // What a read leaves after the held bytes is unspecified.
        for at in 0..PLACE {
            if !side.has(at) {
                side.bytes[at] = 0;
            }
        }
        side
    }

    /// True when the dump holds that byte of the place.
    pub fn has(&self, at: usize) -> bool {
        self.held >> at & 1 == 1
    }

    /// True when bytes `0..size` are all held.
    pub fn is_whole(&self, size: usize) -> bool {
        (0..size).all(|at| self.has(at))
    }

    /// The bytes for a report.
    pub fn hex(&self, size: usize) -> String {
        (0..size.min(PLACE))
            .map(|at| if self.has(at) { format!("{:02x}", self.bytes[at]) } else { "??".to_owned() })
            .collect()
    }
}
