//! A symbol store: the directory layout in which debuggers look files up.
//!
//! Images go to `name/<TimeDateStamp %08X><SizeOfImage %x>/name`, PDBs to `pdb/<GUID><age %X>/pdb`, which is what
//! symsrv asks for on a disk and over HTTP.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::system::System;

/// Whether the store holds the images too. Without them a debugger has nothing but what the dump says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// PDB files alone.
    PdbsOnly,
    /// PDB files and images.
    PdbsAndImages,
}

/// Builds a store of a whole system in an empty directory.
pub fn build(store: &Path, system: &System, contents: Contents) -> Result<()> {
    if store.exists() {
        std::fs::remove_dir_all(store)?;
    }
    for module in &system.modules {
        if contents == Contents::PdbsAndImages {
            put(store, &module.image.name(), &module.image.key(), &module.image.path)?;
        }
        if let Some(id) = &module.image.pdb {
            put(store, &id.name, &id.key(), &module.pdb)?;
        }
    }
    Ok(())
}

fn put(store: &Path, name: &str, key: &str, file: &Path) -> Result<PathBuf> {
    let dir = store.join(name).join(key);
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(name);
    std::fs::copy(file, &path).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(path)
}
