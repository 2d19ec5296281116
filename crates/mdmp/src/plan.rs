//! Freeze and lay out: from blobs that point to each other to a file whose every offset is known.
//!
//! A [`Layout`] collects blobs in file order. A pointer names the blob it points to; nobody computes an offset by hand.
//! [`Layout::plan`] walks the blobs once, gives each its aligned offset, then fills the pointers. What does not fit its
//! field is an error here, before a byte is written. The [`Plan`] is then written forward, without seeking.
//!
//! ```text
//!   Layout                         Plan
//!   header ──── rva ───┐           0x00 header     pointers filled
//!   directory ─ rva ─┐ │    plan   0x20 directory
//!   stream ◄─────────┼─┘   ─────►  0x38 stream
//!   memory ◄─────────┘             0x40 memory     bytes pulled while writing
//! ```

use std::borrow::Cow;
use std::io::Write;

use crate::blob::{Blob, BlobId, Field, Pointer, Target};
use crate::emit;
use crate::{Error, Memory, MemoryRange, Protection};

/// Blobs and memory in file order, not yet at offsets.
#[derive(Debug, Default)]
pub struct Layout<'a> {
    /// In file order; `None` is a place kept free for a blob to come.
    pieces: Vec<Option<Piece<'a>>>,
    /// By id: the index in `pieces`, once the blob has its place in the order.
    order: Vec<Option<usize>>,
}

impl<'a> Layout<'a> {
    /// An empty file.
    pub fn new() -> Layout<'a> {
        Layout::default()
    }

    /// A name for a blob that will come later in the file.
    pub fn declare(&mut self) -> BlobId {
        self.order.push(None);
        BlobId(self.order.len() - 1)
    }

    /// A name for a blob that lies here in the file and whose content will be given later, by [`Layout::place`].
    pub fn reserve(&mut self) -> BlobId {
        self.order.push(Some(self.pieces.len()));
        self.pieces.push(None);
        BlobId(self.order.len() - 1)
    }

    /// Appends a blob to the file.
    pub fn push(&mut self, blob: Blob) -> BlobId {
        let id = self.reserve();
        self.place(id, blob);
        id
    }

    /// Gives the content of `id`: where it was reserved, or else at the end of the file so far. The last one counts.
    pub fn place(&mut self, id: BlobId, blob: Blob) {
        let Blob { name, align, bytes, pointers } = blob;
        let size = bytes.len() as u64;
        self.put(id, Piece { offset: 0, size, align, content: Content::Bytes { name, bytes, pointers } });
    }

    /// Appends memory to the file, its offset a multiple of `align` (0 counts as 1).
    pub fn push_memory(&mut self, range: MemoryRange<'a>, align: u64) -> BlobId {
        let id = self.reserve();
        self.place_memory(id, range, align);
        id
    }

    /// As [`Layout::place`], with memory.
    pub fn place_memory(&mut self, id: BlobId, range: MemoryRange<'a>, align: u64) {
        let size = range.size;
        self.put(id, Piece { offset: 0, size, align: align.max(1), content: Content::Memory(range) });
    }

    /// Appends `size` bytes that are no memory of the dump, pulled from `source` while writing: the content of a stream.
    /// The name is what errors and [`Plan::map`] call it.
    pub fn push_source(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        size: u64,
        source: impl Memory + 'a,
        align: u64,
    ) -> BlobId {
        let id = self.reserve();
        let range = MemoryRange::new(0, size, Protection(0), source);
        let content = Content::Source { name: name.into(), range };
        self.put(id, Piece { offset: 0, size, align: align.max(1), content });
        id
    }

    fn put(&mut self, id: BlobId, piece: Piece<'a>) {
        let end = self.pieces.len();
        let index = *self.order[id.0].get_or_insert(end);
        if index == end {
            self.pieces.push(None);
        }
        self.pieces[index] = Some(piece);
    }

    /// Gives every piece its offset and fills every pointer.
    ///
    /// # Errors
    /// [`Error::TooBig`] when the file or an offset in it outgrows its field, [`Error::Dangling`] for a pointer to an id
    /// that was never placed.
    pub fn plan(self) -> Result<Plan<'a>, Error> {
        // The walk that decides every offset is this loop and no other.
        let mut pieces = self.pieces;
        let mut end = 0u64;
        for piece in pieces.iter_mut().flatten() {
            let next = end
                .checked_next_multiple_of(piece.align)
                .and_then(|start| start.checked_add(piece.size).map(|next| (start, next)));
            let Some((start, next)) = next else {
                let (structure, limit) = (piece.content.name().into_owned(), u64::MAX);
                return Err(Error::TooBig { structure, offset: end, found: u64::MAX, limit });
            };
            piece.offset = start;
            end = next;
        }
        let place = |index: &Option<usize>| {
            let piece = pieces[(*index)?].as_ref()?;
            Some((piece.offset, piece.size))
        };
        let places: Vec<Option<(u64, u64)>> = self.order.iter().map(place).collect();
        let mut pieces: Vec<Piece<'a>> = pieces.into_iter().flatten().collect();
        for piece in &mut pieces {
            let offset = piece.offset;
            let Content::Bytes { name, bytes, pointers } = &mut piece.content else { continue };
            for pointer in pointers.drain(..) {
                let (target, size) = match pointer.to {
                    Target::End => (end, 0),
                    Target::Blob(id) => places
                        .get(id.0)
                        .copied()
                        .flatten()
                        .ok_or_else(|| Error::Dangling { structure: name.to_string(), field: pointer.at as u64 })?,
                };
                let value = match pointer.field {
                    Field::Size32 | Field::Size64 => size,
                    _ => target.saturating_add(pointer.plus),
                };
                let field = &mut bytes[pointer.at..pointer.at + pointer.field.width()];
                match (pointer.field, u32::try_from(value)) {
                    (Field::Offset64 | Field::Size64, _) => field.copy_from_slice(&value.to_le_bytes()),
                    (_, Ok(value)) => field.copy_from_slice(&value.to_le_bytes()),
                    (Field::Offset32OrZero, Err(_)) => {}
                    (_, Err(_)) => {
                        let what = if matches!(pointer.field, Field::Size32) { "size" } else { "file offset" };
                        return Err(Error::TooBig {
                            structure: format!("{name}: 32-bit {what} at +{:#x}", pointer.at),
                            offset,
                            found: value,
                            limit: u32::MAX.into(),
                        });
                    }
                }
            }
        }
        Ok(Plan { pieces, len: end })
    }
}

