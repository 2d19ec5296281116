//! A file that has been laid out and can be written.

use std::io::Write;

use crate::Error;
use crate::emit::emit;
use crate::piece::Piece;

/// A part of the planned file, for [`Plan::map`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// File offset.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// The structure, or `padding`.
    pub name: String,
}

/// A file whose every offset is known and whose memory has not been read yet.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(crate) pieces: Vec<Piece<'a>>,
    pub(crate) len: u64,
}

impl<'a> Plan<'a> {
    /// Bytes of the file.
    #[expect(clippy::len_without_is_empty, reason = "a planned file has at least a header")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// What lies where: every byte of the file once, in order, padding included.
    pub fn map(&self) -> impl Iterator<Item = Extent> + '_ {
        let mut end = 0;
        self.pieces.iter().flat_map(move |piece| {
            let gap = piece.offset - end;
            let padding = (gap > 0).then(|| Extent { offset: end, size: gap, name: "padding".into() });
            end = piece.offset + piece.size;
            let name = piece.content.name().into_owned();
            padding.into_iter().chain([Extent { offset: piece.offset, size: piece.size, name }])
        })
    }

    /// Writes the file, forward and without seeking, and flushes the output. Returns the bytes written, which are
    /// [`Plan::len`]. Peak memory is the plan and one buffer of 256 KiB, whatever the size of the memory.
    ///
    /// # Errors
    /// [`ErrorKind::Source`](crate::ErrorKind::Source) names the address at which a source failed, [`ErrorKind::Write`](crate::ErrorKind::Write) the offset at which the output
    /// did. What was written before stays written: write under a temporary name.
    pub fn write_to<W: Write + ?Sized>(&self, out: &mut W) -> Result<u64, Error> {
        self.write_with(out, &mut |_| ())
    }

    /// As [`Plan::write_to`]; `progress` hears the bytes written so far, at least every 4 MiB.
    ///
    /// # Errors
    /// As [`Plan::write_to`].
    pub fn write_with<W: Write + ?Sized>(&self, out: &mut W, progress: &mut dyn FnMut(u64)) -> Result<u64, Error> {
        emit(&self.pieces, out, progress)
    }

    /// The file as bytes, for small dumps and tests.
    ///
    /// # Errors
    /// [`ErrorKind::Source`](crate::ErrorKind::Source) when a source fails.
    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.write_to(&mut out)?;
        Ok(out)
    }
}
