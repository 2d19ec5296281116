//! From blobs that point to each other to a file in which every offset is known.
//!
//! A [`Layout`] collects blobs in file order. Pointers refer to blobs by id, so no offset is ever computed by hand.
//! [`Layout::plan`] walks the blobs once, gives each its aligned offset, and then fills in the pointers. A value that
//! does not fit its field is an error at this point, before the first byte is written. The [`Plan`] is then written
//! from front to back without seeking.
//!
//! ```text
//!   Layout                         Plan
//!   header ──── rva ───┐           0x00 header     pointers filled in
//!   directory ─ rva ─┐ │    plan   0x20 directory
//!   stream ◄─────────┼─┘   ─────►  0x38 stream
//!   memory ◄─────────┘             0x40 memory     bytes pulled while writing
//! ```

use std::borrow::Cow;

use crate::blob::{Blob, BlobId, Field, Target};
use crate::piece::{Content, Piece};
use crate::{Error, Memory, MemoryRange, Plan, Protection};

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

    /// Appends `size` bytes that are not memory of the dump, pulled from `source` while writing: the content of a stream.
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
    /// [`ErrorKind::TooBig`](crate::ErrorKind::TooBig) when the file or an offset in it outgrows its field, [`ErrorKind::Dangling`](crate::ErrorKind::Dangling) for a pointer
    /// to an id that was never placed.
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
                return Err(Error::too_big(structure, end, u64::MAX, limit));
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
                        .ok_or_else(|| Error::dangling(name.as_ref(), pointer.at as u64))?,
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
                        return Err(Error::too_big(
                            format!("{name}: 32-bit {what} at +{:#x}", pointer.at),
                            offset,
                            value,
                            u32::MAX.into(),
                        ));
                    }
                }
            }
        }
        Ok(Plan { pieces, len: end })
    }
}
