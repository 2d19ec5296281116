//! The container of a PDB, a multi-stream file (MSF 7.00; LLVM, "The MSF File Format"):
//!
//! ```text
//! block 0      magic[32] block_size free_map blocks directory_size 0 map_block
//! map blocks   the numbers of the directory's blocks
//! directory    streams, size[streams], the numbers of stream 0's blocks, of stream 1's, …
//! ```
//!
//! Only single words are read, so a hostile file costs small reads and no memory.

use std::io::{Read, Seek, SeekFrom};

use super::{Error, Kind};

const MAGIC: &[u8; 32] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";
const BLOCK_SIZE: u64 = 32;
const DIRECTORY_SIZE: u64 = 44;
/// The block that holds the list of the directory's blocks. Longer lists go on in the blocks that follow it.
const BLOCK_MAP: u64 = 52;
/// The size of a stream that does not exist.
const ABSENT: u32 = u32::MAX;

/// An opened container.
pub(super) struct Container<R> {
    source: R,
    length: u64,
    block_size: u64,
    directory_size: u64,
    /// File offset of the list of the directory's blocks.
    map: u64,
}

impl<R: Read + Seek> Container<R> {
    /// Reads the super block.
    pub(super) fn open(mut source: R) -> Result<Self, Error> {
        let length = source.seek(SeekFrom::End(0)).map_err(|error| Error::io(0, error))?;
        let mut container = Self { source, length, block_size: 0, directory_size: 0, map: 0 };
        let mut magic = [0; 32];
        if length < 32 || container.read_at(0, &mut magic).is_err() || magic != *MAGIC {
            return Err(Error { offset: 0, kind: Kind::NotPdb });
        }
        let (block, directory) = (container.word_at(BLOCK_SIZE)?, container.word_at(DIRECTORY_SIZE)?);
        if !block.is_power_of_two() || !(0x200..=0x1_0000).contains(&block) {
            let what = format!("the block size is {block:#x}, allowed are powers of 2 from 0x200 to 0x10000");
            return Err(Error::damaged(BLOCK_SIZE, "super block", what));
        }
        if u64::from(directory) > length {
            let what = format!("the directory has {directory:#x} bytes, the file {length:#x}");
            return Err(Error::damaged(DIRECTORY_SIZE, "super block", what));
        }
        container.block_size = block.into();
        container.directory_size = directory.into();
        container.map = u64::from(container.word_at(BLOCK_MAP)?) * container.block_size;
        Ok(container)
    }

    /// Refuses streams that are together larger than the file.
    pub(super) fn check_sizes(&mut self) -> Result<(), Error> {
        let streams = self.streams()?;
        let mut total = 0;
        for stream in 0..streams {
            total += match self.size_of(stream)? {
                ABSENT => 0,
                size => u64::from(size),
            };
        }
        if total > self.length {
            let what = format!("the streams have {total:#x} bytes, the file {:#x}", self.length);
            return Err(Error::damaged(self.map, "stream directory", what));
        }
        Ok(())
    }

    /// The file offset of a stream's first block, if there is such a stream and it is not empty.
    pub(super) fn stream(&mut self, number: u32) -> Result<Option<u64>, Error> {
        let streams = self.streams()?;
        if number >= streams {
            return Ok(None);
        }
        let mut before = 1 + u64::from(streams);
        for earlier in 0..number {
            let size = self.size_of(earlier)?;
            before += if size == ABSENT { 0 } else { u64::from(size).div_ceil(self.block_size) };
        }
        match self.size_of(number)? {
            0 | ABSENT => Ok(None),
            _ => Ok(Some(u64::from(self.directory_word(before)?) * self.block_size)),
        }
    }

    pub(super) fn word_at(&mut self, offset: u64) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.read_at(offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub(super) fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let read = self.source.seek(SeekFrom::Start(offset)).and_then(|_| self.source.read_exact(out));
        read.map_err(|error| Error::io(offset, error))
    }

    fn streams(&mut self) -> Result<u32, Error> {
        let streams = self.directory_word(0)?;
        if u64::from(streams) > self.directory_size / 4 {
            let what = format!("{streams} streams do not fit into {:#x} bytes", self.directory_size);
            return Err(Error::damaged(self.map, "stream directory", what));
        }
        Ok(streams)
    }

    fn size_of(&mut self, stream: u32) -> Result<u32, Error> {
        self.directory_word(1 + u64::from(stream))
    }

    /// A word of the directory, through the list of its blocks. No product here can overflow: words and blocks are
    /// 32-bit numbers, and a block has at most 2^16 bytes.
    fn directory_word(&mut self, index: u64) -> Result<u32, Error> {
        let offset = index * 4;
        if offset + 4 > self.directory_size {
            return Err(Error::damaged(self.map, "stream directory", format!("it ends before word {index}")));
        }
        let block = self.word_at(self.map + 4 * (offset / self.block_size))?;
        self.word_at(u64::from(block) * self.block_size + offset % self.block_size)
    }
}

#[cfg(test)]
mod tests {
    use super::MAGIC;
    use crate::pdb::check_container;

    /// A file of four blocks of 512 bytes: super block, block map, directory, data.
    fn file(sizes: &[u32]) -> Vec<u8> {
        let mut file = vec![0; 4 * 512];
        file[..32].copy_from_slice(MAGIC);
        let directory = [&[sizes.len() as u32], sizes].concat();
        for (at, value) in [(32, 512), (40, 4), (44, 4 * directory.len() as u32), (52, 1), (512, 2)] {
            file[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        for (index, value) in directory.into_iter().enumerate() {
            file[1024 + 4 * index..1028 + 4 * index].copy_from_slice(&value.to_le_bytes());
        }
        file
    }

    #[test]
    fn streams_fit_into_the_file() {
        check_container(&file(&[0, 100, u32::MAX, 400])).unwrap();
        let refused = |file: &[u8], words: &str| {
            let error = check_container(file).unwrap_err().to_string();
            assert!(error.contains(words), "{error}: expected {words}");
        };
        refused(b"MZ", "not a PDB file");
        refused(&file(&[1000, 1000, 49]), "the streams have 0x801 bytes, the file 0x800");
        refused(&file(&[])[..512], "offset 0x200: the file ends here");
        let with = |at: usize, value: u32| {
            let mut file = file(&[4]);
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            file
        };
        refused(&with(32, 0), "the block size is 0x0");
        refused(&with(44, u32::MAX), "the directory has 0xffffffff bytes");
        refused(&with(44, 0), "ends before word 0");
        refused(&with(52, u32::MAX), "the file ends here");
        refused(&with(512, u32::MAX), "the file ends here");
        refused(&with(1024, 9), "9 streams do not fit");
    }
}
