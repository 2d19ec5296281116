//! The trace sessions of a dump, and where the layout of their structures comes from.

use std::path::{Path, PathBuf};

use etw_sessions::KernelTypes;
use kernel_code::Search;
use kernel_snapshot::dump::{Dump, DumpSessions, NoSessions};
use kernel_snapshot::{FileBytes, Held, Pdb, Reading, Snapshot};
use symstore::pdb::PdbFinder;

use crate::error::{Error, Result, in_full};
use crate::pdb::kernel_types;

/// Where the kernel's PDB may be.
#[derive(Clone, Debug, Default)]
pub struct SessionListOptions {
    /// The kernel's PDB.
    pub pdb: Option<PathBuf>,
    /// Where to look for it when it is not given: the symbol stores among these places.
    pub search: Search,
}

/// A dump's trace sessions.
#[derive(Debug)]
pub struct SessionList<'r> {
    /// The dump.
    pub reading: &'r Reading<'r>,
    /// The sessions.
    pub found: DumpSessions<'r>,
    /// The kernel's PDB that was read.
    pub pdb: Option<PathBuf>,
    /// What is damaged or doubtful.
    pub warnings: Vec<String>,
}

/// Finds the trace sessions of a dump.
///
/// # Errors
/// When the source is not a kernel dump, the PDB that was given cannot be read or is another kernel's, or the layout of the
/// kernel's structures is not known. A PDB that was looked for and not found, or that is unfit, is a warning.
pub fn find_sessions<'r>(reading: &'r Reading<'_>, options: &SessionListOptions) -> Result<SessionList<'r>> {
    let path = || Path::new(&reading.summary.name).to_owned();
    let Some(dump) = dump(reading) else {
        let why = "this is an ETW trace; trace sessions are listed of kernel dumps";
        return Err(Error::NoSessions { path: path(), why: why.into() });
    };
    let mut warnings = reading.warnings.clone();
    let wanted = kernel_pdb(&reading.snapshot);
    let types = match (&options.pdb, wanted) {
        (Some(file), wanted) => Some((read(file, wanted)?, file.clone())),
        (None, Some(wanted)) => search(wanted, &options.search, &mut warnings),
        (None, None) => None,
    };
    let (types, pdb) = types.unzip();
    let found = dump.sessions(types.as_ref()).map_err(|error| refuse(error, path(), wanted))?;
    if let Some(unknown) = &found.instead {
        warnings.extend(unknown.warnings.iter().map(ToString::to_string));
        warnings.push(format!("{unknown}; listed is what the kernel copied when it stopped"));
    }
    warnings.extend(found.sessions.warnings.iter().map(ToString::to_string));
    Ok(SessionList { reading, found, pdb, warnings })
}

/// The dump; the first of several of one boot.
fn dump<'r>(reading: &'r Reading<'_>) -> Option<&'r Dump<'r>> {
    match reading.held.as_ref()? {
        Held::Boot(boot) => boot.dumps.first(),
        Held::Dump(dump) => Some(dump),
    }
}

/// The PDB that the kernel's image names.
fn kernel_pdb(snapshot: &Snapshot) -> Option<&Pdb> {
    let base = snapshot.kernel_base?;
    snapshot.modules.iter().find(|module| module.base == base)?.pdb.as_ref()
}

fn read(path: &Path, wanted: Option<&Pdb>) -> Result<KernelTypes> {
    let bytes = FileBytes::open(path)?;
    kernel_types(&bytes, wanted.map(|pdb| pdb.id)).map_err(|source| Error::KernelPdb { path: path.to_owned(), source })
}

fn search(wanted: &Pdb, search: &Search, warnings: &mut Vec<String>) -> Option<(KernelTypes, PathBuf)> {
    let found = PdbFinder::new(&search.roots, &search.symbol_path).find(&wanted.name, wanted.id, None);
    let Some(path) = found.path else {
        warnings.extend(found.rejected.iter().map(|(path, why)| format!("{}: {why}", path.display())));
        return None;
    };
    match read(&path, Some(wanted)) {
        Ok(types) => Some((types, path)),
        Err(error) => {
            warnings.push(in_full(&error));
            None
        }
    }
}

fn refuse(error: NoSessions, path: PathBuf, pdb: Option<&Pdb>) -> Error {
    match error {
        NoSessions::Unknown(unknown) => {
            let tried = unknown.warnings.iter().map(ToString::to_string).collect();
            Error::UnknownSessions { path, pdb: pdb.cloned(), tried }
        }
        other => Error::NoSessions { path, why: other.to_string() },
    }
}
