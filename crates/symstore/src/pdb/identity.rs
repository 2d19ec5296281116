//! Which PDB a file is: the GUID and age by which an image names it.

use std::io::{Read, Seek};

use super::Error;
use super::msf::Container;
use pe_image::{Guid, PdbId};

/// Streams with fixed numbers: the PDB's own information, and the debug information (DBI).
const INFORMATION: u32 = 1;
const DBI: u32 = 3;

/// The identity of a PDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PdbIdentity {
    /// Made anew by each full link.
    pub guid: Guid,
    /// Age of the PDB as a whole.
    pub age: u32,
    /// Age in the DBI stream, which is the one that an image names.
    pub dbi_age: Option<u32>,
}

impl PdbIdentity {
    /// Reads the identity, with about a dozen small reads.
    ///
    /// ```text
    /// stream 1   version signature age GUID        stream 3   -1 version age …
    /// ```
    ///
    /// # Errors
    /// When the file is not a PDB, or the directory or these streams are damaged.
    pub fn read(source: impl Read + Seek) -> Result<Self, Error> {
        let mut container = Container::open(source)?;
        let Some(information) = container.stream(INFORMATION)? else {
            return Err(Error::damaged(0, "stream 1", "there is none, so the PDB has no identity"));
        };
        let mut bytes = [0; 28];
        container.read_at(information, &mut bytes)?;
        let age = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let mut guid = [0; 16];
        guid.copy_from_slice(&bytes[12..]);
        let dbi_age = match container.stream(DBI)? {
            Some(dbi) => Some(container.word_at(dbi + 8)?),
            None => None,
        };
        Ok(Self { guid: Guid(guid), age, dbi_age })
    }

    /// The GUID and the age that an image would name.
    pub fn id(&self) -> PdbId {
        PdbId { guid: self.guid, age: self.dbi_age.unwrap_or(self.age) }
    }

    /// True when an image that names `wanted` means this PDB. Servers file some PDBs by the age of the whole.
    pub fn is(&self, wanted: PdbId) -> bool {
        self.guid == wanted.guid && (self.id().age == wanted.age || self.age == wanted.age)
    }
}

#[cfg(test)]
mod tests {
    use super::PdbIdentity;
    use proptest::prelude::*;
    use std::io::Cursor;

    const GUID: &str = "ed706a38-6592-40a0-66e6-fb19b994baaa";

    #[test]
    fn identity_is_found_through_the_directory() {
        let pdb = PdbIdentity::read(Cursor::new(testkit::catalog::pdb(GUID, 3))).unwrap();
        assert_eq!((pdb.guid.to_string().to_lowercase().as_str(), pdb.age, pdb.dbi_age), (GUID, 3, Some(3)));
        assert!(PdbIdentity::read(Cursor::new(b"MZ")).unwrap_err().is_not_pdb());
    }

    proptest! {
        #[test]
        fn damage_is_no_panic(changes in prop::collection::vec((0_usize..3600, any::<u8>()), 1..6), cut in 0_usize..3600) {
            let mut bytes = testkit::catalog::pdb(GUID, 1);
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(bytes.len() - cut % bytes.len());
            let _ = PdbIdentity::read(Cursor::new(bytes));
        }
    }
}
