//! Why a job could not be done. What only went partly wrong is a warning in the report, not an error.

use std::io;
use std::path::{Path, PathBuf};

use crate::kind;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A job that could not be done. Every message names the file; those of a parser add offset, structure, what was found
/// and what is allowed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file, by its final name.
        path: PathBuf,
        /// What the operating system said, or the reader of a memory range that failed half-way.
        source: io::Error,
    },
    /// The trace is no ETW trace, or so damaged that nothing can be read from it.
    #[error("{path}: {source}")]
    Trace {
        /// The trace.
        path: PathBuf,
        /// Where and what.
        source: etl_file::Error,
    },
    /// The file is no Windows dump, or so damaged that nothing can be read from it.
    #[error("{path}: {source}")]
    Dump {
        /// The dump.
        path: PathBuf,
        /// Where and what.
        source: Box<crate::source::dump::DumpError>,
    },
    /// Dumps that do not belong together.
    #[error("{path} and the dumps given with it: {source}")]
    Merge {
        /// The first dump.
        path: PathBuf,
        /// What does not fit.
        source: crate::source::dump::MergeError,
    },
    /// The source names no kernel module, so there is nothing to put into a dump.
    #[error("{path}: {why}")]
    NoModules {
        /// The trace or dump.
        path: PathBuf,
        /// What it holds instead, and how to record what is needed.
        why: String,
    },
    /// The source is from a machine of which no dumps are made.
    #[error("{path}: recorded on a 32-bit (x86) system; dumps are made of x64 and ARM64 systems")]
    Architecture {
        /// The trace.
        path: PathBuf,
    },
    /// The source is no dump whose threads can be listed.
    #[error("{path}: {why}")]
    NoThreads {
        /// The dump.
        path: PathBuf,
        /// What it is, and what is allowed.
        why: String,
    },
    /// The PDB given for the kernel does not tell where a thread keeps what.
    #[error("{path}: {source}")]
    Pdb {
        /// The PDB.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::threads::LayoutError,
    },
    /// A directory of modules cannot be read.
    #[error("{}", with_source(.0))]
    Modules(symstore::Error),
    /// There is no PE file where module files are looked for.
    #[error("no module file in {}: {}, none of them a PE image", shown(roots), files(*looked_at))]
    NoFiles {
        /// Where was looked.
        roots: Vec<PathBuf>,
        /// How many files there are.
        looked_at: usize,
    },
    /// There is no Intel PT data.
    #[error("{name}: {why}")]
    NoIpt {
        /// The trace or dump.
        name: String,
        /// What it holds instead, and how to record what is needed.
        why: String,
    },
    /// A file of `--ipt-hex` is not hexadecimal.
    #[error("{path}: {source}")]
    Hex {
        /// The file.
        path: PathBuf,
        /// Where, what was found and what is allowed.
        source: crate::ipt::input::HexError,
    },
    /// An option's value makes no sense for this source.
    #[error("{option}{}{value}: {why}", if value.is_empty() { "" } else { " " })]
    Option {
        /// The option, as it is written.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        why: String,
    },
    /// The dump cannot be laid out: a rule of the format is broken, found before the first byte was written.
    #[error("cannot lay out {path}: {source}")]
    Layout {
        /// The output.
        path: PathBuf,
        /// Which rule, and where.
        source: mdmp::Error,
    },
}

impl Error {
    /// What to do about it, in lines of their own that hold nothing from a file; `None` when the error says it all.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::NoModules { .. } => Some(HOW_TO_RECORD.to_owned()),
            Self::NoFiles { .. } => Some(WHERE_MODULES_ARE.to_owned()),
            Self::Architecture { .. } => {
                Some("`mkdump modules` lists its modules with their bases and keys all the same.".to_owned())
            }
            Self::Trace { path, .. } => kind::is_no_trace(path),
            Self::Dump { path, .. } => kind::is_no_dump(path),
            Self::Read { path, .. } if path.is_dir() => Some("That is a directory; name the file in it.".to_owned()),
            _ => None,
        }
    }

    /// A read that failed.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// A write that failed.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

/// How to record a trace that names kernel modules.
pub(crate) const HOW_TO_RECORD: &str = "\
Record the loaded modules, as administrator, with one of:
  wpr -start GeneralProfile          then   wpr -stop trace.etl
  xperf -on PROC_THREAD+LOADER       then   xperf -d trace.etl
Both log what is loaded when the recording starts or stops, and merge the files' identities into the trace.";

/// Where module files may come from.
const WHERE_MODULES_ARE: &str = "\
Name a directory, symbol store, mounted Windows volume or zip archive with --modules; it may hold anything besides.
`mkdump fetch` gets the files from a symbol server.";

/// An error and its cause in one line.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn files(number: usize) -> String {
    if number == 1 { "1 file there".to_owned() } else { format!("{number} files there") }
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
