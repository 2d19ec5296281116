//! The crate's one error type: where, in which structure, what was found, and what is allowed.

use std::io;

/// Why a dump could not be planned, written or read.
///
/// Whatever depends on the values alone is found while planning, before the first byte is written: see
/// [`Error::is_plan`]. While writing, only the output or a source of memory can fail.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Problem>);

/// What kind of problem an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A value that a reader refuses or misunderstands.
    Rule,
    /// A file offset, size or count that does not fit its field.
    TooBig,
    /// Two memory ranges share addresses.
    Overlap,
    /// A pointer to a blob that was declared but never placed: a mistake in a custom stream.
    Dangling,
    /// The source of a memory range, or of a stream's content, failed while the dump was being written.
    Source,
    /// The output could not be written.
    Write,
    /// Bytes that were read do not follow the format.
    Malformed,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{structure}: found {found}, allowed is {allowed} (needed by {reader})")]
    Rule { structure: String, found: String, allowed: String, reader: &'static str },

    #[error("{structure} at file offset {offset:#x}: found {found:#x}, allowed is at most {limit:#x}")]
    TooBig { structure: String, offset: u64, found: u64, limit: u64 },

    #[error(
        "memory ranges {:#x}+{:#x} and {:#x}+{:#x} overlap; allowed are disjoint ranges (dbgeng refuses the file)",
        first.0, first.1, second.0, second.1
    )]
    Overlap { first: (u64, u64), second: (u64, u64) },

    #[error("{structure}: field at +{field:#x} points to a blob that was never placed in the layout")]
    Dangling { structure: String, field: u64 },

    #[error("{structure}, {size:#x} bytes: cannot read {address:#x} for file offset {offset:#x}")]
    Source { structure: String, size: u64, address: u64, offset: u64, source: io::Error },

    #[error("cannot write at file offset {offset:#x} ({structure})")]
    Write { offset: u64, structure: String, source: io::Error },

    #[error("{structure} at file offset {offset:#x}: found {found}, allowed is {allowed}")]
    Malformed { offset: u64, structure: String, found: String, allowed: String },
}

impl Error {
    /// A value that `reader` refuses, for implementations of [`user::Stream`](crate::user::Stream). `structure` names
    /// the structure and the field, for example `thread 3: ThreadId`.
    pub fn rule(
        structure: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
        reader: &'static str,
    ) -> Error {
        let (structure, found, allowed) = (structure.into(), found.into(), allowed.into());
        Problem::Rule { structure, found, allowed, reader }.into()
    }

    /// A number that its field cannot hold. `offset` is the file offset of the structure that holds the field.
    pub(crate) fn too_big(structure: impl Into<String>, offset: u64, found: u64, limit: u64) -> Error {
        Problem::TooBig { structure: structure.into(), offset, found, limit }.into()
    }

    /// Two ranges, each an address and a size, that share addresses. The lower one comes first.
    pub(crate) fn overlap(first: (u64, u64), second: (u64, u64)) -> Error {
        Problem::Overlap { first, second }.into()
    }

    /// A pointer at offset `field` of `structure` to a blob without a place.
    pub(crate) fn dangling(structure: impl Into<String>, field: u64) -> Error {
        Problem::Dangling { structure: structure.into(), field }.into()
    }

    /// A source of `size` bytes that failed at `address`, whose place in the output is `offset`.
    pub(crate) fn source(
        structure: impl Into<String>,
        size: u64,
        address: u64,
        offset: u64,
        source: io::Error,
    ) -> Error {
        Problem::Source { structure: structure.into(), size, address, offset, source }.into()
    }

    /// An output that failed after it had taken `offset` bytes.
    pub(crate) fn write(offset: u64, structure: impl Into<String>, source: io::Error) -> Error {
        Problem::Write { offset, structure: structure.into(), source }.into()
    }

    /// Bytes of a file that break the format.
    pub(crate) fn malformed(
        offset: u64,
        structure: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Error {
        let (structure, found, allowed) = (structure.into(), found.into(), allowed.into());
        Problem::Malformed { offset, structure, found, allowed }.into()
    }

    /// What kind of problem it is.
    pub fn kind(&self) -> ErrorKind {
        match *self.0 {
            Problem::Rule { .. } => ErrorKind::Rule,
            Problem::TooBig { .. } => ErrorKind::TooBig,
            Problem::Overlap { .. } => ErrorKind::Overlap,
            Problem::Dangling { .. } => ErrorKind::Dangling,
            Problem::Source { .. } => ErrorKind::Source,
            Problem::Write { .. } => ErrorKind::Write,
            Problem::Malformed { .. } => ErrorKind::Malformed,
        }
    }

    /// The structure or field concerned, for example `TRIAGE_DUMP64.ValidOffset`.
    pub fn structure(&self) -> &str {
        match &*self.0 {
            Problem::Overlap { .. } => "memory ranges",
            Problem::Rule { structure, .. }
            | Problem::TooBig { structure, .. }
            | Problem::Dangling { structure, .. }
            | Problem::Source { structure, .. }
            | Problem::Write { structure, .. }
            | Problem::Malformed { structure, .. } => structure,
        }
    }

    /// The file offset concerned: of the structure that was read or laid out, or of the first byte that the
    /// output did not take.
    /// `None` when nothing has an offset yet.
    pub fn offset(&self) -> Option<u64> {
        match *self.0 {
            Problem::TooBig { offset, .. }
            | Problem::Source { offset, .. }
            | Problem::Write { offset, .. }
            | Problem::Malformed { offset, .. } => Some(offset),
            Problem::Rule { .. } | Problem::Overlap { .. } | Problem::Dangling { .. } => None,
        }
    }

    /// The first address that a source could not read. In a stream this is the offset of the byte.
    pub fn address(&self) -> Option<u64> {
        match *self.0 {
            Problem::Source { address, .. } => Some(address),
            _ => None,
        }
    }

    /// The reader that refuses the value, for [`ErrorKind::Rule`].
    pub fn reader(&self) -> Option<&'static str> {
        match *self.0 {
            Problem::Rule { reader, .. } => Some(reader),
            _ => None,
        }
    }

    /// True when the given values cannot make a valid dump; nothing has been written.
    pub fn is_plan(&self) -> bool {
        matches!(self.kind(), ErrorKind::Rule | ErrorKind::TooBig | ErrorKind::Overlap | ErrorKind::Dangling)
    }

    /// True when the output failed, for example because the disk is full or the pipe is closed.
    pub fn is_write(&self) -> bool {
        self.kind() == ErrorKind::Write
    }

    /// The underlying I/O error of [`ErrorKind::Source`] and [`ErrorKind::Write`]; also in the source chain.
    pub fn io(&self) -> Option<&io::Error> {
        match &*self.0 {
            Problem::Source { source, .. } | Problem::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        Error(Box::new(problem))
    }
}
