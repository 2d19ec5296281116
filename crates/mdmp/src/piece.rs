//! The pieces of a file: what a layout places and what the output writes.

use std::borrow::Cow;

use crate::MemoryRange;
use crate::blob::Pointer;

/// A piece of the file at its offset.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
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