/// A piece of the file at its offset.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    align: u64,
    pub(crate) content: Content<'a>,
}

#[derive(Debug)]
pub(crate) enum Content<'a> {
    Bytes {
        name: Cow<'static, str>,
        bytes: Vec<u8>,
        pointers: Vec<Pointer>,
    },
    Memory(MemoryRange<'a>),
    /// As memory; the range begins at 0, so that its addresses are offsets.
    Source {
        name: Cow<'static, str>,
        range: MemoryRange<'a>,
    },
}

impl Content<'_> {
    pub(crate) fn name(&self) -> Cow<'_, str> {
        match self {
            Content::Bytes { name, .. } | Content::Source { name, .. } => Cow::Borrowed(name),
            Content::Memory(range) => Cow::Owned(format!("memory at {:#x}", range.address)),
        }
    }
}

/// A part of the planned file, for [`Plan::map`].
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pieces: Vec<Piece<'a>>,
    len: u64,
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
    /// [`Error::Source`] names the address at which a source failed, [`Error::Write`] the offset at which the output
    /// did. What was written before stays written: write under a temporary name.
    pub fn write_to<W: Write + ?Sized>(&self, out: &mut W) -> Result<u64, Error> {
        self.write_with(out, &mut |_| ())
    }

    /// As [`Plan::write_to`]; `progress` hears the bytes written so far, at least every 4 MiB.
    ///
    /// # Errors
    /// As [`Plan::write_to`].
    pub fn write_with<W: Write + ?Sized>(&self, out: &mut W, progress: &mut dyn FnMut(u64)) -> Result<u64, Error> {
        emit::emit(&self.pieces, out, progress)
    }

    /// The file as bytes, for small dumps and tests.
    ///
    /// # Errors
    /// [`Error::Source`] when a source fails.
    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.write_to(&mut out)?;
        Ok(out)
    }
}
