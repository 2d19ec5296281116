//! The kernel's PDB: which one it is, and where it lies in the symbol stores at hand.

use std::borrow::Borrow;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use kernel_code::Search;
use kernel_snapshot::threads::ThreadLayout;
use kernel_snapshot::{FileBytes, Module, Pdb, Snapshot};
use symstore::pdb::{PdbFinder, PdbIdentity};
use symstore::{Guid, Index, Lookup, PdbId};

use crate::error::{Error, Result, in_full};
use crate::pdb::thread_layout;

/// A PDB that was read.
pub(super) struct ReadPdb {
    pub(super) layout: ThreadLayout,
    /// Its GUID, if it can be read. The age is ignored: it counts rewrites of the same PDB.
    guid: Option<Guid>,
}

/// Reads the PDB that the caller names.
pub(super) fn read_pdb(path: &Path) -> Result<ReadPdb> {
    let bytes = FileBytes::open(path)?;
    let layout = thread_layout(&bytes).map_err(|source| Error::Pdb { path: path.to_owned(), source })?;
    Ok(ReadPdb { layout, guid: PdbIdentity::read(Cursor::new(&*bytes)).ok().map(|pdb| pdb.guid) })
}

/// The PDB that the kernel of a dump was linked with.
pub(super) struct KernelPdb(Pdb);

impl KernelPdb {
    /// As the dump says it, or else the kernel's file, if that is in the index. The index is made only when it is needed.
    pub(super) fn of<I: Borrow<Index>>(
        snapshot: &Snapshot,
        index: impl FnOnce(&Module) -> Option<I>,
    ) -> Option<KernelPdb> {
        let base = snapshot.kernel_base?;
        let kernel = snapshot.modules.iter().find(|module| module.base == base)?;
        if let Some(pdb) = &kernel.pdb {
            return Some(KernelPdb(pdb.clone()));
        }
        let index = index(kernel)?;
        let Lookup::Found { file, .. } = index.borrow().find(&kernel_code::wanted(kernel)) else { return None };
        let (id, name) = file.pdb()?;
        Some(KernelPdb(Pdb { name, id }))
    }

    /// Finds it and reads it.
    pub(super) fn find(&self, search: &Search, warnings: &mut Vec<String>) -> Option<(ThreadLayout, PathBuf)> {
        let found = PdbFinder::new(&search.roots, &search.symbol_path).find(&self.0.name, self.0.id, None);
        let Some(path) = found.path else {
            warnings.extend(found.rejected.iter().map(|(path, why)| format!("{}: {why}", path.display())));
            return None;
        };
        match read_pdb(&path) {
            Ok(pdb) => Some((pdb.layout, path)),
            Err(error) => {
                warnings.push(in_full(&error));
                None
            }
        }
    }

    /// Complains about a PDB of another kernel.
    pub(super) fn differs(&self, pdb: &ReadPdb, path: &Path) -> Option<String> {
        let PdbId { guid, .. } = self.0.id;
        let found = pdb.guid.filter(|found| *found != guid)?;
        Some(format!(
            "{}: found GUID {}, the dump's kernel has {} ({}): its offsets may not fit",
            path.display(),
            found,
            guid,
            self.0.name
        ))
    }
}
