//! Reading little-endian numbers and text out of untrusted bytes. All arithmetic on offsets that come from a file is
//! in this module, and all of it is checked; the rest of the crate cannot overflow or index out of bounds with them.

use crate::guid::Guid;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of one structure, read at offsets relative to its start. Every getter answers `None` past the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'d>(pub &'d [u8]);

impl<'d> Bytes<'d> {
    /// `length` bytes at `at`.
    #[inline]
    pub fn slice(&self, at: usize, length: usize) -> Option<&'d [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    /// Everything from `at` on; empty when that is past the end.
    #[inline]
    pub fn rest(&self, at: usize) -> &'d [u8] {
        self.0.get(at..).unwrap_or_default()
    }

    #[inline]
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.slice(at, N)?.try_into().ok()
    }

    #[inline]
    pub fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    #[inline]
    pub fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    #[inline]
    pub fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    #[inline]
    pub fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    #[inline]
    pub fn i64(&self, at: usize) -> Option<i64> {
        self.array(at).map(i64::from_le_bytes)
    }

    /// A pointer of `width` bytes, 4 or 8.
    pub fn pointer(&self, at: usize, width: usize) -> Option<u64> {
        if width == 4 { self.u32(at).map(u64::from) } else { self.u64(at) }
    }

    #[inline]
    pub fn guid(&self, at: usize) -> Option<Guid> {
        self.array(at).map(Guid)
    }

    /// A raw structure at `at`.
    #[inline]
    pub fn raw<T: FromBytes + KnownLayout + Immutable + Unaligned>(&self, at: usize) -> Option<&'d T> {
        T::ref_from_prefix(self.0.get(at..)?).ok().map(|(value, _)| value)
    }

    /// UTF-16 text at `at` up to a NUL or the end, and the offset after its NUL.
    pub fn utf16(&self, at: usize) -> (String, usize) {
        let (units, _) = self.rest(at).as_chunks::<2>();
        let count = units.iter().position(|unit| *unit == [0, 0]).unwrap_or(units.len());
        let units = &units[..count];
        // Nearly all text in traces is ASCII, and there is much of it.
        let text = if units.iter().all(|[low, high]| *low < 0x80 && *high == 0) {
            units.iter().map(|[low, _]| char::from(*low)).collect()
        } else {
            let wide = units.iter().map(|unit| u16::from_le_bytes(*unit));
            char::decode_utf16(wide).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        };
        // The text lies inside the slice, so this sum is at most its length plus the terminator.
        (text, at.saturating_add(2 * count + 2))
    }

    /// UTF-16 text in a field of `units` 16-bit units, up to a NUL.
    pub fn utf16_field(&self, at: usize, units: usize) -> Option<String> {
        Some(Bytes(self.slice(at, units.checked_mul(2)?)?).utf16(0).0)
    }

    /// UTF-8 or ASCII text at `at` up to a NUL or the end, and the offset after its NUL.
    pub fn text(&self, at: usize) -> (String, usize) {
        let rest = self.rest(at);
        let count = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
        (String::from_utf8_lossy(&rest[..count]).into_owned(), at.saturating_add(count + 1))
    }
}

/// True when every byte is zero. Reads words: it decides over gigabytes of unused tail.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<32>();
    words.iter().all(|word| *word == [0; 32]) && rest.iter().all(|&byte| byte == 0)
}
