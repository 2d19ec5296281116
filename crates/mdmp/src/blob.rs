//! Pieces of a file under construction: bytes, and pointers to other pieces whose offsets are not known yet.

use std::borrow::Cow;

/// Names a blob of one [`Layout`](crate::Layout), also before its content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlobId(pub(crate) usize);

/// A piece of the file under construction: little-endian bytes and pointers to other pieces.
#[derive(Clone, Debug)]
pub struct Blob {
    pub(crate) name: Cow<'static, str>,
    pub(crate) align: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) pointers: Vec<Pointer>,
}

impl Blob {
    /// An empty blob. The name is what errors and [`Plan::map`](crate::Plan::map) call it.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Blob {
        Blob { name: name.into(), align: 4, bytes: Vec::new(), pointers: Vec::new() }
    }

    /// Sets the alignment of the blob's file offset; 4 unless told. 0 counts as 1.
    pub fn align(mut self, align: u64) -> Blob {
        self.align = align.max(1);
        self
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Blob {
        self.bytes(&[value])
    }

    /// Appends 2 bytes.
    pub fn u16(&mut self, value: u16) -> &mut Blob {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 4 bytes.
    pub fn u32(&mut self, value: u32) -> &mut Blob {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends 8 bytes.
    pub fn u64(&mut self, value: u64) -> &mut Blob {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Blob {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends `count` zeros.
    pub fn zeros(&mut self, count: usize) -> &mut Blob {
        self.fill(0, count)
    }

    /// Appends `count` times `value`.
    pub fn fill(&mut self, value: u8, count: usize) -> &mut Blob {
        self.bytes.resize(self.bytes.len() + count, value);
        self
    }

    /// Appends UTF-16 text without length or terminator.
    pub fn utf16(&mut self, text: &str) -> &mut Blob {
        for unit in text.encode_utf16() {
            self.u16(unit);
        }
        self
    }

    /// Overwrites bytes that were appended before, for structures known by offset.
    ///
    /// # Panics
    /// When they would run past the end of the blob.
    pub fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Blob {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Appends the file offset of `to`: 4 bytes, and an error at plan time when it needs more.
    pub fn rva32(&mut self, to: BlobId) -> &mut Blob {
        self.pointer(Field::Offset32, to.into(), 0)
    }

    /// Appends the file offset of the byte at `plus` in `to`, as 4 bytes.
    pub fn rva32_plus(&mut self, to: BlobId, plus: u64) -> &mut Blob {
        self.pointer(Field::Offset32, to.into(), plus)
    }

    /// Appends the file offset of the byte at `plus` in `to` as 4 bytes, or 0 when it needs more: for fields that
    /// readers treat as a hint, such as a thread's stack in a full dump.
    pub fn rva32_or_zero(&mut self, to: BlobId, plus: u64) -> &mut Blob {
        self.pointer(Field::Offset32OrZero, to.into(), plus)
    }

    /// Appends the file offset of `to` as 8 bytes.
    pub fn rva64(&mut self, to: BlobId) -> &mut Blob {
        self.pointer(Field::Offset64, to.into(), 0)
    }

    /// Appends the size of `to` in bytes as 4 bytes.
    pub fn size32(&mut self, to: BlobId) -> &mut Blob {
        self.pointer(Field::Size32, to.into(), 0)
    }

    /// Appends the size of `to` in bytes as 8 bytes.
    pub fn size64(&mut self, to: BlobId) -> &mut Blob {
        self.pointer(Field::Size64, to.into(), 0)
    }

    /// Appends a `MINIDUMP_LOCATION_DESCRIPTOR` {u32 size, u32 offset} of `to`.
    pub fn location32(&mut self, to: BlobId) -> &mut Blob {
        self.size32(to).rva32(to)
    }

    /// Appends the size of the whole file as 8 bytes.
    pub fn file_size64(&mut self) -> &mut Blob {
        self.pointer(Field::Offset64, Target::End, 0)
    }

    /// Puts the file offset of `to` as 4 bytes over bytes that were appended before, at `at`.
    ///
    /// # Panics
    /// When the field would run past the end of the blob.
    pub fn put_rva32(&mut self, at: usize, to: BlobId) -> &mut Blob {
        assert!(at + 4 <= self.bytes.len(), "{}: no field of 4 bytes at {at:#x}", self.name);
        self.pointers.push(Pointer { at, field: Field::Offset32, to: to.into(), plus: 0 });
        self
    }

    /// Puts the size of the whole file as 8 bytes over bytes that were appended before, at `at`.
    ///
    /// # Panics
    /// When the field would run past the end of the blob.
    pub fn put_file_size64(&mut self, at: usize) -> &mut Blob {
        assert!(at + 8 <= self.bytes.len(), "{}: no field of 8 bytes at {at:#x}", self.name);
        self.pointers.push(Pointer { at, field: Field::Offset64, to: Target::End, plus: 0 });
        self
    }

    /// The bytes of a blob that has no pointers: a structure inside another.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        debug_assert!(self.pointers.is_empty(), "{}: pointers would be lost", self.name);
        self.bytes
    }

    fn pointer(&mut self, field: Field, to: Target, plus: u64) -> &mut Blob {
        let at = self.bytes.len();
        self.pointers.push(Pointer { at, field, to, plus });
        self.zeros(field.width())
    }
}

/// A field that waits for the layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pointer {
    pub(crate) at: usize,
    pub(crate) field: Field,
    pub(crate) to: Target,
    pub(crate) plus: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Blob(BlobId),
    End,
}

impl From<BlobId> for Target {
    fn from(id: BlobId) -> Target {
        Target::Blob(id)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Offset32,
    Offset32OrZero,
    Offset64,
    Size32,
    Size64,
}

impl Field {
    pub(crate) fn width(self) -> usize {
        match self {
            Field::Offset32 | Field::Offset32OrZero | Field::Size32 => 4,
            Field::Offset64 | Field::Size64 => 8,
        }
    }
}
