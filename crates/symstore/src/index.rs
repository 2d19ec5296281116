//! All module files of some directories by who they are, and the question which of them a trace means.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pe_image::Identity;
use rayon::prelude::*;

use super::cache::{Cache, Memory, Stamp};
use super::key::PdbId;
use super::location::Location;
use super::name::FileName;
use super::nt_path::NtPath;
use super::read::{self, Content};
use super::store::Store;
use super::volume::Volume;
use super::walk::Walk;
use super::wanted::{Difference, Wanted, Warning, other_names, pdb_id, same_module_name};

/// What to index, and how.
#[derive(Clone, Default)]
pub struct IndexOptions<'a> {
    /// Directories, read with all below them; single files; archives; the roots of mounted Windows volumes, of which
    /// only the places for kernel modules are read.
    pub roots: Vec<PathBuf>,
    /// Directories of a symbol path. They can be huge, so only the names and keys in `wanted` are looked up in them.
    pub symbol_path: Vec<PathBuf>,
    /// What will be asked for. Needed to look into volumes by path and into the directories of a symbol path.
    pub wanted: Vec<Wanted>,
    /// Where to remember what was read.
    pub cache: Cache,
    /// Called from many threads, often, with the files read so far.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// How far the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Files looked at.
    pub done: usize,
    /// Files known so far.
    pub total: usize,
}

/// A module file that the index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// Where its bytes are.
    pub location: Location,
    /// Its name there; for a packed file the name inside.
    pub name: String,
    /// Who it is.
    pub identity: Identity,
}

impl ModuleFile {
    /// The PDB that the file names: its identity and its file name.
    pub fn pdb(&self) -> Option<(Option<PdbId>, Option<String>)> {
        let id = pdb_id(&self.identity)?;
        Some((Some(id), self.identity.pdb.as_ref().map(pe_image::CodeView::name)))
    }
}

/// The answer to "where is this module?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'i> {
    /// This is the file.
    Found {
        /// The file.
        file: &'i ModuleFile,
        /// What should be said about it all the same.
        warnings: Vec<Warning>,
    },
    /// There are files of that name, none of them the one wanted. They are left out.
    Mismatch {
        /// The one that differs least.
        closest: &'i ModuleFile,
        /// In what it differs.
        differences: Vec<Difference>,
    },
    /// There is no file of that name or identity.
    Missing,
}

