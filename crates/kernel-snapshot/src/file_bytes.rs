//! The one memory map of the project, and the one `unsafe` line.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};

use etl_file::ReadAhead;

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// The bytes of a file, mapped where that works and read into memory where it does not (pipes, some network shares).
#[derive(Debug)]
pub struct FileBytes {
    path: PathBuf,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(memmap2::Mmap),
    Owned(Vec<u8>),
}

impl FileBytes {
    /// Opens `path` for reading. The file must not be changed or shortened while the value lives.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let is_file = file.metadata().map_err(failed)?.is_file();
        if is_file && let Some(map) = map(&file) {
            return Ok(Self { path: path.to_owned(), bytes: Bytes::Mapped(map) });
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        Ok(Self::from_memory(path, bytes))
    }

    /// Bytes that are in memory already, such as a member of an archive; `path` is what messages call them.
    pub fn from_memory(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), bytes: Bytes::Owned(bytes) }
    }

    /// The file that the bytes came from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl ReadAhead for FileBytes {
    /// Has the operating system map a part of the file at once, where it can: its pages would else be mapped in small groups as
    /// they are touched, which costs more than looking at what is in them. Nothing else depends on it.
    fn read_ahead(&self, part: Range<u64>) {
        #[cfg(target_os = "linux")]
        if let Bytes::Mapped(map) = &self.bytes {
            let (Ok(start), Ok(end)) = (usize::try_from(part.start), usize::try_from(part.end)) else { return };
            let end = end.min(map.len());
            if start < end {
                // Kernels before 5.14 do not know it, and a file that was shortened has no such pages: that is found when they
                // are read.
                let _ = map.advise_range(memmap2::Advice::PopulateRead, start, end - start);
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = part;
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// Maps a whole regular file read-only; `None` when the operating system will not, or the file is empty.
#[allow(unsafe_code, reason = "a memory map is how a 10 GiB trace is read in 64 MiB; see the argument below")]
fn map(file: &File) -> Option<memmap2::Mmap> {
    // SAFETY: `Mmap::map` is unsafe because another process can change or shorten the file underneath the map: a
    // `&[u8]` whose bytes change is undefined behaviour in Rust's memory model, and touching a page beyond a shortened
    // file raises SIGBUS. The map is read-only and private to this process, so nothing in this program can write to
    // it. What remains is another program writing to a trace or module while we read it. That cannot be excluded by
    // any means the operating systems offer, `File::lock` included, as locks are advisory on Unix. We accept it as
    // ripgrep, lld and the other users of memory maps do, and the documentation of `FileBytes::open` asks for it. To
    // limit what a changing byte can do, parsers here copy each field out of the map once and check the copy, and no
    // `unsafe` code anywhere relies on the bytes staying the same: a changed byte gives a wrong answer or an error.
    unsafe { memmap2::Mmap::map(file) }.ok()
}

#[cfg(test)]
mod tests {
    use super::FileBytes;

    #[test]
    fn empty_and_ordinary_files_read_the_same_either_way() {
        let dir = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"MZ", &[7; 70_000]] {
            let path = dir.path().join("file");
            std::fs::write(&path, content).unwrap();
            assert_eq!(&*FileBytes::open(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = FileBytes::open("no/such/file".as_ref()).unwrap_err();
        assert!(error.to_string().contains("no/such/file"), "{error}");
    }
}
