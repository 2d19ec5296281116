//! Virtual memory of a triage dump: all captured bytes as disjoint segments in address order.

use crate::AddressRange;

/// Where captured bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    /// Anything else, such as a user minidump's memory list.
    Other,
}

/// Captured bytes at an address.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Segment<'a> {
    /// First address.
    pub address: u64,
    /// The bytes, at least one.
    pub bytes: &'a [u8],
    /// Where they come from.
    pub origin: Origin,
}

impl<'a> Segment<'a> {
    /// Bytes at an address.
    pub fn new(address: u64, bytes: &'a [u8], origin: Origin) -> Segment<'a> {
        Segment { address, bytes, origin }
    }

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

    /// Without the bytes at and after `address`; `None` when nothing is left.
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

/// Captured memory: disjoint segments, lowest address first.
#[derive(Clone, Debug, Default)]
pub struct Segments<'a> {
    sorted: Vec<Segment<'a>>,
}

impl<'a> Segments<'a> {
    /// From segments in any order. Where two hold the same address, the one that starts lower wins. Segments without
    /// bytes, or that run past the last address, are left out.
    pub fn new(mut all: Vec<Segment<'a>>) -> Segments<'a> {
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

    /// Adds the parts of `extra` that are not held yet. The result has at most twice the segments of both.
    pub fn fill(&mut self, extra: &Segments<'a>) {
        let mut parts = Vec::new();
        for &segment in &extra.sorted {
            let first = self.sorted.partition_point(|held| held.last() < segment.address);
            let mut rest = Some(segment);
            for held in &self.sorted[first..] {
                let Some(segment) = rest.filter(|rest| held.address <= rest.last()) else { break };
                parts.extend(segment.until(held.address));
                rest = held.last().checked_add(1).and_then(|free| segment.from(free));
            }
            parts.extend(rest);
        }
        self.sorted.append(&mut parts);
        self.sorted.sort_by_key(|segment| segment.address);
    }

    /// The segments.
    pub fn all(&self) -> &[Segment<'a>] {
        &self.sorted
    }

    /// The held bytes from `address` on, up to the next gap or seam.
    pub fn at(&self, address: u64) -> Option<Segment<'a>> {
        let index = self.sorted.partition_point(|segment| segment.address <= address).checked_sub(1)?;
        self.sorted[index].from(address)
    }

    /// The segments that share an address with `range`.
    pub fn within(&self, range: AddressRange) -> &[Segment<'a>] {
        let Some(last) = range.last() else { return &[] };
        let from = self.sorted.partition_point(|segment| segment.last() < range.start());
        let to = self.sorted.partition_point(|segment| segment.address <= last);
        self.sorted.get(from..to).unwrap_or(&[])
    }

    /// Copies bytes from `address` on, across segments that touch, and returns how many were held without a gap. The
    /// rest of `out` is untouched.
    pub fn read(&self, address: u64, out: &mut [u8]) -> usize {
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

    /// The 64-bit pointer at `address`, when all of it is held.
    pub fn pointer_at(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read(address, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
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
            segments.fill(&Segments::new(vec![segment(address, bytes)]));
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

    #[test]
    fn ranges_find_the_segments_they_touch() {
        let segments = Segments::new(vec![segment(10, b"abc"), segment(13, b"d"), segment(20, b"e")]);
        let within = |start, size| {
            let range = crate::AddressRange::new(start, size).unwrap();
            segments.within(range).iter().map(|segment| segment.address).collect::<Vec<_>>()
        };
        assert!(within(0, 10).is_empty());
        assert_eq!(within(12, 1), [10]);
        assert_eq!(within(12, 9), [10, 13, 20]);
        assert!(within(13, 0).is_empty());
        assert!(within(21, u64::MAX - 20).is_empty());
    }
}
