//! Why a job could not be done. What only went partly wrong is a warning in the report, not an error.

use std::io;
use std::path::{Path, PathBuf};

use kernel_code::SearchError;
use kernel_snapshot::{ReadError, SourceError};

use crate::ipt::InputError;
use crate::select::NoMatch;
use whole_output::WriteError;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A job that could not be done. Every message names the file. Its causes ([`std::error::Error::source`]) say the rest:
/// those of a parser offset, structure, what was found and what is allowed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file, by its final name.
        path: PathBuf,
        /// What the operating system said, or the reader of a memory range that failed half-way.
        source: io::Error,
    },
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source names no kernel module, so there is nothing to put into a dump.
    #[error("{path}: {why}")]
    NoModules {
        /// The trace or dump.
        path: PathBuf,
        /// What it holds instead, and how to record what is needed.
        why: String,
    },
    /// The source is from a machine whose dumps cannot be made.
    #[error("{path}: recorded on a 32-bit (x86) system; dumps are made of x64 and ARM64 systems")]
    Architecture {
        /// The trace.
        path: PathBuf,
    },
    /// The source is not a dump whose threads can be listed.
    #[error("{path}: {why}")]
    NoThreads {
        /// The dump.
        path: PathBuf,
        /// What it is, and what is allowed.
        why: String,
    },
    /// The source is not a dump whose trace sessions can be listed.
    #[error("{path}: {why}")]
    NoSessions {
        /// The dump.
        path: PathBuf,
        /// What it is, and what is allowed.
        why: String,
    },
    /// The layout of the kernel's trace sessions is not known; its PDB says it.
    #[error("{path}: the layout of this kernel's trace sessions is not known; {}", wanted_pdb(pdb.as_ref()))]
    UnknownSessions {
        /// The dump.
        path: PathBuf,
        /// The PDB, when the dump names it.
        pdb: Option<kernel_snapshot::Pdb>,
        /// What was tried and did not fit.
        tried: Vec<String>,
    },
    /// The PDB given for the kernel cannot be used.
    #[error("{path}: not the PDB of the dump's kernel")]
    KernelPdb {
        /// The PDB.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::pdb::PdbError,
    },
    /// The PDB given for the kernel does not say where a thread object has its fields.
    #[error("{path}: it does not say where a thread object has its fields")]
    Pdb {
        /// The PDB.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::pdb::PdbError,
    },
    /// Module files cannot be looked for.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// The source names no kernel module. Following Intel PT data needs the code of modules.
    #[error("{name}: there is no code to follow the Intel PT data over: {why}")]
    NoCode {
        /// The trace or dump.
        name: String,
        /// What it holds instead.
        why: String,
    },
    /// There is no Intel PT data.
    #[error("{name}: {why}")]
    NoIpt {
        /// The trace or dump.
        name: String,
        /// What it holds instead, and how to record what is needed.
        why: String,
    },
    /// A file given as Intel PT data cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Only what the Intel PT data touches is wanted, and there is no such data.
    #[error("{path}: there is no Intel PT data to say which modules were touched")]
    NothingTouched {
        /// The trace or dump.
        path: PathBuf,
    },
    /// The moment lies outside the source.
    #[error(transparent)]
    Moment(#[from] kernel_snapshot::MomentError),
    /// A pattern for names is not a glob.
    #[error(transparent)]
    Pattern(#[from] crate::select::PatternError),
    /// The patterns for names leave no module.
    #[error("no module matches; {}", told(names))]
    NoNameMatches {
        /// The names of the modules that there are.
        names: Vec<String>,
    },
    /// The choice of snapshots leaves none.
    #[error(transparent)]
    Choice(#[from] ipt_analysis::choose::ChoiceError),
    /// The format cannot show the source's machine.
    #[error("{path}: {format} files of 32-bit systems are not written")]
    Format {
        /// The source.
        path: PathBuf,
        /// Name of the format.
        format: &'static str,
    },
    /// The dump cannot be laid out: a rule of the format is broken, found before the first byte was written.
    #[error("cannot lay out {path}")]
    Layout {
        /// The output.
        path: PathBuf,
        /// Which rule, and where.
        source: mdmp::Error,
    },
}

impl Error {
    /// A read that failed.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// A write that failed.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

/// An error with its causes in one line, for a warning.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Which PDB has to be given.
fn wanted_pdb(pdb: Option<&kernel_snapshot::Pdb>) -> String {
    match pdb {
        Some(pdb) => {
            format!("its PDB says it: {} {}{:X}", pdb.name, pdb.id.guid.to_string().replace('-', ""), pdb.id.age)
        }
        None => "its PDB says it, which the dump does not name".into(),
    }
}

/// The first few names of modules.
fn told(names: &[String]) -> String {
    const TOLD: usize = 5;
    let first = names.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        1 => format!("there is {first} only"),
        count if count <= TOLD => format!("there are {first}"),
        count => format!("there are {count} modules, such as {first}"),
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        Self::Read { path: error.path, source: error.source }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        Self::Write { path: error.path, source: error.source }
    }
}

impl From<NoMatch> for Error {
    fn from(error: NoMatch) -> Self {
        Self::NoNameMatches { names: error.names }
    }
}
