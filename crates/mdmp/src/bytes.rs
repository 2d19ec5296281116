//! Reading untrusted bytes: the only place of this crate where a number from a file is used as an offset or a size.

use crate::Error;

/// A whole file, read at absolute offsets. Every method checks its arithmetic and its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    data: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Bytes { data }
    }

    /// Bytes of the file.
    pub(crate) fn len(self) -> u64 {
        self.data.len() as u64
    }

    /// `size` bytes at `offset`, or an error that names `structure`.
    pub(crate) fn slice(self, offset: u64, size: u64, structure: &str) -> Result<&'a [u8], Error> {
        self.get(offset, size).ok_or_else(|| {
            let found = format!("{size:#x} bytes");
            let allowed = format!("{:#x} bytes to the end of the file", self.len().saturating_sub(offset));
            Error::malformed(offset, structure, found, allowed)
        })
    }

    /// `size` bytes at `offset`, if the file has them.
    pub(crate) fn get(self, offset: u64, size: u64) -> Option<&'a [u8]> {
        let end = offset.checked_add(size)?;
        self.data.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
    }

    /// The array at `offset`.
    pub(crate) fn array<const N: usize>(self, offset: u64, structure: &str) -> Result<[u8; N], Error> {
        let bytes = self.slice(offset, N as u64, structure)?;
        Ok(bytes.try_into().expect("slice returns exactly the bytes asked for"))
    }

    pub(crate) fn u16(self, offset: u64, structure: &str) -> Result<u16, Error> {
        Ok(u16::from_le_bytes(self.array(offset, structure)?))
    }

    pub(crate) fn u32(self, offset: u64, structure: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(offset, structure)?))
    }

    pub(crate) fn u64(self, offset: u64, structure: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(offset, structure)?))
    }

    /// A table of `count` entries of `stride` bytes at `offset`: the offset of each entry, all inside the file. The
    /// count is checked against the bytes that are there, so that a wild count costs nothing.
    pub(crate) fn table(
        self,
        offset: u64,
        count: u64,
        stride: u64,
        structure: &str,
    ) -> Result<impl ExactSizeIterator<Item = u64> + use<>, Error> {
        let size = count.checked_mul(stride);
        if size.and_then(|size| self.get(offset, size)).is_none() {
            let room = self.len().saturating_sub(offset) / stride.max(1);
            let found = format!("{count} entries of {stride:#x} bytes");
            return Err(Error::malformed(offset, structure, found, format!("at most {room} in this file")));
        }
        let count = usize::try_from(count).expect("a table inside a slice has a count that fits");
        Ok((0..count).map(move |index| offset + index as u64 * stride))
    }
}
