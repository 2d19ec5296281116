//! Zip archives, which is how people send modules.

use std::io::{self, Read};

use crate::stream::{Budget, LARGEST_UNPACKED, Metered, ReadSeek, invalid, read_limited};

/// The first bytes of a zip archive with a member.
pub(crate) const ZIP: &[u8] = b"PK\x03\x04";

/// A member of an archive, before it is unpacked.
pub(crate) struct Member<'a> {
    pub(crate) number: usize,
    /// As the archive spells it. Never used to write anything.
    pub(crate) name: String,
    pub(crate) content: &'a mut dyn Read,
}

/// Calls `visit` for every file in the archive, in its order. A member that cannot be opened (encrypted, or compressed
/// by an unknown method) is given to `skipped` with the reason.
pub(crate) fn for_each_member(
    source: impl ReadSeek,
    budget: &Budget,
    mut visit: impl FnMut(Member<'_>),
    mut skipped: impl FnMut(String, String),
) -> io::Result<()> {
    let mut archive = open(source)?;
    for number in 0..archive.len() {
        let name = match archive.name_for_index(number) {
            Some(Ok(name)) => name.into_owned(),
            _ => String::new(),
        };
        match archive.by_index(number) {
            Ok(file) if file.is_file() => {
                let mut content = Metered::new(file, budget);
                visit(Member { number, name, content: &mut content });
            }
            Ok(_) => {}
            Err(error) => skipped(format!("member {number} ({})", name.escape_debug()), error.to_string()),
        }
    }
    Ok(())
}

/// The bytes of one member.
pub(crate) fn read_member(source: impl ReadSeek, number: usize, budget: &Budget) -> io::Result<Vec<u8>> {
    let mut archive = open(source)?;
    let file = archive.by_index(number)?;
    read_limited(Metered::new(file, budget), LARGEST_UNPACKED)
}

/// Opens an archive whose members do not share data: thousands of members that are the same few bytes would make a small
/// archive unpack to any size.
fn open<R: ReadSeek>(source: R) -> io::Result<zip::ZipArchive<R>> {
    let mut archive = zip::ZipArchive::new(source)?;
    if archive.has_overlapping_files()? {
        return Err(invalid("two members share the same bytes, or a member overlaps the central directory"));
    }
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::for_each_member;
    use crate::stream::Budget;
    use std::io::Cursor;
    use testkit::catalog::{Module, sharing_zip};

    /// The result; the members with the bytes that could be read of them; those that were skipped.
    type Walk = (Result<(), String>, Vec<(String, usize)>, Vec<String>);

    fn names(archive: &[u8], budget: u64) -> Walk {
        let (mut seen, mut skipped) = (Vec::new(), Vec::new());
        let result = for_each_member(
            Cursor::new(archive),
            &Budget::new(budget),
            |member| {
                seen.push((member.name, std::io::copy(member.content, &mut std::io::sink()).unwrap_or(0) as usize));
            },
            |member, reason| skipped.push(format!("{member}: {reason}")),
        );
        (result.map_err(|error| error.to_string()), seen, skipped)
    }

    #[test]
    fn members_that_share_their_bytes_are_refused_before_one_is_read() {
        let file = Module::default().file();
        let (result, seen, _) = names(&sharing_zip(&file, 100, 0), 1 << 20);
        assert!(result.unwrap_err().contains("share the same bytes") && seen.is_empty());
        let (result, seen, _) = names(&sharing_zip(&file, 1, 0), 1 << 20);
        assert_eq!((result, seen), (Ok(()), vec![("00000".to_owned(), file.len())]));
        let (_, seen, _) = names(&sharing_zip(&file, 1, 0), file.len() as u64 - 1);
        assert_eq!(seen, [("00000".to_owned(), 0)], "what is read counts against the budget");
    }

    #[test]
    fn encrypted_members_are_told_as_such() {
        let (result, seen, skipped) = names(&sharing_zip(&Module::default().file(), 1, 1), 1 << 20);
        assert_eq!((result, seen), (Ok(()), vec![]));
        assert!(skipped[0].contains("member 0 (00000)") && skipped[0].contains("assword"), "{skipped:?}");
    }
}
