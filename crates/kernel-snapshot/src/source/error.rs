//! Why a source cannot be read.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::OtherRecording;
use crate::dump::{DumpError, MergeError};
use crate::file_bytes::ReadError;

/// Why a source cannot be read. Says which file; the cause ([`Error::source`]) says where in it, what was found, and what
/// is allowed.
#[derive(Debug)]
pub struct SourceError {
    path: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Read(io::Error),
    Trace(etl_file::Error),
    Dump(Box<DumpError>),
    Merge(MergeError),
    OtherRecording(Box<OtherRecording>),
}

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// The operating system does not give the file.
    Unreadable,
    /// The file is not an ETW trace, or so damaged that nothing can be read from it.
    NotATrace,
    /// The file is not a Windows dump, or so damaged that nothing can be read from it.
    NotADump,
    /// The traces are not of one recording.
    NotOneRecording,
    /// The dumps do not belong together.
    NotOneBoot,
}

impl SourceError {
    /// A file that is not a dump.
    pub fn not_a_dump(path: &Path, error: DumpError) -> Self {
        Self { path: path.to_owned(), cause: Cause::Dump(Box::new(error)) }
    }

    pub(super) fn not_a_trace(path: &Path, error: etl_file::Error) -> Self {
        Self { path: path.to_owned(), cause: Cause::Trace(error) }
    }

    pub(super) fn not_one_boot(first: &Path, error: MergeError) -> Self {
        Self { path: first.to_owned(), cause: Cause::Merge(error) }
    }

    pub(super) fn not_one_recording(path: &Path, error: OtherRecording) -> Self {
        Self { path: path.to_owned(), cause: Cause::OtherRecording(Box::new(error)) }
    }

    /// The file; of several that do not belong together, one of them.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    pub fn kind(&self) -> SourceErrorKind {
        match self.cause {
            Cause::Read(_) => SourceErrorKind::Unreadable,
            Cause::Trace(_) => SourceErrorKind::NotATrace,
            Cause::Dump(_) => SourceErrorKind::NotADump,
            Cause::Merge(_) => SourceErrorKind::NotOneBoot,
            Cause::OtherRecording(_) => SourceErrorKind::NotOneRecording,
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.cause {
            Cause::Read(_) => write!(f, "cannot read {path}"),
            Cause::Trace(_) => write!(f, "{path}: not a trace that can be read"),
            Cause::Dump(_) => write!(f, "{path}: not a dump that can be read"),
            Cause::Merge(_) => write!(f, "{path}: the dumps given with it do not belong to it"),
            Cause::OtherRecording(_) => write!(f, "{path}: not of the same recording as the first trace"),
        }
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match &self.cause {
            Cause::Read(error) => error,
            Cause::Trace(error) => error,
            Cause::Dump(error) => &**error,
            Cause::Merge(error) => error,
            Cause::OtherRecording(error) => &**error,
        })
    }
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        Self { path: error.path, cause: Cause::Read(error.source) }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::{SourceError, SourceErrorKind};
    use crate::{Silent, Source, Wanted};

    #[test]
    fn an_error_names_the_file_and_leaves_the_cause_to_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.bin");
        std::fs::write(&path, b"neither a trace nor a dump").unwrap();
        let check = |error: &SourceError, kind: SourceErrorKind| {
            assert_eq!((error.kind(), error.path()), (kind, &*path));
            let (text, cause) = (error.to_string(), error.source().unwrap().to_string());
            assert!(text.contains("other.bin") && !text.contains(&cause), "{text}: {cause}");
        };
        let read = |source: &Source| source.read(Wanted::default(), &Silent).map(drop).unwrap_err();
        check(&read(&Source::open_etl(&path).unwrap()), SourceErrorKind::NotATrace);
        check(&read(&Source::open_dumps(std::slice::from_ref(&path)).unwrap()), SourceErrorKind::NotADump);
        std::fs::remove_file(&path).unwrap();
        check(&Source::open_etl(&path).unwrap_err(), SourceErrorKind::Unreadable);
    }
}
