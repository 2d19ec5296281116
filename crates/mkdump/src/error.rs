//! Why a job could not be done. What only went partly wrong is a warning in the report, not an error.

use std::io;
use std::path::{Path, PathBuf};

use crate::ipt::InputError;
use crate::output::WriteError;
use crate::select::NoMatch;
use kernel_code::SearchError;
use kernel_snapshot::FileKind;
use kernel_snapshot::ReadError;
use kernel_snapshot::SourceError;

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
    /// The trace is not an ETW trace, or so damaged that nothing can be read from it.
    #[error("{path}: not an ETW trace that can be read: {source}")]
    Trace {
        /// The trace.
        path: PathBuf,
        /// Where and what.
        source: etl_file::Error,
    },
    /// The file is not a Windows dump, or so damaged that nothing can be read from it.
    #[error("{path}: not a dump that can be read: {source}")]
    Dump {
        /// The dump.
        path: PathBuf,
        /// Where and what.
        source: Box<kernel_snapshot::dump::DumpError>,
    },
    /// Traces that are not of one recording.
    #[error(transparent)]
    OtherRecording(kernel_snapshot::OtherRecording),
    /// Dumps that do not belong together.
    #[error("{path} and the dumps given with it: {source}")]
    Merge {
        /// The first dump.
        path: PathBuf,
        /// What does not fit.
        source: kernel_snapshot::dump::MergeError,
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
    /// The source is not a dump whose threads can be listed.
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
        source: crate::pdb::LayoutError,
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
    /// The source names no kernel module, so there is no code to follow Intel PT data over.
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
    /// A file of hexadecimal text is not hexadecimal.
    #[error("{path}: {source}")]
    Hex {
        /// The file.
        path: PathBuf,
        /// Where, what was found and what is allowed.
        source: ipt_analysis::input::HexError,
    },
    /// A file given as Intel PT data holds something else.
    #[error("{path}: not Intel PT data")]
    NotIpt {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        kind: FileKind,
    },
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

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Read(error) => error.into(),
            SourceError::Trace { path, source } => Self::Trace { path, source },
            SourceError::Dump { path, source } => Self::Dump { path, source },
            SourceError::OtherRecording(error) => Self::OtherRecording(error),
            SourceError::Merge { path, source } => Self::Merge { path, source },
        }
    }
}

impl From<SearchError> for Error {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Root(error) => Self::Modules(error),
            SearchError::NoFiles { roots, looked_at } => Self::NoFiles { roots, looked_at },
        }
    }
}

impl From<InputError> for Error {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Read(error) => error.into(),
            InputError::Hex { path, source } => Self::Hex { path, source },
            InputError::NotIpt { path, kind } => Self::NotIpt { path, kind },
        }
    }
}

impl From<NoMatch> for Error {
    fn from(error: NoMatch) -> Self {
        Self::NoNameMatches { names: error.names }
    }
}
