//! What went wrong: where, in which structure, what was found and what is allowed.

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

/// What is wrong; private, so that a new kind is no breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Problem {
    Short { have: u64, need: u64 },
    Value { field: &'static str, found: u64, allowed: &'static str },
    Lost { what: &'static str },
    Note { what: &'static str, count: u64 },
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

    /// A fact that the reader of the trace should know although nothing in the file is broken; `count` says how often.
    pub(crate) fn note(offset: u64, structure: &'static str, what: &'static str, count: u64) -> Self {
        Self { offset, length: 0, structure, problem: Problem::Note { what, count } }
    }

    /// The same problem with the number of bytes that were lost because of it.
    pub(crate) fn losing(mut self, length: u64) -> Self {
        self.length = length;
        self
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
        matches!(self.problem, Problem::Short { .. })
    }

    /// True for a remark about a healthy file, such as a tail that was reserved and never written.
    pub fn is_note(&self) -> bool {
        matches!(self.problem, Problem::Note { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at file offset {:#x}: ", self.structure, self.offset)?;
        match self.problem {
            Problem::Short { have, need } => write!(f, "{have} bytes there, {need} needed")?,
            Problem::Value { field, found, allowed } => write!(f, "{field} is {found:#x}, allowed: {allowed}")?,
            Problem::Lost { what } => f.write_str(what)?,
            Problem::Note { what, count } if count > 1 => write!(f, "{what} ({count})")?,
            Problem::Note { what, .. } => f.write_str(what)?,
        }
        if self.length > 0 { write!(f, " ({} bytes skipped)", self.length) } else { Ok(()) }
    }
}

impl std::error::Error for Error {}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
