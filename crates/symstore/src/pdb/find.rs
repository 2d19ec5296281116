//! Where PDBs are looked for: one rule for everybody who needs one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pe_image::pdb_key;

use super::PdbIdentity;
use crate::name::{FileName, last_component};
use crate::store::Store;
use crate::volume::Volume;
use pe_image::PdbId;

/// Finds PDBs by identity. In this order:
///
/// 1. by name and key in every root and every directory of the symbol path, as symbol stores keep them;
/// 2. by name beside the module's own file;
/// 3. by name in the directories of the symbol path;
/// 4. by name anywhere below the roots. A mounted Windows volume is not searched: it is large and has no PDBs.
///
/// The identity of each candidate is read, and the first one that has the wanted identity is found.
#[derive(Debug)]
pub struct PdbFinder {
    roots: Vec<PathBuf>,
    symbol_path: Vec<PathBuf>,
    stores: Vec<Store>,
    /// PDBs below the roots by their names in lower case; listed when the first one is needed.
    below: OnceLock<HashMap<String, Vec<PathBuf>>>,
}

/// The answer to a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundPdb {
    /// The PDB with the wanted identity.
    pub path: Option<PathBuf>,
    /// Files of that name that were passed over, and why.
    pub rejected: Vec<(PathBuf, String)>,
}

impl PdbFinder {
    /// A finder for these roots and directories of a symbol path.
    pub fn new(roots: &[PathBuf], symbol_path: &[PathBuf]) -> Self {
        let stores = roots.iter().chain(symbol_path).map(Store::open).collect();
        Self { roots: roots.to_vec(), symbol_path: symbol_path.to_vec(), stores, below: OnceLock::new() }
    }

    /// Finds the PDB with this identity. `name` may be a path, of which the last component counts; `module` is the file
    /// of the module that names the PDB, if there is one on disk.
    pub fn find(&self, name: &str, id: PdbId, module: Option<&Path>) -> FoundPdb {
        let Ok(name) = FileName::new(last_component(name)) else { return FoundPdb::default() };
        let mut found = FoundPdb::default();
        let by_key = self.stores.iter().flat_map(|store| store.lookup(&name, &pdb_key(&id.guid.0, id.age)));
        let beside = module.and_then(Path::parent).map(|dir| dir.join(name.as_str()));
        let flat = self.symbol_path.iter().map(|dir| dir.join(name.as_str()));
        let near = by_key.chain(beside).chain(flat);
        if !found.take_first(near, id) {
            let below = self.below.get_or_init(|| self.list()).get(&name.as_str().to_lowercase());
            found.take_first(below.into_iter().flatten().cloned(), id);
        }
        found
    }

    fn list(&self) -> HashMap<String, Vec<PathBuf>> {
        let mut below: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for root in self.roots.iter().filter(|root| Volume::detect(root).is_none()) {
            for path in pdbs_below(root) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
                below.entry(name).or_default().push(path);
            }
        }
        below.values_mut().for_each(|paths| paths.sort());
        below
    }
}

impl FoundPdb {
    /// Takes the first candidate with the identity; false if there is none.
    fn take_first(&mut self, candidates: impl IntoIterator<Item = PathBuf>, id: PdbId) -> bool {
        for path in candidates {
            if !path.is_file() || self.rejected.iter().any(|(known, _)| *known == path) {
                continue;
            }
            match identity(&path) {
                Ok(identity) if identity.is(id) => {
                    self.path = Some(path);
                    return true;
                }
                Ok(identity) => self.rejected.push((path, format!("it is {}, wanted is {id}", identity.id()))),
                Err(why) => self.rejected.push((path, why)),
            }
        }
        false
    }
}

fn identity(path: &Path) -> Result<PdbIdentity, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    PdbIdentity::read(io::BufReader::with_capacity(512, file)).map_err(|error| error.to_string())
}

/// PDB files below a directory, without following links. Directories that cannot be read have none.
fn pdbs_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("pdb")) => {
                    found.push(path);
                }
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::PdbFinder;
    use pe_image::{Guid, PdbId};
    use std::fs;
    use std::path::Path;
    use testkit::catalog::pdb;

    const GUID: &str = "ed706a38-6592-40a0-66e6-fb19b994baaa";
    const OTHER: &str = "0f693ceb-b815-cf80-a5d4-86d10b730ba7";

    #[test]
    fn stores_come_first_then_neighbours_then_anything_below() {
        let dir = tempfile::tempdir().unwrap();
        let (root, path) = (dir.path().join("root"), dir.path().join("path"));
        let put = |file: &Path, bytes: &[u8]| {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        };
        let id = PdbId { guid: Guid::parse(GUID).unwrap(), age: 1 };
        let key = GUID.replace('-', "").to_uppercase() + "1";
        let places = [
            root.join("foo.pdb").join(&key).join("foo.pdb"),
            root.join("drivers/foo.pdb"),
            path.join("foo.pdb"),
            root.join("elsewhere/deep/FOO.PDB"),
        ];
        // Right but less preferred ones are passed over; so are wrong ones in a preferred place.
        for (number, place) in places.iter().enumerate() {
            for (other, place) in places.iter().enumerate() {
                let guid = if other < number { OTHER } else { GUID };
                put(place, &pdb(guid, 1));
            }
            let finder = PdbFinder::new(std::slice::from_ref(&root), std::slice::from_ref(&path));
            let found = finder.find(r"C:\build\foo.pdb", id, Some(&root.join("drivers/foo.sys")));
            assert_eq!(found.path.as_ref(), Some(place));
            assert_eq!(found.rejected.len(), number);
        }
        put(&places[3], b"not a PDB");
        let finder = PdbFinder::new(std::slice::from_ref(&root), &[]);
        let found = finder.find("foo.pdb", id, None);
        assert_eq!(found.path, None);
        assert!(found.rejected.iter().any(|(_, why)| why.contains("not a PDB")), "{found:?}");
        assert_eq!(finder.find("..", id, None), Default::default());
    }
}
