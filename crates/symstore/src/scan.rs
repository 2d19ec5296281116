//! Looks into one file and reads the identity of every PE file in it, from as few bytes as possible.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Seek, SeekFrom};
use std::path::Path;

use pe_image::{Headers, Identity, IdentityError, PAGE_SIZE};

use crate::cabinet::{CABINET, Cabinet};
use crate::location::{Layer, Location};
use crate::name::last_component;
use crate::stream::{Budget, Prefix, ReadSeek, magic, read_limited, read_up_to};
use crate::szdd::{SZDD, read_szdd};
use crate::zip_archive::{ZIP, for_each_member};

/// The largest packed file inside an archive that is looked into.
const LARGEST_NESTED: u64 = 64 << 20;

/// A PE file found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) location: Location,
    pub(crate) name: String,
    pub(crate) identity: Identity,
}

/// What is in one file: PE files, and remarks about what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) found: Vec<Found>,
    pub(crate) remarks: Vec<String>,
}

/// Looks into a file on disk. A file that is neither PE nor packed in a known way has no content, which is not an error.
///
/// What is unpacked is bounded by [`Budget::for_identities`]; each thread holds at most one prefix of 64 MiB and, for a
/// packed file in an archive, another 64 MiB.
pub(crate) fn content(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let budget = Budget::for_identities(file.metadata()?.len());
    let mut content = Content::default();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut magic = [0; 8];
    let have = read_up_to(&mut file, &mut magic)?;
    let magic = &magic[..have];
    file.seek(SeekFrom::Start(0))?;
    if magic.starts_with(b"MZ") {
        match missing_bytes(&mut file)? {
            // An interrupted download has the right headers, and must not be taken for the module.
            Some(missing) => {
                content.remark(format!("{}: cut short, {missing} bytes are missing", path.display()));
            }
            // Unbuffered: the reader asks for whole pieces, and buffering would read more than it needs.
            None => content.image(Identity::read(file), Location::plain(path), name),
        }
    } else if magic.starts_with(ZIP) {
        content.zip(BufReader::new(file), &Location::plain(path), &budget);
    } else {
        content.packed(magic, BufReader::new(file), &Location::plain(path), &name, &budget);
    }
    Ok(content)
}

impl Content {
    fn remark(&mut self, remark: String) {
        self.remarks.push(remark);
    }

    fn image(&mut self, identity: Result<Identity, IdentityError>, location: Location, name: String) {
        match identity {
            Ok(identity) => self.found.push(Found { location, name, identity }),
            // DOS programs and old 16-bit drivers start with MZ too, so a file that is not PE is not damaged.
            Err(error) if error.format().is_some_and(|error| !is_damage(error)) => {}
            Err(error) => self.remark(format!("{location}: {error}")),
        }
    }

    fn zip(&mut self, source: impl ReadSeek, outer: &Location, budget: &Budget) {
        let mut skipped = Vec::new();
        let result = for_each_member(
            source,
            budget,
            |member| {
                let mut content = BufReader::new(member.content);
                let magic = magic(&mut content);
                let location = outer.clone().within(Layer::Zip { number: member.number, name: member.name.clone() });
                let name = last_component(&member.name);
                if magic.starts_with(b"MZ") {
                    self.image(Identity::read(Prefix::new(content)), location, name.to_owned());
                } else if magic.starts_with(CABINET) || magic.starts_with(SZDD) {
                    match read_limited(content, LARGEST_NESTED) {
                        Ok(bytes) => self.packed(&magic, Cursor::new(bytes), &location, name, budget),
                        Err(error) => self.remark(format!("{location}: {error}")),
                    }
                }
            },
            |member, reason| skipped.push(format!("{outer}, {member}: {reason}")),
        );
        self.remarks.append(&mut skipped);
        if let Err(error) = result {
            self.remark(format!("{outer}: a damaged zip archive: {error}"));
        }
    }

    fn packed(&mut self, magic: &[u8], source: impl ReadSeek, location: &Location, name: &str, budget: &Budget) {
        let result = if magic.starts_with(CABINET) {
            self.cabinet(source, location, budget)
        } else if magic.starts_with(SZDD) {
            read_szdd(source).map(|unpacked| {
                let name = restored(name, unpacked.last_letter);
                if unpacked.bytes.starts_with(b"MZ") {
                    let location = location.clone().within(Layer::Szdd);
                    self.image(Identity::read(Cursor::new(unpacked.bytes)), location, name);
                }
            })
        } else {
            Ok(())
        };
        if let Err(error) = result {
            self.remark(format!("{location}: {error}"));
        }
    }

    fn cabinet(&mut self, source: impl ReadSeek, outer: &Location, budget: &Budget) -> io::Result<()> {
        Cabinet::open(source)?.for_each_member(budget, |number, member, content| {
            let mut content = BufReader::new(content);
            if magic(&mut content).starts_with(b"MZ") {
                let location = outer.clone().within(Layer::Cab { number });
                let name = last_component(&member.name).to_owned();
                self.image(Identity::read(Prefix::new(content)), location, name);
            }
        })
    }
}

/// True for a file whose headers cannot be read or whose sections are not all there.
#[cfg(feature = "fetch")]
pub(crate) fn is_cut(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut head = [0; 4096];
    let have = read_up_to(&mut file, &mut head)?;
    Ok(Headers::parse(&head[..have]).is_err() || missing_from(&head[..have], file.metadata()?.len()).is_some())
}

/// How many bytes a PE file lacks at its end, by its section headers. Headers longer than the first page are not looked
/// at; no kernel image has them.
fn missing_bytes(file: &mut File) -> io::Result<Option<u64>> {
    let mut head = [0; 4096];
    let have = read_up_to(file, &mut head)?;
    Ok(missing_from(&head[..have], file.metadata()?.len()))
}

/// How many bytes a PE file lacks at its end, by its first bytes and its length; `None` if it is whole.
pub(crate) fn missing_from(head: &[u8], length: u64) -> Option<u64> {
    let headers = Headers::parse(head).ok()?;
    let ends = headers.sections.iter().map(|section| {
        // Bytes beyond the last page that the section has in memory are never mapped.
        let mapped = u64::from(section.size).next_multiple_of(PAGE_SIZE.into()).min(section.file_size.into());
        u64::from(section.file_offset) + mapped
    });
    ends.max().and_then(|end| end.checked_sub(length)).filter(|&missing| missing > 0)
}

/// True when the file said that it is a PE file before it went wrong.
fn is_damage(error: &pe_image::Error) -> bool {
    matches!(error.structure(), "IMAGE_OPTIONAL_HEADER" | "section table")
}

/// `foo.sy_` with its last letter back.
fn restored(name: &str, last: Option<char>) -> String {
    match (name.strip_suffix('_'), last) {
        (Some(stem), Some(last)) => format!("{stem}{}", last.to_ascii_lowercase()),
        _ => name.to_owned(),
    }
}