/// A root that cannot be read at all. Anything smaller is a note in [`Index::notes`].
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be read as a directory of modules: {error}", path = path.display())]
pub struct RootError {
    /// The root as it was given.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

/// All module files of some directories by who they are.
#[derive(Clone, Debug, Default)]
pub struct Index {
    files: Vec<ModuleFile>,
    notes: Vec<String>,
    looked_at: usize,
    by_timestamp: HashMap<u32, Vec<usize>>,
    by_guid: HashMap<[u8; 16], Vec<usize>>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Index {
    /// Reads the headers of every file below the roots, in parallel.
    ///
    /// Costs a directory listing and, for each file that changed since the cache was written, three small reads. Holds
    /// a few hundred bytes per module; for packed files, per thread, what has to be unpacked to see the headers.
    ///
    /// # Errors
    /// When a root is not there. What is wrong below a root is told by [`Index::notes`] and skipped.
    pub fn build(options: &IndexOptions<'_>) -> Result<Self, RootError> {
        let mut index = Self::default();
        let progress = Counter { options, done: AtomicUsize::new(0), total: AtomicUsize::new(0) };
        let mut seen = BTreeSet::new();
        for root in &options.roots {
            let metadata = fs::metadata(root).map_err(|error| RootError { path: root.clone(), error })?;
            if metadata.is_dir() {
                fs::read_dir(root).map_err(|error| RootError { path: root.clone(), error })?;
            }
            let mut walk = Walk::default();
            let mut volume = Volume::detect(root);
            match &mut volume {
                Some(volume) => volume.parts().iter().for_each(|part| walk.add(&part.dir, part.recursive)),
                None => walk.add(root, true),
            }
            if let Some(volume) = &mut volume {
                let paths = options.wanted.iter().filter_map(|wanted| NtPath::parse(wanted.path.as_deref()?));
                let files = paths.filter_map(|path| volume.resolve(&path)).filter(|path| path.is_file());
                walk.files.extend(files);
            }
            for (dir, error) in walk.unreadable.drain(..) {
                index.notes.push(format!("{}: not read: {error}", dir.display()));
            }
            index.add(walk.files, &mut seen, Some((&options.cache, root)), &progress);
            if let Some(volume) = &mut volume {
                // Servicing keeps older versions; they are worth the long listing only if something is missing.
                let missing: Vec<String> = index.missing(options).map(|wanted| wanted.name.to_lowercase()).collect();
                if !missing.is_empty() {
                    index.add(volume.component_store(&missing), &mut seen, None, &progress);
                }
            }
        }
        let mut probed = Vec::new();
        for dir in &options.symbol_path {
            let store = Store::open(dir);
            probed.extend(index.missing(options).flat_map(|wanted| probe(&store, wanted)));
        }
        index.add(probed, &mut seen, None, &progress);
        Ok(index)
    }

    /// The file that is the wanted module, by identity and never by name alone; else the nearest file of that name.
    pub fn find(&self, wanted: &Wanted) -> Lookup<'_> {
        let mut matches: Vec<_> = self
            .candidates(wanted)
            .into_iter()
            .map(|file| (file, wanted.compare(&file.name, &file.identity)))
            .filter(|(_, comparison)| comparison.is_match())
            .collect();
        // Best first: what the source says beyond stamp and size, then the name, then what needs no unpacking.
        matches.sort_by_cached_key(|(file, comparison)| {
            let checksum = wanted.said_checksum().is_some_and(|sum| sum == file.identity.checksum);
            let pdb = wanted.said_pdb().is_some() && wanted.said_pdb() == pdb_id(&file.identity);
            let name = file.name.eq_ignore_ascii_case(&wanted.name);
            let plain = file.location.plain_path().is_some();
            (Reverse((pdb, checksum, name)), comparison.warnings.len(), Reverse(plain), file.location.file().to_owned())
        });
        let Some((file, comparison)) = matches.first() else { return self.mismatch(wanted) };
        let mut warnings = comparison.warnings.clone();
        let other = |other: &&ModuleFile| other.identity != file.identity && !said_apart(wanted, file, other);
        if let Some(other) = matches[1..].iter().map(|(file, _)| *file).find(other) {
            if warnings.contains(&Warning::OnlySizeKnown) {
                return Lookup::Mismatch { closest: file, differences: vec![Difference::NothingSaid] };
            }
            warnings.push(Warning::Ambiguous { other: other.location.to_string() });
        }
        Lookup::Found { file, warnings }
    }

    /// Every module file, in the order of the paths.
    pub fn files(&self) -> &[ModuleFile] {
        &self.files
    }

    /// How many files were looked at, modules or not.
    pub fn looked_at(&self) -> usize {
        self.looked_at
    }

    /// What could not be read and what else the user may want to know, each with its place.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn mismatch(&self, wanted: &Wanted) -> Lookup<'_> {
        let names = std::iter::once(wanted.name.to_lowercase()).chain(other_names(&wanted.name));
        let same_name = names.flat_map(|name| self.by_name.get(&name).into_iter().flatten().map(|&i| &self.files[i]));
        let compared = same_name.map(|file| (file, wanted.compare(&file.name, &file.identity).differences));
        // Two files of a name may both "differ in nothing" only if they were ambiguous; those were answered before.
        match compared.min_by_key(|(_, differences)| differences.len()) {
            Some((closest, differences)) => Lookup::Mismatch { closest, differences },
            None => Lookup::Missing,
        }
    }

    /// Files that may be the wanted one: those with its stamp or PDB, and if it has neither those with its name or
    /// checksum.
    fn candidates(&self, wanted: &Wanted) -> Vec<&ModuleFile> {
        let files = |list: Option<&Vec<usize>>| list.into_iter().flatten().map(|&i| &self.files[i]).collect::<Vec<_>>();
        if let Some(timestamp) = wanted.said_timestamp() {
            files(self.by_timestamp.get(&timestamp))
        } else if let Some(pdb) = wanted.said_pdb() {
            files(self.by_guid.get(&pdb.guid.0))
        } else if let Some(checksum) = wanted.said_checksum() {
            self.files.iter().filter(|file| file.identity.checksum == checksum).collect()
        } else {
            self.files.iter().filter(|file| same_module_name(&file.name, &wanted.name)).collect()
        }
    }

