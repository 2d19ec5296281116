//! What can be wrong with a file, and where.

use std::fmt;

use crate::addr::Rva;

/// A place in a file, or in the image that it describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Place {
    /// Bytes from the start of the file.
    Offset(u64),
    /// Bytes from the start of the image.
    Rva(Rva),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "file offset {offset:#x}"),
            Self::Rva(rva) => write!(f, "RVA {rva}"),
        }
    }
}

/// A structure that is not what it has to be. The message says where, in which structure, what was found and what is
/// allowed.
///
/// Something that a file simply does not have (no export table, no PDB) is not an error: such calls return `None` or
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    place: Place,
    structure: &'static str,
    fault: Fault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Truncated { need: u64, have: u64 },
    Field { field: &'static str, found: u64, allowed: String },
    Other(String),
}

/// What sort of fault an [`Error`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The structure needs more bytes than there are, so that a longer piece of the same file might do.
    Truncated,
    /// A field has a value that is not allowed.
    Field,
    /// Anything else, such as parts that contradict each other.
    Malformed,
}

impl Error {
    pub(crate) fn truncated(place: Place, structure: &'static str, need: u64, have: u64) -> Self {
        Self { place, structure, fault: Fault::Truncated { need, have } }
    }

    pub(crate) fn field(
        place: Place,
        structure: &'static str,
        field: &'static str,
        found: impl Into<u64>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { place, structure, fault: Fault::Field { field, found: found.into(), allowed: allowed.into() } }
    }

    pub(crate) fn other(place: Place, structure: &'static str, message: impl Into<String>) -> Self {
        Self { place, structure, fault: Fault::Other(message.into()) }
    }

    /// What sort of fault this is.
    pub fn kind(&self) -> ErrorKind {
        match self.fault {
            Fault::Truncated { .. } => ErrorKind::Truncated,
            Fault::Field { .. } => ErrorKind::Field,
            Fault::Other(_) => ErrorKind::Malformed,
        }
    }

    /// Where the structure starts.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The structure that is wrong, by its winnt.h name or in words.
    pub fn structure(&self) -> &'static str {
        self.structure
    }

    /// True when bytes are missing, so that a longer piece of the same file might do.
    pub fn is_truncation(&self) -> bool {
        self.kind() == ErrorKind::Truncated
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: ", self.structure, self.place)?;
        match &self.fault {
            Fault::Truncated { need, have } => write!(f, "needs {need:#x} bytes, there are {have:#x}"),
            Fault::Field { field, found, allowed } => write!(f, "{field} is {found:#x}, allowed is {allowed}"),
            Fault::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// The result of reading a structure.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something worth knowing about an image that was made nevertheless: either damage to one of its tables, or a change
/// that a kernel would make and this crate does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    place: Place,
    structure: &'static str,
    finding: Finding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Finding {
    Damage(Error),
    Remark(DiagnosticKind, String),
}

/// What a [`Diagnostic`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiagnosticKind {
    /// A table is damaged. What it lists is left alone, from the damage on. See [`Diagnostic::error`].
    Damaged,
    /// A record names a place outside the image, and is left out.
    Outside,
    /// A change that kernels make, or may make, is not made: what they write there is not known.
    NotApplied,
    /// The image does not fit the base at which it was mapped.
    WrongBase,
}

impl Diagnostic {
    pub(crate) fn new(kind: DiagnosticKind, place: Place, structure: &'static str, message: impl Into<String>) -> Self {
        Self { place, structure, finding: Finding::Remark(kind, message.into()) }
    }

    /// What it is about.
    pub fn kind(&self) -> DiagnosticKind {
        match self.finding {
            Finding::Damage(_) => DiagnosticKind::Damaged,
            Finding::Remark(kind, _) => kind,
        }
    }

    /// Where the structure starts.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The structure, by its winnt.h name or in words.
    pub fn structure(&self) -> &'static str {
        self.structure
    }

    /// The error, if a table is damaged.
    pub fn error(&self) -> Option<&Error> {
        match &self.finding {
            Finding::Damage(error) => Some(error),
            Finding::Remark(..) => None,
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { place: error.place, structure: error.structure, finding: Finding::Damage(error) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::Damage(error) => error.fmt(f),
            Finding::Remark(_, message) => write!(f, "{} at {}: {message}", self.structure, self.place),
        }
    }
}
