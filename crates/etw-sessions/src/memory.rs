//! Memory at addresses, and the only arithmetic on addresses from it.

/// Memory at addresses, as a dump holds it.
pub trait Memory {
    /// Reads at `address`. Returns how many bytes from the start of `out` are held without a gap; what follows them
    /// in `out` is unspecified.
    fn read(&self, address: u64, out: &mut [u8]) -> usize;
}

/// The bytes of a block; addresses are positions in it.
impl Memory for &[u8] {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        let rest = usize::try_from(address).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = out.len().min(rest.len());
        out[..count].copy_from_slice(&rest[..count]);
        count
    }
}

/// Whole values at addresses: `None` when a byte of one is not held, or an address does not exist.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'m>(pub &'m dyn Memory);

impl Reader<'_> {
    pub fn bytes<const N: usize>(&self, base: u64, offset: u32) -> Option<[u8; N]> {
        let mut out = [0; N];
        (self.0.read(base.checked_add(offset.into())?, &mut out) == N).then_some(out)
    }

    pub fn u16(&self, base: u64, offset: u32) -> Option<u16> {
        self.bytes(base, offset).map(u16::from_le_bytes)
    }

    pub fn u32(&self, base: u64, offset: u32) -> Option<u32> {
        self.bytes(base, offset).map(u32::from_le_bytes)
    }

    pub fn i64(&self, base: u64, offset: u32) -> Option<i64> {
        self.bytes(base, offset).map(i64::from_le_bytes)
    }

    pub fn u64(&self, base: u64, offset: u32) -> Option<u64> {
        self.bytes(base, offset).map(u64::from_le_bytes)
    }

    /// A pointer that can be one of the kernel's.
    pub fn pointer(&self, base: u64, offset: u32) -> Option<u64> {
        self.u64(base, offset).filter(|&address| is_kernel(address))
    }

    /// At most `count` bytes, as many as are held without a gap.
    pub fn up_to(&self, address: u64, count: usize) -> Vec<u8> {
        let mut out = vec![0; count];
        let held = self.0.read(address, &mut out);
        out.truncate(held);
        out
    }

    /// A `UNICODE_STRING`.
    pub fn text(&self, base: u64, offset: u32) -> Text {
        let read = || {
            let (length, room) = (self.u16(base, offset)?, self.u16(base, offset.checked_add(2)?)?);
            let buffer = self.u64(base, offset.checked_add(8)?)?;
            Some((length, room, buffer))
        };
        let Some((length, room, buffer)) = read() else { return Text::Unreadable };
        if length == 0 {
            return Text::Held(String::new());
        }
        if length % 2 != 0 || length > room || !is_kernel(buffer) {
            return Text::NotOne;
        }
        let mut bytes = vec![0; usize::from(length)];
        if self.0.read(buffer, &mut bytes) < bytes.len() {
            return Text::Unreadable;
        }
        Text::Held(utf16(&bytes))
    }
}

/// What a `UNICODE_STRING` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Held(String),
    /// Its characters, or it, are not held.
    Unreadable,
    /// It cannot be one: a length that is odd or exceeds the room, a pointer to no address of the kernel.
    NotOne,
}

/// UTF-16 text up to a NUL.
pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units)
}

/// True for a canonical address in the kernel's half, of 48 bits or 57.
pub(crate) fn is_kernel(address: u64) -> bool {
    address >= 0xff00_0000_0000_0000
}

/// The number in a structure that is held as bytes; 0 past its end.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes")))
}

/// As [`word`], of 8 bytes.
pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")))
}

/// As [`word`], of 2 bytes.
pub(crate) fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes(bytes.try_into().expect("2 bytes")))
}

#[cfg(test)]
mod tests {
    use super::{Reader, Text};

    #[test]
    fn values_are_whole_or_not_there() {
        let bytes: &[u8] = &[1, 0, 0, 0, 2, 0, 0, 0];
        let reader = Reader(&bytes);
        assert_eq!((reader.u64(0, 0), reader.u32(0, 4), reader.u32(0, 5)), (Some(0x2_0000_0001), Some(2), None));
        assert_eq!((reader.u32(u64::MAX, 4), reader.u32(u64::MAX - 1, 0)), (None, None));
        assert_eq!(reader.up_to(6, 100), [0, 0]);
    }

    #[test]
    fn a_text_is_refused_when_it_cannot_be_one() {
        let string = |length: u16, room: u16, buffer: u64| {
            let mut bytes = [length.to_le_bytes(), room.to_le_bytes(), [0; 2], [0; 2]].concat();
            bytes.extend(buffer.to_le_bytes());
            Reader(&&bytes[..]).text(0, 0)
        };
        assert_eq!(string(0, 0, 0), Text::Held(String::new()));
        for (length, room, buffer) in [(3, 4, u64::MAX), (4, 2, u64::MAX), (4, 4, 0x1000)] {
            assert_eq!(string(length, room, buffer), Text::NotOne, "{length} {room} {buffer:#x}");
        }
        assert_eq!(string(4, 4, 0xffff_8000_0000_0000), Text::Unreadable);
    }
}
