//! Why a job could not be done. What only went partly wrong is a warning in the report, not an error.

use std::io;
use std::path::{Path, PathBuf};

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
    /// A directory of modules cannot be read.
    #[error(transparent)]
    Modules(#[from] crate::catalog::RootError),
    /// There is no PE file where module files are looked for.
    #[error("no module file in {}: {looked_at} files there, none of them a PE image", shown(roots))]
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
    /// A read that failed.
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// A write that failed.
    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
