//! Text and numbers out of payloads. Nothing here trusts the bytes: what runs past the end is absent, and text is cut to a
//! length that lines and reports can hold.

use std::borrow::Cow;

/// Characters of a text that are kept.
pub(crate) const LONGEST_TEXT: usize = 1024;
/// Characters of a name that are kept: an event repeats the names of its fields.
pub(crate) const LONGEST_NAME: usize = 256;

/// What is left of a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'e>(pub &'e [u8]);

impl<'e> Reader<'e> {
    /// The next `length` bytes; nothing is taken when there are fewer.
    pub fn take(&mut self, length: usize) -> Option<&'e [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A pointer of `width` bytes, 4 or 8.
    pub fn pointer(&mut self, width: u8) -> Option<u64> {
        if width == 4 { self.u32().map(u64::from) } else { self.u64() }
    }

    pub fn guid(&mut self) -> Option<etl_file::Guid> {
        self.array().map(etl_file::Guid)
    }

    /// Bytes up to a NUL, which is taken too, or to the end.
    pub fn until_nul(&mut self) -> &'e [u8] {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest.get(1..).unwrap_or_default();
        text
    }

    /// The bytes of 16-bit units up to a NUL, which is taken too, or to the end: a half unit there is passed.
    pub fn until_wide_nul(&mut self) -> &'e [u8] {
        let units = self.0.as_chunks::<2>().0;
        let (length, taken) = match units.iter().position(|unit| *unit == [0, 0]) {
            Some(at) => (2 * at, 2 * at + 2),
            None => (2 * units.len(), self.0.len()),
        };
        let text = &self.0[..length];
        self.0 = &self.0[taken..];
        text
    }
}

/// Text of bytes that are UTF-8 or ASCII; what is neither is replaced.
pub(crate) fn narrow(bytes: &[u8]) -> Cow<'_, str> {
    // No character takes more than four bytes.
    let (kept, is_cut) = start(bytes, 4 * LONGEST_TEXT + 4);
    shortened(String::from_utf8_lossy(kept), LONGEST_TEXT, is_cut)
}

/// Text of 16-bit units; a surrogate without its other half is replaced.
pub(crate) fn wide(bytes: &[u8]) -> String {
    let (kept, is_cut) = start(bytes, 4 * LONGEST_TEXT + 4);
    let units = kept.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    shortened(text.into(), LONGEST_TEXT, is_cut).into_owned()
}

/// A name that an event holds.
pub(crate) fn name(bytes: &[u8]) -> Cow<'_, str> {
    let (kept, is_cut) = start(bytes, 4 * LONGEST_NAME + 4);
    shortened(String::from_utf8_lossy(kept), LONGEST_NAME, is_cut)
}

/// The first bytes, and whether there are more.
fn start(bytes: &[u8], most: usize) -> (&[u8], bool) {
    (&bytes[..bytes.len().min(most)], bytes.len() > most)
}

/// At most `most` characters; an ellipsis stands for those that are cut off, which may be so already.
pub(crate) fn shortened(text: Cow<'_, str>, most: usize, is_cut: bool) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None if is_cut => format!("{text}…").into(),
        None => text,
    }
}

/// `1 byte`, `12 bytes`.
pub(crate) fn bytes(number: usize) -> String {
    format!("{number} byte{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_TEXT, Reader, narrow, wide};

    #[test]
    fn text_ends_at_its_nul_or_with_the_bytes() {
        let check = |bytes: &[u8], text: &[u8], rest: usize| {
            let mut reader = Reader(bytes);
            assert_eq!((reader.until_nul(), reader.0.len()), (text, rest), "{bytes:?}");
        };
        check(b"ab\0c", b"ab", 1);
        check(b"ab", b"ab", 0);
        check(b"\0", b"", 0);
        check(b"", b"", 0);
        let check = |bytes: &[u8], text: &[u8], rest: usize| {
            let mut reader = Reader(bytes);
            assert_eq!((reader.until_wide_nul(), reader.0.len()), (text, rest), "{bytes:?}");
        };
        check(b"a\0b\0\0\0c", b"a\0b\0", 1);
        check(b"a\0b\0", b"a\0b\0", 0);
        check(b"a\0b", b"a\0", 0);
        check(b"\0\0", b"", 0);
    }

    #[test]
    fn long_text_is_cut() {
        let kept = "é".repeat(LONGEST_TEXT);
        assert_eq!(narrow(kept.as_bytes()), kept);
        assert_eq!(narrow(format!("{kept}x").as_bytes()), format!("{kept}…"));
        assert_eq!(narrow("é".repeat(30_000).as_bytes()), format!("{kept}…"));
        let units: Vec<u8> = format!("{kept}x").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(wide(&units), format!("{kept}…"));
        assert_eq!(wide(&[0x3d, 0xd8, 0x00, 0xde, 0x3d, 0xd8]), "😀\u{fffd}");
        assert_eq!(narrow(b"a\xffb"), "a\u{fffd}b");
    }
}
