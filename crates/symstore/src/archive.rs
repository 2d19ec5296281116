//! Zip archives, which is how people send modules.

use std::io::{self, Read};

use super::location::{LARGEST_UNPACKED, ReadSeek, read_limited};

/// The first bytes of a zip archive with a member.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";

/// A member of an archive, before it is unpacked.
pub(super) struct Member<'a> {
    pub(super) number: usize,
    /// As the archive spells it. Never used to write anything.
    pub(super) name: String,
    pub(super) content: &'a mut dyn Read,
}

/// Calls `visit` for every file in the archive, in its order. A member that cannot be opened (encrypted, compressed by
/// an unknown method) is given to `skipped` with the reason.
pub(super) fn for_each_member(
    source: impl ReadSeek,
    mut visit: impl FnMut(Member<'_>),
    mut skipped: impl FnMut(String, String),
) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(source)?;
    for number in 0..archive.len() {
        match archive.by_index(number) {
            Ok(mut file) if file.is_file() => {
                let name = file.name().map(|name| name.to_string()).unwrap_or_default();
                visit(Member { number, name, content: &mut file });
            }
            Ok(_) => {}
            Err(error) => skipped(format!("member {number}"), error.to_string()),
        }
    }
    Ok(())
}

/// The bytes of one member.
pub(super) fn read_member(source: impl ReadSeek, number: usize) -> io::Result<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(source)?;
    let file = archive.by_index(number)?;
    read_limited(file, LARGEST_UNPACKED)
}