    fn missing<'o>(&'o self, options: &'o IndexOptions<'_>) -> impl Iterator<Item = &'o Wanted> {
        options.wanted.iter().filter(|wanted| !matches!(self.find(wanted), Lookup::Found { .. }))
    }

    fn add(
        &mut self,
        mut paths: Vec<PathBuf>,
        seen: &mut BTreeSet<PathBuf>,
        cache: Option<(&Cache, &Path)>,
        progress: &Counter<'_>,
    ) {
        paths.sort();
        paths.dedup();
        paths.retain(|path| !seen.contains(path));
        progress.total.fetch_add(paths.len(), Ordering::Relaxed);
        let (memory, note) = cache.map(|(cache, root)| Memory::load(cache, root)).unwrap_or_default();
        self.notes.extend(note);
        let contents: Vec<_> = paths
            .par_iter()
            .map(|path| {
                let content = content(path, &memory);
                progress.step();
                content
            })
            .collect();
        let settled = paths.iter().zip(&contents).filter_map(|(path, content)| {
            let (stamp, content) = content.as_ref().ok()?;
            Some((path.as_path(), (*stamp)?, content))
        });
        self.notes.extend(memory.store(settled));
        for (path, content) in paths.into_iter().zip(contents) {
            match content {
                Ok((_, content)) => {
                    self.notes.extend(content.remarks);
                    for read::Found { location, name, identity } in content.found {
                        self.insert(ModuleFile { location, name, identity });
                    }
                }
                Err(error) => self.notes.push(format!("{}: not read: {error}", path.display())),
            }
            self.looked_at += 1;
            seen.insert(path);
        }
    }

    fn insert(&mut self, file: ModuleFile) {
        let number = self.files.len();
        self.by_timestamp.entry(file.identity.timestamp).or_default().push(number);
        self.by_name.entry(file.name.to_lowercase()).or_default().push(number);
        if let Some(pdb) = pdb_id(&file.identity) {
            self.by_guid.entry(pdb.guid.0).or_default().push(number);
        }
        self.files.push(file);
    }
}

impl fmt::Debug for IndexOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { roots, symbol_path, wanted, cache, progress: _ } = self;
        f.debug_struct("IndexOptions")
            .field("roots", roots)
            .field("symbol_path", symbol_path)
            .field("wanted", wanted)
            .field("cache", cache)
            .finish_non_exhaustive()
    }
}

struct Counter<'a> {
    options: &'a IndexOptions<'a>,
    done: AtomicUsize,
    total: AtomicUsize,
}

impl Counter<'_> {
    fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = self.options.progress {
            progress(Progress { done, total: self.total.load(Ordering::Relaxed) });
        }
    }
}

/// True when the source says something by which one of the two files is preferred.
fn said_apart(wanted: &Wanted, a: &ModuleFile, b: &ModuleFile) -> bool {
    let checksum = wanted.said_checksum().is_some() && a.identity.checksum != b.identity.checksum;
    checksum || (wanted.said_pdb().is_some() && pdb_id(&a.identity) != pdb_id(&b.identity))
}

fn content(path: &Path, memory: &Memory) -> io::Result<(Option<Stamp>, Content)> {
    let metadata = fs::metadata(path)?;
    let stamp = Stamp::of(&metadata);
    if let Some(content) = stamp.and_then(|stamp| memory.recall(path, stamp)) {
        return Ok((stamp, content));
    }
    Ok((stamp, read::content(path)?))
}

/// Where a debugger would look for a module in a directory of its symbol path: by key, and flat in the directory and
/// in its `sys`, `dll` and `exe`.
fn probe(store: &Store, wanted: &Wanted) -> Vec<PathBuf> {
    let names = std::iter::once(wanted.name.clone()).chain(other_names(&wanted.name));
    let mut found = Vec::new();
    for name in names.filter_map(|name| FileName::new(&name).ok()) {
        if let Some(key) = wanted.image_key() {
            found.extend(store.lookup(&name, &key));
        }
        let flat = ["", "sys", "dll", "exe"].map(|below| store.root().join(below).join(name.as_str()));
        found.extend(flat.into_iter().filter(|path| path.is_file()));
    }
    found
}
