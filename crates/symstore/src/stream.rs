//! Streams of unpacked bytes, and how much may be unpacked.
//!
//! A few packed bytes can claim to be any amount of data. Every unpacked byte, including those that are only skipped to
//! reach a later file, counts against a [`Budget`] that grows with the packed size.

use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest single file that is unpacked: 1 GiB. Kernel images are far smaller.
pub(crate) const LARGEST_UNPACKED: u64 = 1 << 30;

/// The most of a packed image that is unpacked to read its identity. Headers and debug directory lie before this in
/// every kernel image.
const LARGEST_PREFIX: u64 = 64 << 20;

/// A source that can be read from any place.
pub(crate) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// How many bytes may still be unpacked.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// What reading the identities of the files in an archive of `packed` bytes may cost: 64 MiB, and 32 bytes for each
    /// packed one. Driver packages unpack to between two and five times their size.
    pub(crate) fn for_identities(packed: u64) -> Self {
        Self::new((64 << 20) + packed.saturating_mul(32))
    }

    pub(crate) fn new(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes) }
    }

    pub(crate) fn grow(&self, bytes: u64) {
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_add(bytes)));
    }

    pub(crate) fn spend(&self, bytes: u64) -> io::Result<()> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        match spent {
            Ok(_) => Ok(()),
            Err(_) => {
                self.left.store(0, Ordering::Relaxed);
                Err(invalid("unpacks to too many bytes for its packed size"))
            }
        }
    }
}

/// A stream whose bytes count against a budget.
pub(crate) struct Metered<'b, R> {
    source: R,
    budget: &'b Budget,
}

impl<'b, R: Read> Metered<'b, R> {
    pub(crate) fn new(source: R, budget: &'b Budget) -> Self {
        Self { source, budget }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let size = self.source.read(out)?;
        self.budget.spend(size as u64)?;
        Ok(size)
    }
}

/// Reads a whole stream of at most `limit` bytes; a longer one is an error.
pub(crate) fn read_limited(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("unpacks to more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Fills as much of `out` as the source has bytes, and says how much that is.
pub(crate) fn read_up_to(source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < out.len() {
        match source.read(&mut out[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// The first bytes of a buffered stream, at most eight, without consuming them.
pub(crate) fn magic(source: &mut impl BufRead) -> Vec<u8> {
    source.fill_buf().map(|bytes| bytes[..bytes.len().min(8)].to_owned()).unwrap_or_default()
}

pub(crate) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// Makes a stream seekable by keeping what was read of it, so a caller that reads little costs little.
pub(crate) struct Prefix<R> {
    source: R,
    have: Vec<u8>,
    at: u64,
}

impl<R: Read> Prefix<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, have: Vec::new(), at: 0 }
    }
}

impl<R: Read> Read for Prefix<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.at.saturating_add(out.len() as u64);
        if end > LARGEST_PREFIX {
            return Err(invalid(format!("its headers refer to more than its first {LARGEST_PREFIX} bytes")));
        }
        if end > self.have.len() as u64 {
            let more = end - self.have.len() as u64;
            self.source.by_ref().take(more).read_to_end(&mut self.have)?;
        }
        let rest = self.have.get(self.at as usize..).unwrap_or_default();
        let size = rest.len().min(out.len());
        out[..size].copy_from_slice(&rest[..size]);
        self.at += size as u64;
        Ok(size)
    }
}

impl<R> Seek for Prefix<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.at =
            target.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "the length of a stream is not known"))?;
        Ok(self.at)
    }
}
