//! GUIDs in the mixed-endian form that Windows stores.

use std::fmt;

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

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}
