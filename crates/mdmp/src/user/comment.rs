//! CommentA and CommentW (streams 10 and 11): text that dbgeng prints when it opens the dump (measured).

use super::streams::{self, Stream, StreamType};
use crate::{BlobId, Error, Layout};

/// A comment, in one of the two encodings. A dump may hold one of each.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comment {
    /// CommentA: bytes and a NUL. Readers take them for the system's code page; ASCII is safe.
    Narrow(String),
    /// CommentW: UTF-16 and a NUL.
    Wide(String),
}

impl<'a> Stream<'a> for Comment {
    fn stream_type(&self) -> StreamType {
        match self {
            Comment::Narrow(_) => StreamType::COMMENT_A,
            Comment::Wide(_) => StreamType::COMMENT_W,
        }
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let (Comment::Narrow(text) | Comment::Wide(text)) = self;
        if text.contains('\0') {
            return Err(Error::rule("Comment", format!("{text:?}"), "text without NUL", "all readers"));
        }
        let mut blob = streams::blob(self.stream_type());
        match self {
            Comment::Narrow(text) => blob.bytes(text.as_bytes()).u8(0),
            Comment::Wide(text) => blob.utf16(text).u16(0),
        };
        Ok(layout.push(blob))
    }
}
