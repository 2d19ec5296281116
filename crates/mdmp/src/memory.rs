//! Memory that goes into a dump: address ranges whose bytes are pulled while the dump is being written.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Error;

/// The source of a [`MemoryRange`]'s bytes, which are pulled when they are written and never collected.
///
/// Offsets count from the start of the range. The writer asks for each byte once, in rising order.
pub trait Memory: Send + Sync {
    /// Fills `out` with the bytes at `offset`.
    ///
    /// # Errors
    /// Whatever kept the bytes from being read. The writer adds the address.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Exactly `len` bytes at `offset`, if the source holds them in one piece: saves the copy. `None` is always right.
    fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let _ = (offset, len);
        None
    }
}

impl Memory for [u8] {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.borrow_at(offset, out.len()).ok_or_else(|| {
            let text = format!("{:#x} bytes asked for at +{offset:#x}, the source has {:#x}", out.len(), self.len());
            io::Error::new(io::ErrorKind::UnexpectedEof, text)
        })?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..start.checked_add(len)?)
    }
}

impl Memory for Vec<u8> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, out)
    }

    fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        self.as_slice().borrow_at(offset, len)
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, out)
    }

    fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        (**self).borrow_at(offset, len)
    }
}

impl<M: Memory + ?Sized> Memory for Arc<M> {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, out)
    }

    fn borrow_at(&self, offset: u64, len: usize) -> Option<&[u8]> {
        (**self).borrow_at(offset, len)
    }
}

/// Memory of one repeated byte and any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill(pub u8);

impl Memory for Fill {
    fn read_at(&self, _offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(self.0);
        Ok(())
    }
}

/// A range of virtual addresses that does not wrap around: its last address is at most `u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AddressRange {
    start: u64,
    size: u64,
}

impl AddressRange {
    /// `size` bytes from `start`; `None` when the range would run past the last address.
    pub fn new(start: u64, size: u64) -> Option<AddressRange> {
        match size.checked_sub(1) {
            None => Some(AddressRange { start, size }),
            Some(rest) => start.checked_add(rest).map(|_| AddressRange { start, size }),
        }
    }

    /// First address.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Bytes.
    pub fn size(self) -> u64 {
        self.size
    }

    /// Last address inside; `None` when the range is empty.
    pub fn last(self) -> Option<u64> {
        self.size.checked_sub(1).map(|rest| self.start + rest)
    }

    /// True when `other` lies wholly inside. An empty range lies nowhere.
    pub fn contains(self, other: AddressRange) -> bool {
        match (self.last(), other.last()) {
            (Some(mine), Some(theirs)) => self.start <= other.start && theirs <= mine,
            _ => false,
        }
    }

    /// True when the two share an address.
    pub fn overlaps(self, other: AddressRange) -> bool {
        match (self.last(), other.last()) {
            (Some(mine), Some(theirs)) => self.start <= theirs && other.start <= mine,
            _ => false,
        }
    }
}

/// Page protection, `PAGE_*` of winnt.h. Values without a name are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Protection(pub u32);

impl Protection {
    /// `PAGE_NOACCESS`.
    pub const NO_ACCESS: Protection = Protection(0x01);
    /// `PAGE_READONLY`.
    pub const READ_ONLY: Protection = Protection(0x02);
    /// `PAGE_READWRITE`.
    pub const READ_WRITE: Protection = Protection(0x04);
    /// `PAGE_WRITECOPY`.
    pub const WRITE_COPY: Protection = Protection(0x08);
    /// `PAGE_EXECUTE`.
    pub const EXECUTE: Protection = Protection(0x10);
    /// `PAGE_EXECUTE_READ`.
    pub const EXECUTE_READ: Protection = Protection(0x20);
    /// `PAGE_EXECUTE_READWRITE`.
    pub const EXECUTE_READ_WRITE: Protection = Protection(0x40);
    /// `PAGE_EXECUTE_WRITECOPY`.
    pub const EXECUTE_WRITE_COPY: Protection = Protection(0x80);

    /// True when code in such a page may run.
    pub fn is_executable(self) -> bool {
        self.0 & 0xf0 != 0
    }

    /// True when such a page may be written, copy on write included.
    pub fn is_writable(self) -> bool {
        self.0 & 0xcc != 0
    }

    /// True when such a page may be read.
    pub fn is_readable(self) -> bool {
        self.0 & 0xee != 0
    }
}

impl fmt::Display for Protection {
    /// The name in winnt.h, or the number when it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Protection::NO_ACCESS => "PAGE_NOACCESS",
            Protection::READ_ONLY => "PAGE_READONLY",
            Protection::READ_WRITE => "PAGE_READWRITE",
            Protection::WRITE_COPY => "PAGE_WRITECOPY",
            Protection::EXECUTE => "PAGE_EXECUTE",
            Protection::EXECUTE_READ => "PAGE_EXECUTE_READ",
            Protection::EXECUTE_READ_WRITE => "PAGE_EXECUTE_READWRITE",
            Protection::EXECUTE_WRITE_COPY => "PAGE_EXECUTE_WRITECOPY",
            Protection(other) => return write!(f, "protection {other:#x}"),
        })
    }
}

/// Bytes of memory at an address, and where they come from.
///
/// x86 addresses are sign-extended to 64 bit (0x81234000 is 0xFFFFFFFF81234000): dbgeng looks them up in that form
/// (measured).
#[derive(Clone)]
#[non_exhaustive]
pub struct MemoryRange<'a> {
    /// First address.
    pub address: u64,
    /// Bytes; not 0.
    pub size: u64,
    /// Protection of the pages; goes into the memory information stream and into ELF program headers.
    pub protection: Protection,
    /// The bytes; has `size` of them.
    pub source: Arc<dyn Memory + 'a>,
}

impl<'a> MemoryRange<'a> {
    /// `size` bytes at `address`, pulled from `source` when they are written.
    pub fn new(address: u64, size: u64, protection: Protection, source: impl Memory + 'a) -> Self {
        MemoryRange { address, size, protection, source: Arc::new(source) }
    }

    /// Bytes that are in memory already. They are borrowed, not copied.
    pub fn from_slice(address: u64, protection: Protection, bytes: &'a [u8]) -> Self {
        MemoryRange::new(address, bytes.len() as u64, protection, bytes)
    }

    /// Bytes that the range shall own.
    pub fn from_vec(address: u64, protection: Protection, bytes: Vec<u8>) -> Self {
        MemoryRange::new(address, bytes.len() as u64, protection, bytes)
    }

    /// The addresses; `None` when they run past the last one.
    pub fn range(&self) -> Option<AddressRange> {
        AddressRange::new(self.address, self.size)
    }
}

impl fmt::Debug for MemoryRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryRange({:#x}+{:#x}, {:?})", self.address, self.size, self.protection)
    }
}

/// The addresses of ranges that are sorted by address.
///
/// # Errors
/// An empty range, one that runs past the last address, or two that share addresses.
pub(crate) fn check_disjoint(sorted: &[&MemoryRange<'_>]) -> Result<Vec<AddressRange>, Error> {
    let mut checked: Vec<AddressRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        let Some(addresses) = range.range().filter(|range| range.size() > 0) else {
            let structure = format!("memory range at {:#x}: size", range.address);
            let allowed = "1 to the end of the address space";
            return Err(Error::rule(structure, format!("{:#x}", range.size), allowed, "rust-minidump"));
        };
        if let Some(before) = checked.last().filter(|before| before.overlaps(addresses)) {
            return Err(Error::overlap((before.start(), before.size()), (addresses.start(), addresses.size())));
        }
        checked.push(addresses);
    }
    Ok(checked)
}
