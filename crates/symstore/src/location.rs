//! Where a file's bytes are: on a disk, or packed in something that is.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{archive, compressed};

/// The largest file that is taken out of an archive or a compressed file: 1 GiB. Images are far smaller, and a few
/// bytes can claim to be anything.
pub(super) const LARGEST_UNPACKED: u64 = 1 << 30;

/// Where a file's bytes are. Made by the index; [`Location::read`] gives the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    pub(super) file: PathBuf,
    pub(super) layers: Vec<Layer>,
}

/// One wrapping around a file, from the outside in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Layer {
    /// Member of a zip archive. By number, because two members can have one name.
    Zip { number: usize, name: String },
    /// Member of a cabinet, which is also what `makecab` makes of a single file (`foo.sy_`).
    Cab { name: String },
    /// A file packed by the older `compress.exe`.
    Szdd,
}

/// A source that can be read from any place.
pub(super) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

impl Location {
    /// A file that lies open on a disk.
    pub fn plain(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), layers: Vec::new() }
    }

    /// The file on disk, or the archive around it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The path, if the file lies open on a disk and can be mapped; `None` if it has to be unpacked.
    pub fn plain_path(&self) -> Option<&Path> {
        self.layers.is_empty().then_some(self.file.as_path())
    }

    /// The file's bytes, unpacked. At most 1 GiB is unpacked; beyond, the file is refused.
    ///
    /// # Errors
    /// What the disk says, or `InvalidData` when an archive is damaged or its member too large.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes: Option<Vec<u8>> = None;
        for layer in &self.layers {
            let source: Box<dyn ReadSeek> = match bytes.take() {
                None => Box::new(io::BufReader::new(File::open(&self.file)?)),
                Some(bytes) => Box::new(Cursor::new(bytes)),
            };
            bytes = Some(match layer {
                Layer::Zip { number, .. } => archive::read_member(source, *number)?,
                Layer::Cab { name } => compressed::read_cabinet_member(source, name)?,
                Layer::Szdd => compressed::read_szdd(source)?.bytes,
            });
        }
        match bytes {
            Some(bytes) => Ok(bytes),
            None => std::fs::read(&self.file),
        }
    }

    pub(super) fn within(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }
}

impl fmt::Display for Location {
    /// `path`, or `archive.zip!dir/member`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for layer in &self.layers {
            match layer {
                Layer::Zip { name, .. } => write!(f, "!{}", name.escape_debug())?,
                // A packed single file is named well enough by itself.
                Layer::Cab { .. } | Layer::Szdd => {}
            }
        }
        Ok(())
    }
}

/// Reads at most `limit` bytes; more is an error, so that a short archive cannot fill the memory.
pub(super) fn read_limited(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unpacks to more than {limit} bytes")));
    }
    Ok(bytes)
}
