//! Lists the files below a directory, once each, whatever links and locked doors there are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a walk has found so far.
#[derive(Debug, Default)]
pub(crate) struct Walk<'n> {
    /// Names of files: a directory that holds one of them is left out with all below it.
    skip_beside: &'n [String],
    /// Regular files, or links to them, in no particular order; a file may be there twice.
    pub(crate) files: Vec<PathBuf>,
    /// Directories that could not be read, and why.
    pub(crate) unreadable: Vec<(PathBuf, std::io::Error)>,
    /// Directories already listed, and whether with all below them: a link back to one of them ends there. This also
    /// makes overlapping roots cost once.
    seen: HashMap<Visited, bool>,
}

impl<'n> Walk<'n> {
    /// A walk that leaves out directories with a file of one of these names.
    pub(crate) fn skipping(names: &'n [String]) -> Self {
        Self { skip_beside: names, ..Self::default() }
    }

    /// Adds the files of `root`, which is a directory or a single file.
    pub(crate) fn add(&mut self, root: &Path, recursive: bool) {
        if root.is_file() {
            self.files.push(root.to_owned());
            return;
        }
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            let visited = match identify(&dir) {
                Ok(visited) => visited,
                Err(error) => {
                    self.unreadable.push((dir, error));
                    continue;
                }
            };
            let known = self.seen.entry(visited).or_insert(false);
            if *known {
                continue;
            }
            *known = recursive;
            if self.skip_beside.iter().any(|name| dir.join(name).is_file()) {
                continue;
            }
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(error) => {
                    self.unreadable.push((dir, error));
                    continue;
                }
            };
            for entry in entries {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.unreadable.push((dir.clone(), error));
                        break;
                    }
                };
                let path = entry.path();
                // A link counts as what it leads to; one that leads nowhere is nothing. Devices, pipes and sockets are
                // never opened: that could wait forever.
                let kind = entry.file_type().ok().filter(|kind| !kind.is_symlink());
                let kind = kind.or_else(|| fs::metadata(&path).ok().map(|metadata| metadata.file_type()));
                match kind {
                    Some(kind) if kind.is_file() => self.files.push(path),
                    Some(kind) if kind.is_dir() && recursive => open.push(path),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(unix)]
type Visited = (u64, u64);

/// Device and inode: the same directory has the same pair under every name.
#[cfg(unix)]
fn identify(dir: &Path) -> std::io::Result<Visited> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(dir).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
type Visited = PathBuf;

#[cfg(not(unix))]
fn identify(dir: &Path) -> std::io::Result<Visited> {
    fs::canonicalize(dir)
}

#[cfg(test)]
mod tests {
    use super::Walk;
    use std::fs;

    #[cfg(unix)]
    #[test]
    fn loops_end_and_links_count() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("outside")).unwrap();
        for file in ["a/1", "a/b/2", "outside/3"] {
            fs::write(root.join(file), "x").unwrap();
        }
        symlink(root.join("a"), root.join("a/b/up")).unwrap();
        symlink(root.join("a/b"), root.join("a/again")).unwrap();
        symlink(root.join("outside"), root.join("a/out")).unwrap();
        symlink(root.join("nowhere"), root.join("a/dangling")).unwrap();
        symlink(root.join("a/self"), root.join("a/self")).unwrap();
        symlink("/dev/zero", root.join("a/device")).unwrap();
        let mut walk = Walk::default();
        walk.add(&root.join("a"), true);
        walk.add(&root.join("a/b"), true);
        let mut names: Vec<_> = walk.files.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(names, ["1", "2", "3"]);
        assert!(walk.unreadable.is_empty(), "{:?}", walk.unreadable);
    }

    #[test]
    fn a_marked_directory_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("marked/below")).unwrap();
        for file in ["1.sys", "marked/mark", "marked/2.sys", "marked/below/3.sys"] {
            fs::write(root.join(file), "x").unwrap();
        }
        let names = ["mark".to_owned()];
        for (root, found) in [(root.to_owned(), 1), (root.join("marked"), 0), (root.join("marked/below"), 1)] {
            let mut walk = Walk::skipping(&names);
            walk.add(&root, true);
            assert_eq!(walk.files.len(), found, "{}: {:?}", root.display(), walk.files);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_reported_and_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let mut walk = Walk::default();
        walk.add(&dir.path().join("gone"), true);
        assert_eq!(walk.unreadable.len(), 1);
    }
}
