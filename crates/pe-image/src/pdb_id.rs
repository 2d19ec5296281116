//! Which PDB belongs to an image: GUID and age.

use std::fmt;

/// A GUID in the byte order in which Windows stores it (three little-endian fields, then eight bytes).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// Reads `XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX`, or the same 32 digits without dashes, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|&c| c != '-').collect();
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let value = u128::from_str_radix(&digits, 16).ok()?.to_be_bytes();
        Some(Self(MIXED.map(|i| value[i])))
    }
}

/// Where each stored byte stands in the printed text.
const MIXED: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl fmt::Display for Guid {
    /// The dashed form in upper case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, at) in MIXED.into_iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{:02X}", self.0[at])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What ties an image to its PDB: the GUID and age of the image's RSDS debug record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PdbId {
    /// Made anew by each full link.
    pub guid: Guid,
    /// Counts the incremental changes since; as in the image, which is what servers file by.
    pub age: u32,
}

impl fmt::Display for PdbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} age {}", self.guid, self.age)
    }
}

#[cfg(test)]
mod tests {
    use super::Guid;
    use crate::identity::{image_key, pdb_key};

    #[test]
    fn keys_are_printed_as_servers_expect() {
        let check = |stamp, size, key: &str| assert_eq!(image_key(stamp, size), key);
        check(0x1a7b_e8e9, 0x6000, "1A7BE8E96000");
        check(0x0000_0001, 0xabc, "00000001abc");
        check(0xe873_70bb, 0x9a000, "E87370BB9a000");

        let guid = Guid::parse("ed706a38-6592-40a0-66e6-fb19b994baaa").unwrap();
        assert_eq!(guid.0[..8], [0x38, 0x6a, 0x70, 0xed, 0x92, 0x65, 0xa0, 0x40]);
        assert_eq!(guid.to_string(), "ED706A38-6592-40A0-66E6-FB19B994BAAA");
        assert_eq!(pdb_key(&guid.0, 26), "ED706A38659240A066E6FB19B994BAAA1a");
        assert_eq!(Guid::parse("ED706A38659240A066E6FB19B994BAAA"), Some(guid));
        assert_eq!(Guid::parse("ED706A38659240A066E6FB19B994BAA"), None);
        assert_eq!(Guid::parse("+D706A38659240A066E6FB19B994BAAA"), None);
    }
}
