//! GUIDs in the mixed-endian form that Windows stores.

use std::fmt;
use std::str::FromStr;

/// A 16-byte GUID as stored: the first three fields little-endian, the last eight bytes in order.
///
/// ```
/// use etl_file::Guid;
/// let image = Guid::new(0x2cb15d1d, 0x5fc1, 0x11d2, [0xab, 0xe1, 0x00, 0xa0, 0xc9, 0x11, 0xf5, 0x18]);
/// assert_eq!(image.to_string(), "2CB15D1D-5FC1-11D2-ABE1-00A0C911F518");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// A GUID from the four parts of its C initialiser.
    pub const fn new(data1: u32, data2: u16, data3: u16, data4: [u8; 8]) -> Self {
        let (a, b, c, d) = (data1.to_le_bytes(), data2.to_le_bytes(), data3.to_le_bytes(), data4);
        Self([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
    }

    /// The first four bytes as a number: enough to reject nearly every other GUID with one comparison.
    pub const fn data1(&self) -> u32 {
        let b = self.0;
        u32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }
}

impl fmt::Display for Guid {
    /// Upper case with hyphens and without braces, as debuggers print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        write!(
            f,
            "{:08X}-{:04X}-{:04X}-{:02X}{:02X}-",
            self.data1(),
            u16::from_le_bytes([b[4], b[5]]),
            u16::from_le_bytes([b[6], b[7]]),
            b[8],
            b[9]
        )?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl FromStr for Guid {
    type Err = ParseGuidError;

    /// Reads the form with hyphens, in braces or without, in upper or lower case.
    ///
    /// ```
    /// use etl_file::{Guid, ProviderGuid};
    /// let image: Guid = "{2cb15d1d-5fc1-11d2-abe1-00a0c911f518}".parse()?;
    /// assert_eq!(image, ProviderGuid::IMAGE);
    /// # Ok::<(), etl_file::ParseGuidError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, ParseGuidError> {
        let bare =
            text.strip_prefix('{').map_or(Some(text), |rest| rest.strip_suffix('}')).ok_or(ParseGuidError(()))?;
        // Where each byte, in the order in which they are stored, has its two digits.
        const DIGITS: [usize; 16] = [6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34];
        let digits = bare.as_bytes();
        if digits.len() != 36 || [8, 13, 18, 23].into_iter().any(|at| digits[at] != b'-') {
            return Err(ParseGuidError(()));
        }
        let digit = |at: usize| char::from(digits[at]).to_digit(16).ok_or(ParseGuidError(()));
        let mut bytes = [0; 16];
        for (byte, at) in bytes.iter_mut().zip(DIGITS) {
            *byte = (digit(at)? << 4 | digit(at + 1)?) as u8;
        }
        Ok(Self(bytes))
    }
}

/// A text is not a GUID of the form `2CB15D1D-5FC1-11D2-ABE1-00A0C911F518`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseGuidError(());

impl fmt::Display for ParseGuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a GUID: 32 hexadecimal digits in groups of 8-4-4-4-12 are needed, in braces or without")
    }
}

impl std::error::Error for ParseGuidError {}

#[cfg(feature = "serde")]
impl serde::Serialize for Guid {
    /// As text.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Guid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_guids_and_not() {
        let check = |text: &str, expected: Option<&str>| {
            let read = text.parse::<Guid>().ok().map(|guid| guid.to_string());
            assert_eq!(read.as_deref(), expected, "{text:?}");
        };
        const UPPER: &str = "00112233-4455-6677-8899-AABBCCDDEEFF";
        check(UPPER, Some(UPPER));
        check("00112233-4455-6677-8899-aabbccddeeff", Some(UPPER));
        check("{00112233-4455-6677-8899-aAbBcCdDeEfF}", Some(UPPER));
        check("{00112233-4455-6677-8899-AABBCCDDEEFF", None);
        check("00112233-4455-6677-8899-AABBCCDDEEFF}", None);
        check("00112233-4455-6677-8899-AABBCCDDEEF", None);
        check("00112233-4455-6677-8899AABBCCDDEEFFF0", None);
        check("0011223--4455-6677-8899-AABBCCDDEEFF", None);
        check("+0112233-4455-6677-8899-AABBCCDDEEFF", None);
        check("0011223\u{e9}-4455-6677-8899-AABBCCDDEEF", None);
        check("", None);
        check("{}", None);
    }
}
