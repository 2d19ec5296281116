//! Virtual memory of a triage dump: all captured bytes as disjoint segments in address order.

use crate::AddressRange;

/// Where captured bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A `TRIAGE_DATA_BLOCK`.
    DataBlock,
    /// `TRIAGE_DUMP64.CallStackOffset`.
    CallStack,
    /// `TRIAGE_DUMP64.ThreadOffset`, at the address that the processor block gives.
    Thread,
    /// `TRIAGE_DUMP64.ProcessOffset`, at the address that the thread gives.
    Process,
    /// `TRIAGE_DUMP64.DataPageOffset`.
    DataPage,
    /// `TRIAGE_DUMP64.DebuggerDataOffset`, at the address that the header gives.
    DebuggerData,
}

/// Captured bytes at an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// First address.
    pub address: u64,
    /// The bytes, at least one.
    pub bytes: &'a [u8],
    /// Where they come from.
    pub origin: Origin,
}

impl<'a> Segment<'a> {
    /// The addresses; `None` when they run past the last one.
    pub fn range(&self) -> Option<AddressRange> {
        AddressRange::new(self.address, self.bytes.len() as u64)
    }

    /// Without the bytes before `address`; `None` when nothing is left.
    fn from(self, address: u64) -> Option<Segment<'a>> {
        let skip = usize::try_from(address.saturating_sub(self.address)).ok()?;
        let bytes = self.bytes.get(skip..).filter(|bytes| !bytes.is_empty())?;
        Some(Segment { address: self.address.max(address), bytes, ..self })
    }

    /// Without the bytes at and behind `address`; `None` when nothing is left.
    fn until(self, address: u64) -> Option<Segment<'a>> {
        let keep = usize::try_from(address.checked_sub(self.address)?).unwrap_or(usize::MAX);
        let bytes = &self.bytes[..keep.min(self.bytes.len())];
        (!bytes.is_empty()).then_some(Segment { bytes, ..self })
    }

    /// Last address. Segments never wrap around: [`Segments`] drops those that would.
    fn last(&self) -> u64 {
        self.address + (self.bytes.len() as u64 - 1)
    }
}

impl std::fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({:#x}+{:#x}, {:?})", self.address, self.bytes.len(), self.origin)
    }
}

/// Disjoint segments, lowest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Segments<'a> {
    sorted: Vec<Segment<'a>>,
}

impl<'a> Segments<'a> {
    /// From segments in any order. Where two hold the same address, the one that starts lower wins.
    pub(super) fn new(mut all: Vec<Segment<'a>>) -> Segments<'a> {
        all.retain(|segment| !segment.bytes.is_empty() && segment.range().is_some());
        all.sort_by_key(|segment| segment.address);
        let mut sorted: Vec<Segment<'a>> = Vec::with_capacity(all.len());
        for segment in all {
            let free = match sorted.last() {
                Some(before) => match before.last().checked_add(1) {
                    Some(free) => free,
                    None => break,
                },
                None => 0,
            };
            sorted.extend(segment.from(free));
        }
        Segments { sorted }
    }

    /// Adds the parts of `extra` that nothing holds yet.
    pub(super) fn fill(&mut self, extra: Segment<'a>) {
        if extra.bytes.is_empty() || extra.range().is_none() {
            return;
        }
        let first = self.sorted.partition_point(|segment| segment.last() < extra.address);
        let mut parts = Vec::new();
        let mut rest = Some(extra);
        for held in &self.sorted[first..] {
            let Some(segment) = rest else { break };
            if held.address > segment.last() {
                break;
            }
            parts.extend(segment.until(held.address));
            rest = held.last().checked_add(1).and_then(|free| segment.from(free));
        }
        parts.extend(rest);
        if !parts.is_empty() {
            self.sorted.extend(parts);
            self.sorted.sort_by_key(|segment| segment.address);
        }
    }

    pub(super) fn all(&self) -> &[Segment<'a>] {
        &self.sorted
    }

    /// The segment that holds `address`, from there on.
    pub(super) fn at(&self, address: u64) -> Option<Segment<'a>> {
        let index = self.sorted.partition_point(|segment| segment.address <= address).checked_sub(1)?;
        self.sorted[index].from(address)
    }

    /// Copies bytes from `address` on, across segments that touch, and returns how many were held without a gap.
    pub(super) fn read(&self, address: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(at) = address.checked_add(done as u64) else { break };
            let Some(segment) = self.at(at) else { break };
            let count = segment.bytes.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&segment.bytes[..count]);
            done += count;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, Segment, Segments};

    fn segment(address: u64, bytes: &[u8]) -> Segment<'_> {
        Segment { address, bytes, origin: Origin::DataBlock }
    }

    /// Reads 6 bytes from `from` and compares those held.
    fn check(all: &[(u64, &[u8])], extra: Option<(u64, &[u8])>, from: u64, expect: &[u8]) {
        let mut segments = Segments::new(all.iter().map(|&(address, bytes)| segment(address, bytes)).collect());
        if let Some((address, bytes)) = extra {
            segments.fill(segment(address, bytes));
        }
        let mut out = [0xee; 6];
        let held = segments.read(from, &mut out);
        assert_eq!(&out[..held], expect, "{all:x?} {extra:x?} from {from:#x}");
        for pair in segments.all().windows(2) {
            assert!(pair[0].last() < pair[1].address, "{segments:?}");
        }
    }

    #[test]
    fn reads_cross_segments_and_stop_at_gaps() {
        let abc: (u64, &[u8]) = (10, b"abc");
        check(&[abc], None, 10, b"abc");
        check(&[abc], None, 12, b"c");
        check(&[abc], None, 9, b"");
        check(&[abc, (13, b"defgh")], None, 11, b"bcdefg");
        check(&[(14, b"defgh"), abc], None, 11, b"bc");
        // The lower one wins; one that lies inside another vanishes.
        check(&[abc, (11, b"XYZ")], None, 10, b"abcZ");
        check(&[(10, b"abcdef"), (11, b"XY")], None, 10, b"abcdef");
        // At the end of the address space.
        check(&[(u64::MAX - 1, b"ab"), (u64::MAX, b"cd")], None, u64::MAX - 1, b"ab");
        check(&[(u64::MAX - 2, b"abc"), (u64::MAX, b"d")], None, u64::MAX - 2, b"abc");
    }

    #[test]
    fn extras_fill_gaps_only() {
        check(&[(10, b"ab"), (14, b"ef")], Some((8, b"12345678")), 8, b"12ab56");
        check(&[(10, b"ab"), (14, b"ef")], Some((8, b"12345678")), 12, b"56ef");
        check(&[], Some((8, b"12")), 8, b"12");
        check(&[(u64::MAX, b"z")], Some((u64::MAX - 1, b"yy")), u64::MAX - 1, b"yz");
    }
}
