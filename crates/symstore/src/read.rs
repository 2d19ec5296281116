//! Reads who a file is, from as few of its bytes as that takes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use pe_image::{Headers, Identity, IdentityError, PAGE_SIZE};

use super::archive::{self, ZIP};
use super::compressed::{self, CABINET, SZDD};
use super::location::{Layer, Location, ReadSeek, read_limited};
use super::name::last_component;

/// The most of a packed file that is unpacked to see who it is: headers and debug directory lie well before this in
/// every kernel image. Each thread of the index holds at most this much, or one packed file if that is in an archive.
const LARGEST_PREFIX: u64 = 64 << 20;
/// The largest packed file inside an archive that is looked into.
const LARGEST_NESTED: u64 = 64 << 20;

/// A PE file found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) location: Location,
    pub(super) name: String,
    pub(super) identity: Identity,
}

/// What is in one file: PE files, and remarks about what could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) found: Vec<Found>,
    pub(super) remarks: Vec<String>,
}

/// Looks into a file on disk. A file that is neither PE nor a known wrapping has no content, which is no error.
pub(super) fn content(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let mut content = Content::default();
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut magic = [0; 8];
    let have = read_up_to(&mut file, &mut magic)?;
    let magic = &magic[..have];
    file.seek(SeekFrom::Start(0))?;
    if magic.starts_with(b"MZ") {
        match missing_bytes(&mut file)? {
            // A download that broke off has the right headers, and nothing else may take it for the module.
            Some(missing) => {
                content.remarks.push(format!("{}: cut short, {missing} bytes are missing", path.display()));
            }
            // Unbuffered: the reader asks for whole pieces, and buffering would read more than it needs.
            None => content.image(Identity::read(file), Location::plain(path), name),
        }
    } else if magic.starts_with(ZIP) {
        content.zip(BufReader::new(file), &Location::plain(path));
    } else {
        content.packed(magic, BufReader::new(file), &Location::plain(path), &name);
    }
    Ok(content)
}

impl Content {
    fn image(&mut self, identity: Result<Identity, IdentityError>, location: Location, name: String) {
        match identity {
            Ok(identity) => self.found.push(Found { location, name, identity }),
            Err(IdentityError::Io(error)) => self.remarks.push(format!("{location}: {error}")),
            Err(IdentityError::Format(error)) if is_damage(&error) => self.remarks.push(format!("{location}: {error}")),
            // DOS programs and old 16-bit drivers start with MZ too: to be no PE file is no fault.
            Err(_) => {}
        }
    }

    fn zip(&mut self, source: impl ReadSeek, outer: &Location) {
        let mut skipped = Vec::new();
        let result = archive::for_each_member(
            source,
            |member| {
                let mut content = BufReader::new(member.content);
                let magic = content.fill_buf().map(|bytes| bytes[..bytes.len().min(8)].to_owned()).unwrap_or_default();
                let location = outer.clone().within(Layer::Zip { number: member.number, name: member.name.clone() });
                let name = last_component(&member.name);
                if magic.starts_with(b"MZ") {
                    self.image(Identity::read(Prefix::new(content)), location, name.to_owned());
                } else if magic.starts_with(CABINET) || magic.starts_with(SZDD) {
                    match read_limited(content, LARGEST_NESTED) {
                        Ok(bytes) => self.packed(&magic, Cursor::new(bytes), &location, name),
                        Err(error) => self.remarks.push(format!("{location}: {error}")),
                    }
                }
            },
            |member, reason| skipped.push(format!("{outer}, {member}: {reason}")),
        );
        self.remarks.append(&mut skipped);
        if let Err(error) = result {
            self.remarks.push(format!("{outer}: a damaged zip archive: {error}"));
        }
    }

    fn packed(&mut self, magic: &[u8], source: impl ReadSeek, location: &Location, name: &str) {
        let result = if magic.starts_with(CABINET) {
            self.cabinet(source, location)
        } else if magic.starts_with(SZDD) {
            compressed::read_szdd(source).map(|unpacked| {
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
            self.remarks.push(format!("{location}: {error}"));
        }
    }

    fn cabinet(&mut self, mut source: impl ReadSeek, outer: &Location) -> io::Result<()> {
        for name in compressed::cabinet_members(&mut source)? {
            source.seek(SeekFrom::Start(0))?;
            compressed::with_cabinet_member(&mut source, &name, |content| {
                let mut content = BufReader::new(content);
                if content.fill_buf()?.starts_with(b"MZ") {
                    let location = outer.clone().within(Layer::Cab { name: name.clone() });
                    self.image(Identity::read(Prefix::new(content)), location, last_component(&name).to_owned());
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// How many bytes a PE file lacks at its end, by its section headers. Headers longer than the first page are not looked
/// at; no kernel image has them.
fn missing_bytes(file: &mut File) -> io::Result<Option<u64>> {
    let mut head = [0; 4096];
    let have = read_up_to(file, &mut head)?;
    Ok(missing_from(&head[..have], file.metadata()?.len()))
}

/// How many bytes a PE file lacks at its end, by its first bytes and its length; `None` if it is whole.
pub fn missing_from(head: &[u8], length: u64) -> Option<u64> {
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

fn read_up_to(source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < out.len() {
        match source.read(&mut out[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// Makes a stream seekable by keeping what was read of it, which is only as much as somebody asked for.
struct Prefix<R> {
    source: R,
    have: Vec<u8>,
    at: u64,
}

impl<R: Read> Prefix<R> {
    fn new(source: R) -> Self {
        Self { source, have: Vec::new(), at: 0 }
    }
}

impl<R: Read> Read for Prefix<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = self.at.saturating_add(out.len() as u64);
        if end > LARGEST_PREFIX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too far into a packed file"));
        }
        if end > self.have.len() as u64 {
            let more = end - self.have.len() as u64;
            self.source.by_ref().take(more).read_to_end(&mut self.have)?;
        }
        let rest = self.have.get(self.at as usize..).unwrap_or_default();
        let size = rest.len().min(out.len());
        out[..size].copy_from_slice(&rest[..size]);
        self.at += size as u64;
        Ok(size)
    }
}

impl<R> Seek for Prefix<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.at = target.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, "a stream's end is not known"))?;
        Ok(self.at)
    }
}
