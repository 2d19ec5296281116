//! The container of a PDB (MSF 7.00), looked at before `pdb2` is let near it.
//!
//! `pdb2` reads a stream as a whole. The sizes of the streams stand in the file's directory, and nothing keeps a hostile
//! one from naming one block a million times, so that a small file asks for gigabytes. In a sound file the streams
//! have blocks of their own, and all of them together are not larger than the file.

use super::LayoutError;

const MAGIC: &[u8; 32] = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0";
const BLOCK_SIZE: usize = 32;
const DIRECTORY_SIZE: usize = 44;
const BLOCK_MAP: usize = 52;
/// A stream that is not there.
const ABSENT: u32 = u32::MAX;

/// Refuses a file whose streams are larger than itself.
pub(crate) fn check(file: &[u8]) -> Result<(), LayoutError> {
    if !file.starts_with(MAGIC) {
        return Err(LayoutError::Container { offset: 0, what: "no MSF 7.00 file" });
    }
    let cut = |offset| LayoutError::Container { offset, what: "the file ends here, or is damaged" };
    let field = |at: usize| word(file, at).ok_or(cut(at as u64));
    let (block, size) = (u64::from(field(BLOCK_SIZE)?), u64::from(field(DIRECTORY_SIZE)?));
    if !block.is_power_of_two() || !(512..=65536).contains(&block) || size > file.len() as u64 {
        return Err(LayoutError::Container {
            offset: BLOCK_SIZE as u64,
            what: "impossible sizes of block or directory",
        });
    }
    // Where the directory's blocks are, themselves a list in one or more blocks that follow each other.
    let map = u64::from(field(BLOCK_MAP)?) * block;
    let at_directory = |offset: u64| -> Result<u32, LayoutError> {
        let entry = usize::try_from(map + 4 * (offset / block)).ok().and_then(|at| word(file, at)).ok_or(cut(map))?;
        let at = u64::from(entry) * block + offset % block;
        usize::try_from(at).ok().and_then(|at| word(file, at)).ok_or(cut(at))
    };
    if size < 4 {
        return Err(cut(map));
    }
    let streams = u64::from(at_directory(0)?);
    if streams > size / 4 {
        return Err(LayoutError::Container { offset: map, what: "more streams than the directory has room for" });
    }
    let mut total = 0u64;
    for stream in 1..=streams {
        let size = at_directory(4 * stream)?;
        total += if size == ABSENT { 0 } else { size.into() };
    }
    if total > file.len() as u64 {
        return Err(LayoutError::Container { offset: map, what: "streams that are larger than the file" });
    }
    Ok(())
}

fn word(file: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(file.get(at..at.checked_add(4)?)?.try_into().expect("4 bytes")))
}

#[cfg(test)]
mod tests {
    use super::{MAGIC, check};

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
        check(&file(&[0, 100, u32::MAX, 400])).unwrap();
        let refused = |file: &[u8], words: &str| {
            let error = check(file).unwrap_err().to_string();
            assert!(error.contains(words), "{error}: expected {words}");
        };
        refused(b"MZ", "no MSF");
        refused(&file(&[1000, 1000, 49]), "larger than the file");
        refused(&file(&[])[..512], "ends here");
        let with = |at: usize, value: u32| {
            let mut file = file(&[4]);
            file[at..at + 4].copy_from_slice(&value.to_le_bytes());
            file
        };
        refused(&with(32, 0), "impossible");
        refused(&with(44, u32::MAX), "impossible");
        refused(&with(44, 0), "ends here");
        refused(&with(52, u32::MAX), "ends here");
        refused(&with(512, u32::MAX), "ends here");
        refused(&with(1024, 9), "more streams");
    }
}
