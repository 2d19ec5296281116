//! `MINIDUMP_STRING`: u32 length in bytes without the terminator, UTF-16LE, and a 16-bit NUL.

use crate::{Blob, BlobId, Error, Layout};

/// Appends a string to the file.
///
/// # Errors
/// A string with a NUL inside: readers would see another text.
pub(super) fn place(layout: &mut Layout<'_>, what: &'static str, text: &str) -> Result<BlobId, Error> {
    if text.contains('\0') {
        return Err(Error::rule(what, format!("{text:?}"), "text without NUL", "all readers"));
    }
    let mut blob = Blob::new(what);
    let bytes = 2 * text.encode_utf16().count();
    blob.u32(super::streams::count32(what, bytes)?).utf16(text).u16(0);
    Ok(layout.push(blob))
}
