//! Remembers what the index has read, so that the next run opens only what has changed.
//!
//! One file per root directory, named by the root's path. It is safe to delete at any time, and a damaged one is not
//! used: its first line holds the SHA-256 of the rest.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pe_image::{CodeView, Identity, Machine};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::location::{Layer, Location};
use crate::scan::{Content, Found};

/// The first word of a cache file, with the version of what follows.
const TITLE: &str = "symstore-index-2";

/// A file changed this recently may change again without its time telling so; it is read anew next time.
const SETTLED: Duration = Duration::from_secs(2);

/// Where the index keeps what it has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// `symstore` in the user's cache directory: `XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`, `LOCALAPPDATA`.
    #[default]
    Default,
    /// In this directory.
    At(PathBuf),
    /// Nowhere.
    Off,
}

impl Cache {
    /// The directory, if there is one.
    pub fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::At(dir) => Some(dir.clone()),
            Self::Default => default_directory().map(|dir| dir.join("symstore")),
        }
    }
}

fn default_directory() -> Option<PathBuf> {
    // The specification of XDG_CACHE_HOME says that a relative path is to be ignored.
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    }
}

/// What is known about the files below one root.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    path: Option<PathBuf>,
    files: HashMap<String, Entry>,
}

/// By what an unchanged file is recognised. Size and time of modification are not enough: `cp -p` sets the time, and two
/// builds of a module often have the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    size: u64,
    /// When the content was last changed, in nanoseconds since 1970, negative before. Programs can set it.
    modified: i128,
    /// On Unix when the file or its inode was last changed, which programs cannot set; elsewhere when it was created.
    changed: i128,
    /// On Unix the inode; elsewhere 0.
    inode: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    found: Vec<StoredFound>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredFound {
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layer>,
    machine: u16,
    timestamp: u32,
    size: u32,
    checksum: u32,
    /// The CodeView record in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pdb: Option<String>,
}

impl Stamp {
    pub(crate) fn of(metadata: &fs::Metadata) -> Option<Self> {
        let modified = nanoseconds(metadata.modified().ok()?)?;
        let (changed, inode) = changed(metadata);
        Some(Self { size: metadata.len(), modified, changed, inode })
    }

    /// When the file was last changed in any way.
    fn latest(&self) -> i128 {
        self.modified.max(self.changed)
    }
}

#[cfg(unix)]
fn changed(metadata: &fs::Metadata) -> (i128, u64) {
    use std::os::unix::fs::MetadataExt;
    (i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()), metadata.ino())
}

#[cfg(not(unix))]
fn changed(metadata: &fs::Metadata) -> (i128, u64) {
    (metadata.created().ok().and_then(nanoseconds).unwrap_or_default(), 0)
}

/// Nanoseconds since 1970.
fn nanoseconds(time: SystemTime) -> Option<i128> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).ok(),
        Err(before) => Some(-i128::try_from(before.duration().as_nanos()).ok()?),
    }
}

impl Memory {
    /// What is remembered about `root`; a note if the file was there and is not used.
    pub(crate) fn load(cache: &Cache, root: &Path) -> (Self, Option<String>) {
        let Some(dir) = cache.directory() else { return (Self::default(), None) };
        let full = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        let digest = hex(&Sha256::digest(full.as_os_str().as_encoded_bytes()));
        let path = dir.join("index").join(format!("{}.json", &digest[..32]));
        let (files, note) = match read(&path) {
            Ok(bytes) => match decode(&bytes) {
                Some(files) => (files, None),
                None => (HashMap::new(), Some(format!("{}: damaged index cache ignored", path.display()))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (HashMap::new(), None),
            Err(error) => (HashMap::new(), Some(format!("{}: index cache not read: {error}", path.display()))),
        };
        (Self { path: Some(path), files }, note)
    }

    /// What the file had in it when it was last read, if it has not changed since.
    pub(crate) fn recall(&self, path: &Path, stamp: Stamp) -> Option<Content> {
        let entry = self.files.get(path.to_str()?).filter(|entry| entry.stamp == stamp)?;
        let found = entry.found.iter().map(|found| found.restore(path)).collect::<Option<_>>()?;
        Some(Content { found, remarks: entry.remarks.clone() })
    }

    /// Keeps exactly these files for the next time, and writes only if that changes anything. When the cache cannot be
    /// written, a note says so.
    pub(crate) fn store<'a>(&self, files: impl Iterator<Item = (&'a Path, Stamp, &'a Content)>) -> Option<String> {
        let path = self.path.as_deref()?;
        let settled = nanoseconds(SystemTime::now().checked_sub(SETTLED)?)?;
        let mut changed = false;
        let mut keep = HashMap::new();
        for (file, stamp, content) in files {
            let Some(name) = file.to_str().filter(|_| stamp.latest() < settled) else { continue };
            changed |= self.files.get(name).is_none_or(|entry| entry.stamp != stamp);
            let found = content.found.iter().map(StoredFound::new).collect();
            keep.insert(name, Entry { stamp, found, remarks: content.remarks.clone() });
        }
        if !changed && keep.len() == self.files.len() {
            return None;
        }
        write(path, &encode(&keep)).err().map(|error| format!("{}: index cache not written: {error}", path.display()))
    }
}

impl StoredFound {
    fn new(found: &Found) -> Self {
        let Identity { machine, timestamp, size_of_image, checksum, ref pdb, .. } = found.identity;
        Self {
            name: found.name.clone(),
            layers: found.location.layers.clone(),
            machine: machine.0,
            timestamp,
            size: size_of_image,
            checksum,
            pdb: pdb.as_ref().map(|pdb| hex(&pdb.record())),
        }
    }

    fn restore(&self, file: &Path) -> Option<Found> {
        let pdb = match &self.pdb {
            Some(text) => Some(CodeView::parse(&unhex(text)?)?),
            None => None,
        };
        let Self { machine, timestamp, size, checksum, .. } = *self;
        let identity = Identity::new(Machine(machine), timestamp, size, checksum, pdb);
        let location = Location { file: file.to_owned(), layers: self.layers.clone() };
        Some(Found { location, name: self.name.clone(), identity })
    }
}

fn encode(files: &HashMap<&str, Entry>) -> Vec<u8> {
    let body = serde_json::to_vec(files).expect("maps with text keys are always JSON");
    let mut out = format!("{TITLE} {}\n", hex(&Sha256::digest(&body))).into_bytes();
    out.extend_from_slice(&body);
    out
}

fn decode(bytes: &[u8]) -> Option<HashMap<String, Entry>> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let (title, digest) = std::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
    let body = &bytes[end + 1..];
    (title == TITLE && digest == hex(&Sha256::digest(body))).then(|| serde_json::from_slice(body).ok())?
}

/// The largest cache that is read. An entry has some 300 bytes.
const LARGEST: u64 = 256 << 20;

/// Reads a regular file: to open a pipe that somebody put there could wait forever.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("not a regular file of at most {LARGEST} bytes"),
        ));
    }
    fs::read(path)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    if digits.len().is_multiple_of(2) { pairs.collect() } else { None }
}
