//! Reads module files, and checks that they still are what the index took them for.
//!
//! Files are read, not mapped: a mapped file that another program shortens ends the process (`SIGBUS`), and one that it
//! rewrites changes under the reader. What is read once and checked stays as it is.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pe_image::Identity;

use crate::cabinet::Cabinet;
use crate::error::Error;
use crate::index::ModuleFile;
use crate::location::{Layer, Location};
use crate::scan::missing_from;
use crate::stream::{Budget, LARGEST_UNPACKED, ReadSeek, invalid};
use crate::szdd::read_szdd;
use crate::zip_archive::read_member;

/// What all packed files together may unpack to: this, and [`UNPACKED_PER_BYTE`] for each byte of the archives.
const UNPACKED: u64 = 512 << 20;
const UNPACKED_PER_BYTE: u64 = 8;

/// The bytes of a module file, shared by everybody who asked for the same file.
pub type ModuleBytes = Arc<Vec<u8>>;

/// Reads the files of an [`Index`](crate::Index), each one once however often it is asked for, from any number of
/// threads.
///
/// Holds the files that were read, for as long as it or somebody else does. Packed files may unpack to 512 MiB in total,
/// and to 8 bytes more for each byte of the archives that they are in; beyond that they are refused.
#[derive(Debug)]
pub struct Loader {
    known: Mutex<Known>,
    budget: Budget,
}

#[derive(Debug, Default)]
struct Known {
    files: HashMap<Location, Slot>,
    /// The archives among them, whose sizes are in the budget.
    archives: HashSet<PathBuf>,
}

/// A file that is being read or was read. Whoever comes second waits for the first.
type Slot = Arc<OnceLock<Result<ModuleBytes, Arc<Error>>>>;

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    /// A loader that has read nothing.
    pub fn new() -> Self {
        Self::with_budget(UNPACKED)
    }

    fn with_budget(bytes: u64) -> Self {
        Self { known: Mutex::default(), budget: Budget::new(bytes) }
    }

    /// The bytes of a module file, unpacked.
    ///
    /// # Errors
    /// When the file cannot be read or unpacked; when its identity is not the indexed one ([`Error::is_changed`]); when
    /// it ends before its last section ([`Error::is_incomplete`]). The same file gives the same answer every time.
    pub fn load(&self, file: &ModuleFile) -> Result<ModuleBytes, Arc<Error>> {
        let slot = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let archive = &file.location.file;
            if file.location.plain_path().is_none() && known.archives.insert(archive.clone()) {
                let packed = std::fs::metadata(archive).map_or(0, |metadata| metadata.len());
                self.budget.grow(packed.saturating_mul(UNPACKED_PER_BYTE));
            }
            Arc::clone(known.files.entry(file.location.clone()).or_default())
        };
        slot.get_or_init(|| self.read(file).map(Arc::new).map_err(Arc::new)).clone()
    }

    fn read(&self, file: &ModuleFile) -> Result<Vec<u8>, Error> {
        let place = &file.location;
        let bytes = bytes(place, &self.budget).map_err(|error| Error::read(place, error))?;
        match Identity::read(Cursor::new(&bytes)) {
            Ok(identity) if identity == file.identity => {}
            Ok(identity) => return Err(Error::changed(place, &file.identity, Some(identity))),
            Err(_) => return Err(Error::changed(place, &file.identity, None)),
        }
        match missing_from(&bytes, bytes.len() as u64) {
            Some(missing) => Err(Error::incomplete(place, missing)),
            None => Ok(bytes),
        }
    }
}

/// The bytes at a location, unpacked.
fn bytes(location: &Location, budget: &Budget) -> io::Result<Vec<u8>> {
    let file = File::open(&location.file)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut layers = location.layers.iter();
    let Some(outer) = layers.next() else {
        let mut bytes = Vec::with_capacity(file.metadata()?.len().min(LARGEST_UNPACKED) as usize);
        file.take(LARGEST_UNPACKED + 1).read_to_end(&mut bytes)?;
        return match bytes.len() as u64 {
            ..=LARGEST_UNPACKED => Ok(bytes),
            _ => Err(invalid(format!("it has more than {LARGEST_UNPACKED} bytes"))),
        };
    };
    let mut bytes = unpack(outer, io::BufReader::new(file), budget)?;
    for layer in layers {
        bytes = unpack(layer, Cursor::new(bytes), budget)?;
    }
    Ok(bytes)
}

fn unpack(layer: &Layer, source: impl ReadSeek, budget: &Budget) -> io::Result<Vec<u8>> {
    match layer {
        Layer::Zip { number, .. } => read_member(source, *number, budget),
        Layer::Cab { number } => Cabinet::open(source)?.read_member(*number, budget),
        Layer::Szdd => {
            let unpacked = read_szdd(source)?.bytes;
            budget.spend(unpacked.len() as u64)?;
            Ok(unpacked)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Loader, UNPACKED_PER_BYTE};
    use crate::{Cache, Index, IndexOptions};
    use std::fs;
    use std::io::{Cursor, Write};
    use std::sync::Arc;
    use testkit::catalog::Module;

    fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn packed_files_are_unpacked_once_and_not_beyond_the_budget() {
        let dir = tempfile::tempdir().unwrap();
        let file = |timestamp| Module { timestamp, size_of_image: 0x43000, code: 0x40000, ..Default::default() }.file();
        let archive = zip(&[("a.sys", &file(1)), ("b.sys", &file(2)), ("c.sys", &file(3))]);
        fs::write(dir.path().join("m.zip"), &archive).unwrap();
        let roots = vec![dir.path().to_owned()];
        let index = Index::build(&IndexOptions { roots, cache: Cache::Off, ..Default::default() }).unwrap();
        let [a, b, c] = index.files() else { panic!("three files: {:?}", index.notes()) };

        // Enough for two of the three, with what the size of the archive allows.
        let (one, allowed) = (file(1).len() as u64, UNPACKED_PER_BYTE * archive.len() as u64);
        let loader = Loader::with_budget((2 * one).checked_sub(allowed).expect("the archive is small"));
        let first = loader.load(a).unwrap();
        for _ in 0..100 {
            assert!(Arc::ptr_eq(&first, &loader.load(a).unwrap()), "one copy for everybody");
        }
        assert!(*first == file(1) && *loader.load(b).unwrap() == file(2));
        let error = loader.load(c).unwrap_err();
        assert!(error.to_string().contains("m.zip!c.sys"), "{error}");
        let reason = std::error::Error::source(&*error).unwrap().to_string();
        assert!(reason.contains("unpacks to too many bytes"), "{reason}");
    }
}
