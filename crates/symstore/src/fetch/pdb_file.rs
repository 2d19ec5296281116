//! Reads who a PDB is. Its container is a multi-stream file, MSF 7.00 (LLVM, "The MSF File Format"):
//!
//! ```text
//! block 0      magic[32] block_size free_map blocks directory_size 0 map_block, map_block…
//! map blocks   the numbers of the directory's blocks
//! directory    streams, size[streams], the numbers of stream 0's blocks, of stream 1's, …
//! stream 1     version signature age GUID …          stream 3     -1 version age …
//! ```
//!
//! Only these few words are read, one by one, so a hostile file costs a dozen small reads and no memory.

use std::io::{self, Read, Seek, SeekFrom};

use crate::key::Guid;

const MAGIC: &[u8; 32] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";
/// Where the numbers of the map blocks start.
const MAP_BLOCKS: u64 = 52;
/// A stream that does not exist has this size.
const NO_STREAM: u32 = u32::MAX;

/// The identity of a PDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PdbFile {
    pub(super) guid: Guid,
    /// Age of the PDB as a whole.
    pub(super) age: u32,
    /// Age in the DBI stream, which is the one that an image names.
    pub(super) dbi_age: Option<u32>,
}

impl PdbFile {
    pub(super) fn read(source: impl Read + Seek) -> io::Result<Self> {
        let mut msf = Msf { source, block_size: 0, directory_size: 0 };
        let mut head = [0; 52];
        msf.read_at(0, &mut head)?;
        if !head.starts_with(MAGIC) {
            return Err(invalid("the file does not start with the magic of a PDB (MSF 7.00)"));
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let block_size = word(32);
        if !block_size.is_power_of_two() || !(0x200..=0x1_0000).contains(&block_size) {
            return Err(invalid(format!(
                "the PDB's block size is {block_size:#x}, allowed are powers of 2 to 0x10000"
            )));
        }
        msf.block_size = block_size.into();
        msf.directory_size = word(44).into();

        let information = msf.stream(1)?.ok_or_else(|| invalid("the PDB has no information stream"))?;
        let mut bytes = [0; 28];
        msf.read_at(information, &mut bytes)?;
        let age = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let mut guid = [0; 16];
        guid.copy_from_slice(&bytes[12..]);
        let dbi_age = match msf.stream(3)? {
            Some(dbi) => Some(msf.word_at(dbi + 8)?),
            None => None,
        };
        Ok(Self { guid: Guid(guid), age, dbi_age })
    }
}

struct Msf<R> {
    source: R,
    block_size: u64,
    directory_size: u64,
}

impl<R: Read + Seek> Msf<R> {
    /// The file offset of a stream's first block, if the stream is there and has one.
    fn stream(&mut self, number: u32) -> io::Result<Option<u64>> {
        let streams = self.directory_word(0)?;
        if number >= streams {
            return Ok(None);
        }
        let mut before = 1 + u64::from(streams);
        for earlier in 0..number {
            let size = self.size_of(earlier)?;
            before += self.blocks_in(size);
        }
        match self.size_of(number)? {
            0 | NO_STREAM => Ok(None),
            _ => Ok(Some(u64::from(self.directory_word(before)?) * self.block_size)),
        }
    }

    fn size_of(&mut self, stream: u32) -> io::Result<u32> {
        self.directory_word(1 + u64::from(stream))
    }

    fn blocks_in(&self, size: u32) -> u64 {
        if size == NO_STREAM { 0 } else { u64::from(size).div_ceil(self.block_size) }
    }

    /// A word of the directory, through the map of its blocks. No product here can overflow: words and blocks are
    /// 32-bit numbers, and a block has at most 2^16 bytes.
    fn directory_word(&mut self, index: u64) -> io::Result<u32> {
        let offset = index * 4;
        if offset + 4 > self.directory_size {
            return Err(invalid("the PDB's stream directory is too short"));
        }
        let entry = offset / self.block_size * 4;
        let map = self.word_at(MAP_BLOCKS + entry / self.block_size * 4)?;
        let block = self.word_at(u64::from(map) * self.block_size + entry % self.block_size)?;
        self.word_at(u64::from(block) * self.block_size + offset % self.block_size)
    }

    fn word_at(&mut self, offset: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read_at(offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(offset))?;
        self.source.read_exact(out)
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

#[cfg(test)]
mod tests {
    use super::PdbFile;
    use proptest::prelude::*;
    use std::io::Cursor;

    const GUID: &str = "ed706a38-6592-40a0-66e6-fb19b994baaa";

    #[test]
    fn identity_is_found_through_the_directory() {
        let pdb = PdbFile::read(Cursor::new(testkit::catalog::pdb(GUID, 3))).unwrap();
        assert_eq!((pdb.guid.to_string().to_lowercase().as_str(), pdb.age, pdb.dbi_age), (GUID, 3, Some(3)));
        assert!(PdbFile::read(Cursor::new(b"MZ")).is_err());
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
            let _ = PdbFile::read(Cursor::new(bytes));
        }
    }
}
