//! Which file is which module, by identity, opened and parsed.

use std::path::Path;

use pe_image::PeFile;
use rayon::prelude::*;
use symstore::{Index, Lookup, missing_from};

use crate::map::FileBytes;
use crate::snapshot::{Module, ModuleId};

/// A module of a snapshot, and what was found for it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The module.
    pub module: Module,
    /// In or out.
    pub inclusion: Inclusion,
    /// Where its file is, or the nearest one's in case of a mismatch.
    pub file: Option<String>,
    /// Why it is out, or what should be said about it.
    pub reason: Option<String>,
}

/// The modules of a snapshot and their files.
#[derive(Debug, Default)]
pub struct Files {
    /// In the order of the snapshot.
    pub entries: Vec<Entry>,
    /// The file of each that has one.
    bytes: Vec<Option<FileBytes>>,
}

impl Files {
    /// Finds and opens the files of `modules`.
    pub fn find(modules: &[Module], index: &Index) -> Self {
        let (entries, bytes) = modules.par_iter().map(|module| open(module, index)).unzip();
        Self { entries, bytes }
    }

    /// Reads the headers. A file that is not an image after all is a mismatch.
    pub fn parse(&mut self) -> Parsed<'_> {
        for (entry, bytes) in self.entries.iter_mut().zip(&mut self.bytes) {
            let Some(Err(error)) = bytes.as_deref().map(PeFile::parse) else { continue };
            *bytes = None;
            if entry.inclusion == Inclusion::Included {
                entry.inclusion = Inclusion::Mismatch;
                entry.reason = Some(error.to_string());
            }
        }
        let files = self.bytes.iter().map(|bytes| PeFile::parse(bytes.as_deref()?).ok());
        Parsed { files: files.collect(), entries: &self.entries }
    }
}

/// What becomes of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inclusion {
    /// Its code is in.
    Included,
    /// No file of that name was found.
    Missing,
    /// A file of that name was found, of another build.
    Mismatch,
    /// Left out: by choice, or because another module held its addresses.
    Excluded,
}

impl Entry {
    /// Leaves the module out.
    pub(super) fn exclude(&mut self, reason: String) {
        self.inclusion = Inclusion::Excluded;
        self.reason = Some(reason);
    }
}

fn open(module: &Module, index: &Index) -> (Entry, Option<FileBytes>) {
    let mut entry = Entry { module: module.clone(), inclusion: Inclusion::Missing, file: None, reason: None };
    let mut opened = None;
    match index.find(&module.wanted()) {
        Lookup::Missing => entry.reason = Some("no file of that name or identity found".into()),
        Lookup::Mismatch { closest, differences } => {
            entry.inclusion = Inclusion::Mismatch;
            entry.file = Some(closest.location.to_string());
            let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
            entry.reason = Some(format!("{}: {}", closest.location, differences.join(", ")));
        }
        Lookup::Found { file, warnings } => {
            entry.file = Some(file.location.to_string());
            let bytes = match file.location.plain_path() {
                Some(path) => FileBytes::open(path).map_err(|e| e.to_string()),
                None => {
                    let name = file.location.to_string();
                    let bytes = file.location.read().map_err(|e| format!("cannot read {name}: {e}"));
                    bytes.map(|bytes| FileBytes::from_memory(Path::new(&name), bytes))
                }
            };
            // Between index and here the file may have become shorter, and a member of an archive may be cut.
            let bytes = bytes.and_then(|bytes| match missing_from(&bytes, bytes.len() as u64) {
                Some(missing) => Err(format!("{}: cut short, {missing} bytes are missing", file.location)),
                None => Ok(bytes),
            });
            match bytes {
                Ok(bytes) => {
                    entry.inclusion = Inclusion::Included;
                    opened = Some(bytes);
                    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
                    entry.reason = (!warnings.is_empty()).then(|| warnings.join("; "));
                }
                Err(why) => entry.reason = Some(why),
            }
        }
    }
    (entry, opened)
}

/// Modules with the headers of their files.
#[derive(Debug)]
pub struct Parsed<'a> {
    files: Vec<Option<PeFile<'a>>>,
    pub(super) entries: &'a [Entry],
}

impl<'a> Parsed<'a> {
    /// A module's file.
    pub(super) fn file(&self, module: ModuleId) -> Option<&PeFile<'a>> {
        self.files[module.0].as_ref()
    }
}
