//! Writes the pieces of a plan: forward, through one buffer, without seeking.

use std::io::Write;

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
    let mut output = Output { out, buffer: Vec::with_capacity(BUFFER), written: 0, progress };
    for piece in pieces {
        output.pad_to(piece)?;
        match &piece.content {
            Content::Bytes { bytes, .. } => output.bytes(bytes, piece)?,
            Content::Memory(range) | Content::Source { range, .. } => output.memory(range, piece)?,
        }
    }
    if let Some(last) = pieces.last() {
        output.drain(last)?;
        output.out.flush().map_err(|source| output.failed(source, last))?;
    }
    Ok(output.written)
}

struct Output<'o, W: ?Sized> {
    out: &'o mut W,
    buffer: Vec<u8>,
    /// Bytes handed to `out`; those in the buffer are not among them.
    written: u64,
    progress: &'o mut dyn FnMut(u64),
}

impl<W: Write + ?Sized> Output<'_, W> {
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn failed(&self, source: std::io::Error, piece: &Piece<'_>) -> Error {
        Error::write(self.written, piece.content.name(), source)
    }

    fn drain(&mut self, piece: &Piece<'_>) -> Result<(), Error> {
        self.out.write_all(&self.buffer).map_err(|source| self.failed(source, piece))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        (self.progress)(self.written);
        Ok(())
    }

    fn direct(&mut self, bytes: &[u8], piece: &Piece<'_>) -> Result<(), Error> {
        self.drain(piece)?;
        self.out.write_all(bytes).map_err(|source| self.failed(source, piece))?;
        self.written += bytes.len() as u64;
        (self.progress)(self.written);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8], piece: &Piece<'_>) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.drain(piece)?;
        }
        if bytes.len() > BUFFER {
            return self.direct(bytes, piece);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Zeros up to the piece. The gap is smaller than the piece's alignment, which may be large.
    fn pad_to(&mut self, piece: &Piece<'_>) -> Result<(), Error> {
        while self.position() < piece.offset {
            if self.buffer.len() == BUFFER {
                self.drain(piece)?;
            }
            let room = (BUFFER - self.buffer.len()) as u64;
            let zeros = room.min(piece.offset - self.position()) as usize;
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
                self.direct(bytes, piece)?;
                done += lent;
                continue;
            }
            if self.buffer.len() == BUFFER {
                self.drain(piece)?;
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
