//! All module files of some directories by identity, and the question which of them a source means.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pe_image::Identity;
use rayon::prelude::*;

use crate::cache::{Cache, Memory, Stamp};
use crate::error::Error;
use crate::location::Location;
use crate::name::FileName;
use crate::nt_path::NtPath;
use crate::scan::{self, Content};
use crate::store::Store;
use crate::volume::Volume;
use crate::walk::Walk;
use crate::wanted::{Comparison, Difference, Doubt, Wanted, other_names, pdb_id, same_module_name};
use pe_image::PdbId;

/// What to index, and how.
#[derive(Clone, Default)]
pub struct IndexOptions<'a> {
    /// Directories, read with all below them; single files; archives; the roots of mounted Windows volumes, where
    /// only the places for kernel modules are read.
    pub roots: Vec<PathBuf>,
    /// Names of files that mark a directory as something else: one that holds such a file is not looked through, nor is
    /// anything below it.
    pub skip_beside: Vec<String>,
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
    /// Its identity when it was indexed. [`Loader::load`](crate::Loader::load) checks that it still has it.
    pub identity: Identity,
}

impl ModuleFile {
    /// The PDB that the file names: its identity and its file name.
    pub fn pdb(&self) -> Option<(PdbId, String)> {
        Some((pdb_id(&self.identity)?, self.identity.pdb.as_ref()?.name()))
    }
}

/// The answer to "where is this module?".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup<'i> {
    /// This is the file.
    Found {
        /// The file.
        file: &'i ModuleFile,
        /// Why it may still be the wrong one.
        doubts: Vec<Doubt>,
    },
    /// Several files fit equally well, but they are not the same file. None of them is taken.
    Ambiguous {
        /// The files, in the order of their paths; at least two.
        files: Vec<&'i ModuleFile>,
    },
    /// There are files of that name, but none of them is the wanted one.
    Mismatch {
        /// The one that differs least.
        closest: &'i ModuleFile,
        /// In what it differs.
        differences: Vec<Difference>,
    },
    /// There is no file of that name or identity.
    Missing,
}

