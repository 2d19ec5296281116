//! Errors: where, in which structure, what was found and what is allowed; and what else a survey may report.

use std::fmt;

/// A located problem. The same type serves for a file that cannot be opened at all and for local damage that a reader
/// steps over: the latter says how many bytes were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    offset: u64,
    length: u64,
    structure: &'static str,
    problem: Problem,
}

/// What sort of problem an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input ends before the structure does.
    Truncated,
    /// A field has a value that is not allowed.
    Field,
    /// A stretch of the file that cannot be used.
    Lost,
}

/// What is wrong; private, so that a new kind is not a breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Short { have: u64, need: u64 },
    Value { field: &'static str, found: u64, allowed: &'static str },
    Lost { what: &'static str },
}

impl Error {
    /// `have` bytes where a structure needs `need`.
    pub(crate) fn short(offset: u64, structure: &'static str, have: u64, need: u64) -> Self {
        Self { offset, length: have, structure, problem: Problem::Short { have, need } }
    }

    /// A field with a value that is not allowed.
    pub(crate) fn value(
        offset: u64,
        structure: &'static str,
        field: &'static str,
        found: u64,
        allowed: &'static str,
    ) -> Self {
        Self { offset, length: 0, structure, problem: Problem::Value { field, found, allowed } }
    }

    /// A stretch of the file that could not be used.
    pub(crate) fn lost(offset: u64, length: u64, structure: &'static str, what: &'static str) -> Self {
        Self { offset, length, structure, problem: Problem::Lost { what } }
    }

    /// The same problem with the number of bytes that were lost because of it.
    pub(crate) fn losing(mut self, length: u64) -> Self {
        self.length = length;
        self
    }

    /// What sort of problem it is.
    pub fn kind(&self) -> ErrorKind {
        match self.problem {
            Problem::Short { .. } => ErrorKind::Truncated,
            Problem::Value { .. } => ErrorKind::Field,
            Problem::Lost { .. } => ErrorKind::Lost,
        }
    }

    /// File offset of the structure or stretch, in bytes. For a structure inside a compressed buffer: the offset of
    /// that buffer, since its contents have no place of their own in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file that were skipped because of it; 0 when nothing was.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The structure, such as "buffer header".
    pub fn structure(&self) -> &'static str {
        self.structure
    }

    /// True when the input ended before the structure did.
    pub fn is_truncation(&self) -> bool {
        self.kind() == ErrorKind::Truncated
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at file offset {:#x}: ", self.structure, self.offset)?;
        match self.problem {
            Problem::Short { have, need } => write!(f, "{have} bytes there, {need} needed")?,
            Problem::Value { field, found, allowed } => write!(f, "{field} is {found:#x}, allowed: {allowed}")?,
            Problem::Lost { what } => f.write_str(what)?,
        }
        if self.length > 0 { write!(f, " ({} bytes skipped)", self.length) } else { Ok(()) }
    }
}

impl std::error::Error for Error {}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a survey has to say about a file besides its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnostic {
    /// Something was damaged; reading went on after it.
    Damage(Error),
    /// The file ends with space that the session had reserved and did not write. The file is healthy; it was copied
    /// while the session ran, or the system stopped before the session did.
    ReservedTail {
        /// File offset of the tail.
        offset: u64,
        /// Bytes up to the end of the file.
        length: u64,
    },
}

impl Diagnostic {
    /// File offset of what it is about, in bytes.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Damage(error) => error.offset(),
            Self::ReservedTail { offset, .. } => *offset,
        }
    }

    /// Bytes of the file that were skipped.
    pub fn length(&self) -> u64 {
        match self {
            Self::Damage(error) => error.length(),
            Self::ReservedTail { length, .. } => *length,
        }
    }

    /// The damage, if that is what it is about.
    pub fn damage(&self) -> Option<&Error> {
        match self {
            Self::Damage(error) => Some(error),
            Self::ReservedTail { .. } => None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(error) => error.fmt(f),
            Self::ReservedTail { offset, length } => write!(
                f,
                "file at file offset {offset:#x}: its tail was reserved and never written ({length} bytes skipped)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind};

    #[test]
    fn kinds_and_places() {
        let cases = [
            (Error::short(0x48, "buffer header", 3, 0x48), ErrorKind::Truncated, 3),
            (Error::value(0x48, "buffer header", "Offset", 7, "at least 0x48"), ErrorKind::Field, 0),
            (Error::lost(0x48, 9, "buffer header", "zeros"), ErrorKind::Lost, 9),
            (Error::value(0x48, "buffer header", "Offset", 7, "at least 0x48").losing(5), ErrorKind::Field, 5),
        ];
        for (error, kind, length) in cases {
            assert_eq!((error.kind(), error.offset(), error.length()), (kind, 0x48, length), "{error}");
            assert_eq!((error.structure(), error.is_truncation()), ("buffer header", kind == ErrorKind::Truncated));
        }
    }
}
