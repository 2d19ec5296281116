//! Files packed by the older `compress.exe` (`foo.sy_`): SZDD, a 14-byte header and LZSS with a window of 4 KiB.

use std::io::{self, Read};

use crate::stream::{LARGEST_UNPACKED, invalid, read_limited};

/// The first bytes of an SZDD file.
pub(crate) const SZDD: &[u8] = b"SZDD\x88\xf0\x27\x33";

/// An unpacked SZDD file.
pub(crate) struct Szdd {
    pub(crate) bytes: Vec<u8>,
    /// The last letter of the name, which the packed name has lost.
    pub(crate) last_letter: Option<char>,
}

/// Unpacks an SZDD file. The output is at most nine times the input.
///
/// # Errors
/// `InvalidData` for another format or mode, and when the data ends before the size in the header is reached.
pub(crate) fn read_szdd(mut source: impl Read) -> io::Result<Szdd> {
    let mut header = [0; 14];
    source.read_exact(&mut header)?;
    if !header.starts_with(SZDD) || header[8] != b'A' {
        return Err(invalid(format!("SZDD header: the mode is {:#04x}, allowed is 'A'", header[8])));
    }
    let size = u32::from_le_bytes([header[10], header[11], header[12], header[13]]) as usize;
    let packed = read_limited(source, LARGEST_UNPACKED / 9)?;
    let have = packed.len();

    // The window starts as spaces, and the first byte is written 16 places before its end.
    let mut window = [b' '; 4096];
    let mut at = 4096 - 16;
    let mut out = Vec::with_capacity(size.min(packed.len().saturating_mul(9)));
    let mut input = packed.into_iter();
    let mut put = |byte: u8, window: &mut [u8; 4096]| {
        window[at] = byte;
        at = (at + 1) % 4096;
        out.push(byte);
        out.len() == size
    };
    'groups: while let Some(flags) = input.next().filter(|_| size > 0) {
        for bit in 0..8 {
            let Some(first) = input.next() else { break 'groups };
            if flags >> bit & 1 == 1 {
                if put(first, &mut window) {
                    break 'groups;
                }
                continue;
            }
            let Some(second) = input.next() else { break 'groups };
            let from = usize::from(first) | usize::from(second & 0xf0) << 4;
            for step in 0..usize::from(second & 0xf) + 3 {
                if put(window[(from + step) % 4096], &mut window) {
                    break 'groups;
                }
            }
        }
    }
    if out.len() != size {
        return Err(invalid(format!(
            "SZDD data ends at offset {:#x}, after {} of {size} unpacked bytes",
            14 + have,
            out.len()
        )));
    }
    Ok(Szdd { bytes: out, last_letter: Some(char::from(header[9])).filter(char::is_ascii_graphic) })
}

#[cfg(test)]
mod tests {
    use super::read_szdd;
    use proptest::prelude::*;
    use testkit::catalog::szdd;

    #[test]
    fn runs_may_overlap_and_start_in_the_spaces() {
        // A literal, then a match of 18 that copies it, then a match of 3 out of the untouched window.
        let packed = szdd(5 + 17, b's', &[0b001, b'x', 0xf0, 0xff, 0x00, 0x10]);
        let unpacked = read_szdd(packed.as_slice()).unwrap();
        assert_eq!(unpacked.bytes, [&b"x"[..], &[b'x'; 18], b"   "].concat());
        assert_eq!(unpacked.last_letter, Some('s'));
        let check = |packed: &[u8]| assert!(read_szdd(packed).is_err(), "{packed:?}");
        check(&packed[..packed.len() - 1]);
        check(&packed[..10]);
        check(b"SZDD\x88\xf0\x27\x33Bs\x01\0\0\0\x01x");
    }

    proptest! {
        #[test]
        fn any_data_stays_within_nine_times_its_size(size: u16, data in prop::collection::vec(any::<u8>(), 0..300)) {
            let packed = szdd(size.into(), b'x', &data);
            if let Ok(unpacked) = read_szdd(packed.as_slice()) {
                prop_assert!(unpacked.bytes.len() == usize::from(size) && unpacked.bytes.len() <= 9 * data.len());
            }
        }
    }
}