/// All module files of some directories by identity.
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
    /// When a root is not there ([`Error::is_root`]). What is wrong below a root is skipped and becomes a note.
    pub fn build(options: &IndexOptions<'_>) -> Result<Self, Error> {
        let mut index = Self::default();
        let progress = Counter { options, done: AtomicUsize::new(0), total: AtomicUsize::new(0) };
        let mut seen = BTreeSet::new();
        for root in &options.roots {
            let metadata = fs::metadata(root).map_err(|error| Error::root(root, error))?;
            if metadata.is_dir() {
                fs::read_dir(root).map_err(|error| Error::root(root, error))?;
            }
            let mut walk = Walk::skipping(&options.skip_beside);
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
        let mut matches: Vec<Match<'_>> = self
            .candidates(wanted)
            .into_iter()
            .map(|file| Match { file, comparison: wanted.compare(&file.name, &file.identity) })
            .filter(|candidate| candidate.comparison.is_match())
            .collect();
        // Best first; among copies of one file the unpacked one, which costs least to read.
        matches.sort_by_cached_key(|candidate| {
            let plain = candidate.file.location.plain_path().is_some();
            (Reverse(candidate.rank(wanted)), Reverse(plain), candidate.file.location.file().to_owned())
        });
        let Some(best) = matches.first() else { return self.mismatch(wanted) };
        let rank = best.rank(wanted);
        let others = || matches.iter().filter(|other| other.file.identity != best.file.identity);
        let equals: Vec<_> = others().filter(|other| other.rank(wanted) == rank).map(|other| other.file).collect();
        if !equals.is_empty() {
            let mut files = [vec![best.file], equals].concat();
            files.sort_by(|a, b| a.location.file().cmp(b.location.file()));
            return Lookup::Ambiguous { files };
        }
        let mut doubts = best.comparison.doubts.clone();
        // The others differ from the best one in their name only: PDB and checksum, as far as the source has them, agree.
        if let Some(other) = others().find(|other| other.rank(wanted).0 == rank.0) {
            doubts.push(Doubt::OthersFit { other: other.file.location.to_string() });
        }
        Lookup::Found { file: best.file, doubts }
    }

    /// Every module file, in the order of the paths.
    pub fn files(&self) -> &[ModuleFile] {
        &self.files
    }

    /// How many files were looked at, modules or not.
    pub fn looked_at(&self) -> usize {
        self.looked_at
    }

    /// What could not be read, and what else a person may want to know, each with its place.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn mismatch(&self, wanted: &Wanted) -> Lookup<'_> {
        let names = std::iter::once(wanted.name.to_lowercase()).chain(other_names(&wanted.name));
        let same_name = names.flat_map(|name| self.by_name.get(&name).into_iter().flatten().map(|&i| &self.files[i]));
        let compared = same_name.map(|file| (file, wanted.compare(&file.name, &file.identity).differences));
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
        let mut contents: Vec<_> = paths
            .par_iter()
            .map(|path| {
                let content = content(path, &memory);
                progress.step();
                content
            })
            .collect();
        let wanted = progress.options.wanted.as_slice();
        paths.par_iter().zip(&mut contents).for_each(|(path, content)| renew(path, content, wanted));
        let settled = paths.iter().zip(&contents).filter_map(|(path, content)| {
            let read = content.as_ref().ok()?;
            Some((path.as_path(), read.stamp?, &read.content))
        });
        self.notes.extend(memory.store(settled));
        for (path, content) in paths.into_iter().zip(contents) {
            match content {
                Ok(Scanned { content, .. }) => {
                    self.notes.extend(content.remarks);
                    for scan::Found { location, name, identity } in content.found {
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
        let Self { roots, skip_beside, symbol_path, wanted, cache, progress: _ } = self;
        f.debug_struct("IndexOptions")
            .field("roots", roots)
            .field("skip_beside", skip_beside)
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

/// A file that fits, and how well.
struct Match<'i> {
    file: &'i ModuleFile,
    comparison: Comparison,
}

impl Match<'_> {
    /// Whether PDB and checksum agree, as far as the source gives them; then, worth less than those, whether the name
    /// does.
    fn rank(&self, wanted: &Wanted) -> ((bool, bool), bool) {
        let identity = &self.file.identity;
        let pdb = wanted.said_pdb().is_some() && wanted.said_pdb() == pdb_id(identity);
        let checksum = wanted.said_checksum().is_some_and(|sum| sum == identity.checksum);
        ((pdb, checksum), self.file.name.eq_ignore_ascii_case(&wanted.name))
    }
}

/// What is known about a file.
struct Scanned {
    content: Content,
    /// By what it will be recognised the next time.
    stamp: Option<Stamp>,
    /// True when the content is from the cache.
    recalled: bool,
}

fn content(path: &Path, memory: &Memory) -> io::Result<Scanned> {
    let metadata = fs::metadata(path)?;
    let stamp = Stamp::of(&metadata);
    if let Some(content) = stamp.and_then(|stamp| memory.recall(path, stamp)) {
        return Ok(Scanned { content, stamp, recalled: true });
    }
    Ok(Scanned { content: scan::content(path)?, stamp, recalled: false })
}

/// Reads a file again whose cached identity is a wanted one, if it is not packed. That costs three small reads, and some
/// file systems keep no time by which a replaced file can be told from the one before.
fn renew(path: &Path, scanned: &mut io::Result<Scanned>, wanted: &[Wanted]) {
    let Ok(Scanned { content: known, recalled: true, .. }) = scanned else { return };
    let [scan::Found { location, name, identity }] = known.found.as_slice() else { return };
    let is_wanted = |wanted: &Wanted| {
        wanted.said_timestamp().is_none_or(|stamp| stamp == identity.timestamp)
            && wanted.compare(name, identity).is_match()
    };
    if location.plain_path().is_none() || !wanted.iter().any(is_wanted) {
        return;
    }
    match scan::content(path) {
        Ok(content) if content == *known => {}
        // Without a stamp it is not kept: whatever is kept under this one would be as wrong the next time.
        Ok(content) => *scanned = Ok(Scanned { content, stamp: None, recalled: false }),
        Err(error) => *scanned = Err(error),
    }
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
