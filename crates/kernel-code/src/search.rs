//! Where module files are looked for, and what is missing there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use kernel_snapshot::{Module, Progress};
use symstore::{Cache, Index, IndexOptions, Lookup, SymbolPath, Wanted};

/// Why module files cannot be looked for.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SearchError(Problem);

/// What stands in the way of a search for module files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SearchErrorKind {
    /// A directory of modules cannot be read.
    Root,
    /// There is no PE file in any of the places.
    NoFiles,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Root(symstore::Error),
    #[error("no module file in {}: {}, none of them a PE image", shown(roots), files(*looked_at))]
    NoFiles { roots: Vec<PathBuf>, looked_at: usize },
}

impl SearchError {
    /// Nothing that was found in these places, `looked_at` files, is a PE image.
    pub fn no_files(roots: &[PathBuf], looked_at: usize) -> Self {
        Self(Problem::NoFiles { roots: roots.to_vec(), looked_at })
    }

    /// What stands in the way.
    pub fn kind(&self) -> SearchErrorKind {
        match self.0 {
            Problem::Root(_) => SearchErrorKind::Root,
            Problem::NoFiles { .. } => SearchErrorKind::NoFiles,
        }
    }
}

impl From<symstore::Error> for SearchError {
    fn from(error: symstore::Error) -> Self {
        Self(Problem::Root(error))
    }
}

fn files(number: usize) -> String {
    if number == 1 { "1 file there".to_owned() } else { format!("{number} files there") }
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A file that only directories of raw memory have: arguments for libipt's programs. What lies beside it begins as module
/// files do, but is an image in memory.
const RAW_FILES: &str = "ptxed.args";

/// Where module files are looked for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// Directories with all below them, symbol stores, mounted volumes, archives, single files.
    pub roots: Vec<PathBuf>,
    /// Directories of a symbol path: only the keys that are wanted are looked up in them.
    pub symbol_path: Vec<PathBuf>,
    /// Where to remember what was read.
    pub cache: Cache,
}

impl Search {
    /// These roots, or the current directory when there are none, and the directories that `_NT_SYMBOL_PATH` and
    /// `_NT_EXECUTABLE_IMAGE_PATH` name.
    pub fn new(roots: Vec<PathBuf>, environment: &SymbolPath) -> Self {
        let symbol_path = environment.directories();
        let roots = if roots.is_empty() { vec![PathBuf::from(".")] } else { roots };
        Self { roots, symbol_path, cache: Cache::Default }
    }

    /// Indexes the files.
    ///
    /// # Errors
    /// When a root is not there.
    pub fn index(&self, modules: &[Module], progress: &dyn Progress) -> Result<Index, SearchError> {
        progress.phase("indexing module files", None);
        let before = AtomicUsize::new(0);
        let report = |now: symstore::Progress| {
            let last = before.fetch_max(now.done, Ordering::Relaxed);
            progress.advance(now.done.saturating_sub(last) as u64);
        };
        let options = IndexOptions {
            roots: self.roots.clone(),
            skip_beside: vec![RAW_FILES.to_owned()],
            symbol_path: self.symbol_path.clone(),
            wanted: modules.iter().map(wanted).collect(),
            cache: self.cache.clone(),
            progress: Some(&report),
        };
        Ok(Index::build(&options)?)
    }

    /// As [`Search::index`], but no image at all is an error: a mistyped directory should not give an empty dump.
    ///
    /// # Errors
    /// When a root is not there, or nothing that was found is a PE image.
    pub fn index_some(&self, modules: &[Module], progress: &dyn Progress) -> Result<Index, SearchError> {
        let index = self.index(modules, progress)?;
        if index.files().is_empty() {
            return Err(SearchError::no_files(&self.roots, index.looked_at()));
        }
        Ok(index)
    }
}

/// A module as a question to an index of files.
pub fn wanted(module: &Module) -> Wanted {
    Wanted {
        name: module.name.clone(),
        path: Some(module.path.clone()),
        timestamp: module.timestamp,
        // No image is 4 GiB large; a size that is not one of an image matches no file.
        size: u32::try_from(module.size).unwrap_or(u32::MAX),
        checksum: module.checksum,
        pdb: module.pdb.as_ref().map(|pdb| pdb.id),
        pdb_name: module.pdb.as_ref().map(|pdb| pdb.name.clone()),
        // A 32-bit image would keep only the low half of such a base.
        pointer_size: (module.base > u64::from(u32::MAX)).then_some(8),
    }
}

/// The modules whose files are not in the index by identity, in their order, each file once.
pub fn missing<'m>(modules: &'m [Module], index: &Index) -> Vec<&'m Module> {
    let mut seen = std::collections::HashSet::new();
    let absent = modules.iter().filter(|module| !matches!(index.find(&wanted(module)), Lookup::Found { .. }));
    absent.filter(|module| seen.insert((module.name.to_lowercase(), module.timestamp, module.size))).collect()
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use kernel_snapshot::Silent;
    use symstore::Cache;

    use super::{Search, SearchErrorKind};

    #[test]
    fn a_place_that_is_not_there_and_one_without_images() {
        let dir = tempfile::tempdir().unwrap();
        let check = |place: &str, kind: SearchErrorKind, has_cause: bool| {
            let search = Search { roots: vec![dir.path().join(place)], symbol_path: Vec::new(), cache: Cache::Off };
            let error = search.index_some(&[], &Silent).unwrap_err();
            assert_eq!((error.kind(), error.source().is_some()), (kind, has_cause), "{error}");
            assert!(error.to_string().contains(place), "{error}");
        };
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        check("gone", SearchErrorKind::Root, true);
        check("empty", SearchErrorKind::NoFiles, false);
    }
}
