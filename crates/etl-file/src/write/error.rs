//! Why a trace cannot be written.

use std::fmt;
use std::io;

/// A trace that cannot be written, or an output that failed.
#[derive(Debug)]
pub struct Error(Problem);

/// What is wrong; private, so that a new kind is not a breaking change.
#[derive(Debug)]
enum Problem {
    Size { structure: &'static str, found: u64, allowed: u64 },
    Pointer { field: &'static str, found: u64 },
    Layout { structure: &'static str, found: String },
    Plan { buffer: usize, what: &'static str, found: u64, planned: u64 },
    Io(io::Error),
}

/// What sort of problem an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A structure has more bytes than it may have.
    Size,
    /// A value does not fit its field.
    Value,
    /// Something has no published layout.
    UnknownLayout,
    /// A buffer is not as it was planned.
    Plan,
    /// The output failed.
    Io,
}

impl Error {
    /// A structure of more bytes than it may have.
    pub(super) fn size(structure: &'static str, found: u64, allowed: u64) -> Self {
        Self(Problem::Size { structure, found, allowed })
    }

    /// A value that does not fit a pointer of 32 bits.
    pub(super) fn pointer(field: &'static str, found: u64) -> Self {
        Self(Problem::Pointer { field, found })
    }

    /// Something that has no published layout.
    pub(super) fn layout(structure: &'static str, found: impl fmt::Debug) -> Self {
        Self(Problem::Layout { structure, found: format!("{found:?}") })
    }

    /// A buffer that is not as it was planned.
    pub(super) fn plan(buffer: usize, what: &'static str, found: u64, planned: u64) -> Self {
        Self(Problem::Plan { buffer, what, found, planned })
    }

    /// What sort of problem it is.
    pub fn kind(&self) -> ErrorKind {
        match self.0 {
            Problem::Size { .. } => ErrorKind::Size,
            Problem::Pointer { .. } => ErrorKind::Value,
            Problem::Layout { .. } => ErrorKind::UnknownLayout,
            Problem::Plan { .. } => ErrorKind::Plan,
            Problem::Io(_) => ErrorKind::Io,
        }
    }

    /// The operating system's error, if the output failed; everything else is about what was to be written.
    pub fn into_io(self) -> io::Error {
        match self.0 {
            Problem::Io(error) => error,
            _ => io::Error::new(io::ErrorKind::InvalidData, self),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self(Problem::Io(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Problem::Size { structure, found, allowed } => {
                write!(f, "{structure}: {found} bytes, allowed are up to {allowed}")
            }
            Problem::Pointer { field, found } => {
                write!(f, "{field} is {found:#x}, which a pointer of 32 bits cannot hold")
            }
            Problem::Layout { structure, found } => write!(f, "{structure}: the layout of {found} is not known"),
            Problem::Plan { buffer, what, found, planned } => {
                write!(f, "buffer {buffer}: {what} is {found}, and {planned} was planned")
            }
            Problem::Io(_) => f.write_str("the trace cannot be written"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Problem::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Result with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
