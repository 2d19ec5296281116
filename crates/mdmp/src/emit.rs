//! Writes the pieces of a plan: forward, through one buffer, without seeking.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::piece::{Content, Piece};
use crate::{Error, MemoryRange};

/// Small pieces and copied memory gather in a buffer of this many bytes.
const BUFFER: usize = 256 << 10;

/// Memory that a source lends is written directly from this many bytes on, and at most [`BORROW_CHUNK`] at a time, so that the
/// caller hears of progress.
const DIRECT: u64 = 16 << 10;
const BORROW_CHUNK: u64 = 4 << 20;

pub(crate) fn emit<W: Write + ?Sized>(
    pieces: &[Piece<'_>],
    out: &mut W,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let mut output = Output { out, pieces, buffer: Vec::with_capacity(BUFFER), written: 0, progress };
    for piece in pieces {
        output.pad_to(piece.offset)?;
        match &piece.content {
            Content::Bytes { bytes, .. } => output.bytes(bytes)?,
            Content::Memory(range) | Content::Source { range, .. } => output.memory(range, piece)?,
        }
    }
    output.drain()?;
    output.out.flush().map_err(|source| output.failed(source))?;
    Ok(output.written)
}

struct Output<'o, 'p, W: ?Sized> {
    out: &'o mut W,
    /// Ascending by offset.
    pieces: &'o [Piece<'p>],
    buffer: Vec<u8>,
    /// Bytes that `out` has taken; those in the buffer are not among them.
    written: u64,
    progress: &'o mut dyn FnMut(u64),
}

impl<W: Write + ?Sized> Output<'_, '_, W> {
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The output failed at the byte after those that it has taken.
    fn failed(&self, source: io::Error) -> Error {
        let after = self.pieces.partition_point(|piece| piece.offset <= self.written);
        let piece = self.pieces[..after].last();
        let structure = piece.map_or(Cow::Borrowed("the file"), |piece| piece.content.name());
        Error::write(self.written, structure, source)
    }

    fn drain(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.put(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
        result
    }

    fn direct(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.drain()?;
        self.put(bytes)
    }

    /// As `write_all`, but counts what was taken before a failure.
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => {
                    return Err(self.failed(io::Error::new(io::ErrorKind::WriteZero, "failed to write whole buffer")));
                }
                Ok(count) => {
                    let count = count.min(bytes.len());
                    bytes = &bytes[count..];
                    self.written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        (self.progress)(self.written);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.drain()?;
        }
        if bytes.len() > BUFFER {
            return self.direct(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Zeros up to a piece. The gap is smaller than the piece's alignment, which may be large.
    fn pad_to(&mut self, offset: u64) -> Result<(), Error> {
        while self.position() < offset {
            if self.buffer.len() == BUFFER {
                self.drain()?;
            }
            let room = (BUFFER - self.buffer.len()) as u64;
            let zeros = room.min(offset - self.position()) as usize;
            self.buffer.resize(self.buffer.len() + zeros, 0);
        }
        Ok(())
    }

    fn memory(&mut self, range: &MemoryRange<'_>, piece: &Piece<'_>) -> Result<(), Error> {
        let mut done = 0;
        while done < range.size {
            let rest = range.size - done;
            if rest >= DIRECT
                && let lent = rest.min(BORROW_CHUNK)
                && let Some(bytes) = range.source.borrow_at(done, lent as usize)
                && bytes.len() as u64 == lent
            {
                self.direct(bytes)?;
                done += lent;
                continue;
            }
            if self.buffer.len() == BUFFER {
                self.drain()?;
            }
            let start = self.buffer.len();
            let count = rest.min((BUFFER - start) as u64) as usize;
            self.buffer.resize(start + count, 0);
            if let Err(source) = range.source.read_at(done, &mut self.buffer[start..]) {
                self.buffer.truncate(start);
                let address = range.address.wrapping_add(done);
                let (offset, structure) = (piece.offset + done, piece.content.name().into_owned());
                return Err(Error::source(structure, range.size, address, offset, source));
            }
            done += count as u64;
        }
        Ok(())
    }
}
