//! Which file is which module, by identity, opened and parsed.

use address_map::ModuleId;
use kernel_snapshot::Module;
use pe_image::PeFile;
use rayon::prelude::*;
use symstore::{Doubt, Index, Loader, Lookup, ModuleBytes, ModuleFile};

/// A module of a snapshot, and what was found for it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The module.
    pub module: Module,
    /// In or out.
    pub inclusion: Inclusion,
    /// Where its file is, or the nearest one's in case of a mismatch.
    pub file: Option<String>,
    /// The version of that nearest file, where its resources state one.
    pub file_version: Option<String>,
    /// Why it is out, or a doubt about a file that is in.
    pub reason: Option<String>,
    /// Why its file may be the wrong one although it is taken.
    pub doubts: Vec<Doubt>,
}

/// The modules of a snapshot and their files.
#[derive(Debug, Default)]
pub struct Files {
    /// In the order of the snapshot.
    pub entries: Vec<Entry>,
    /// The file of each that has one.
    bytes: Vec<Option<ModuleBytes>>,
}

impl Files {
    /// Finds and opens the files of `modules`.
    pub fn find(modules: &[Module], index: &Index) -> Self {
        let loader = Loader::new();
        let (entries, bytes) = modules.par_iter().map(|module| open(module, index, &loader)).unzip();
        Self { entries, bytes }
    }

    /// Reads the headers. A file that is not an image after all is a mismatch.
    pub fn parse(&mut self) -> Parsed<'_> {
        for (entry, bytes) in self.entries.iter_mut().zip(&mut self.bytes) {
            let Some(Err(error)) = bytes.as_deref().map(|bytes| PeFile::parse(bytes)) else { continue };
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
    /// Reads the file that was found. Between the index and here it may have been replaced or cut short.
    fn load(&mut self, file: &ModuleFile, doubts: Vec<Doubt>, loader: &Loader) -> Option<ModuleBytes> {
        self.file = Some(file.location.to_string());
        match loader.load(file) {
            Ok(bytes) => {
                self.inclusion = Inclusion::Included;
                self.reason = (!doubts.is_empty()).then(|| joined(&doubts));
                self.doubts = doubts;
                Some(bytes)
            }
            Err(error) => {
                if error.is_changed() {
                    self.inclusion = Inclusion::Mismatch;
                }
                let source = std::error::Error::source(&*error).map(|source| format!(": {source}"));
                self.reason = Some(format!("{error}{}", source.unwrap_or_default()));
                None
            }
        }
    }

    /// Why its file may be the wrong one, or why it cannot be where the source says, as a warning.
    pub(crate) fn warning(&self) -> Option<String> {
        if let Some(why) = misplaced(&self.module) {
            return Some(format!("{} is left out: {why}", self.module.name));
        }
        let file = self.file.as_deref().filter(|_| self.inclusion == Inclusion::Included && !self.doubts.is_empty())?;
        Some(format!("{}: {file} may be the wrong file: {}", self.module.name, joined(&self.doubts)))
    }

    /// Leaves the module out.
    pub(crate) fn exclude(&mut self, reason: String) {
        self.inclusion = Inclusion::Excluded;
        self.reason = Some(reason);
    }
}

/// Why no image can be where the source says that a module is: no kernel maps one there, so the record is damaged.
fn misplaced(module: &Module) -> Option<String> {
    const PAGE: u64 = 0x1000;
    let (base, size) = (module.base, module.size);
    if !base.is_multiple_of(PAGE) {
        return Some(format!("its base {base:#x} is not on a page boundary"));
    }
    let pages = size.checked_next_multiple_of(PAGE);
    let end = pages.and_then(|size| base.checked_add(size));
    end.is_none().then(|| format!("its base {base:#x} and size {size:#x} leave the address space"))
}

fn open(module: &Module, index: &Index, loader: &Loader) -> (Entry, Option<ModuleBytes>) {
    let mut entry = Entry {
        module: module.clone(),
        inclusion: Inclusion::Missing,
        file: None,
        file_version: None,
        reason: None,
        doubts: Vec::new(),
    };
    if let Some(reason) = misplaced(module) {
        entry.exclude(reason);
        return (entry, None);
    }
    let bytes = match Found::of(module, index, loader) {
        Found::Fit(file, doubts) => entry.load(file, doubts, loader),
        Found::Other { file, version, reason } => {
            entry.inclusion = Inclusion::Mismatch;
            (entry.file, entry.file_version, entry.reason) = (file, version, Some(reason));
            None
        }
        Found::Nothing(reason) => {
            entry.reason = Some(reason.to_owned());
            None
        }
    };
    (entry, bytes)
}

/// What there is of a module's file.
#[derive(Clone, Debug)]
pub enum Found<'i> {
    /// The file.
    Fit(&'i ModuleFile, Vec<Doubt>),
    /// Files that are not it, or that cannot be told apart.
    Other {
        /// The nearest one.
        file: Option<String>,
        /// Its version, where its resources state one.
        version: Option<String>,
        /// Why it is not taken.
        reason: String,
    },
    /// Nothing.
    Nothing(&'static str),
}

impl<'i> Found<'i> {
    /// Looks a module up.
    pub fn of(module: &Module, index: &'i Index, loader: &Loader) -> Self {
        match index.find(&crate::search::wanted(module)) {
            Lookup::Found { file, doubts } => Self::Fit(file, doubts),
            Lookup::Mismatch { closest, differences } => {
                let differences: Vec<_> = differences.iter().map(ToString::to_string).collect();
                Self::Other {
                    file: Some(closest.location.to_string()),
                    version: loader.load(closest).ok().and_then(|bytes| version(&bytes)),
                    reason: format!("{}: {}", closest.location, differences.join(", ")),
                }
            }
            Lookup::Ambiguous { files } => {
                let places: Vec<_> = files.iter().map(|file| file.location.to_string()).collect();
                let reason = format!("several files fit equally well but differ: {}", places.join(", "));
                Self::Other { file: None, version: None, reason }
            }
            _ => Self::Nothing("no file of that name or identity found"),
        }
    }
}

/// The version that a file's resources state.
fn version(bytes: &[u8]) -> Option<String> {
    let [major, minor, build, revision] = PeFile::parse(bytes).ok()?.version().ok()??.file_version()?;
    Some(format!("{major}.{minor}.{build}.{revision}"))
}

fn joined(doubts: &[Doubt]) -> String {
    doubts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Modules with the headers of their files.
#[derive(Debug)]
pub struct Parsed<'a> {
    files: Vec<Option<PeFile<'a>>>,
    pub(crate) entries: &'a [Entry],
}

impl<'a> Parsed<'a> {
    /// A module's file; `None` when none was found.
    ///
    /// # Panics
    /// If the number is not that of a module.
    pub fn file(&self, module: ModuleId) -> Option<&PeFile<'a>> {
        self.files[module.0].as_ref()
    }
}
