//! What can be wrong with a file, and where.

use std::fmt;

use crate::addr::Rva;

/// A place in a file or in the image that it describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
/// Something that a file simply does not have (no export table, no PDB) is no error: such calls return `None` or
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    place: Place,
    structure: &'static str,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// The structure needs more bytes than there are.
    Truncated { need: u64, have: u64 },
    /// A field has a value that is not allowed.
    Field { field: &'static str, found: u64, allowed: String },
    /// Anything else, in words.
    Other(String),
}

impl Error {
    pub(crate) fn truncated(place: Place, structure: &'static str, need: u64, have: u64) -> Self {
        Self { place, structure, kind: Kind::Truncated { need, have } }
    }

    pub(crate) fn field(
        place: Place,
        structure: &'static str,
        field: &'static str,
        found: impl Into<u64>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { place, structure, kind: Kind::Field { field, found: found.into(), allowed: allowed.into() } }
    }

    pub(crate) fn other(place: Place, structure: &'static str, message: impl Into<String>) -> Self {
        Self { place, structure, kind: Kind::Other(message.into()) }
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
        matches!(self.kind, Kind::Truncated { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: ", self.structure, self.place)?;
        match &self.kind {
            Kind::Truncated { need, have } => write!(f, "needs {need:#x} bytes, there are {have:#x}"),
            Kind::Field { field, found, allowed } => write!(f, "{field} is {found:#x}, allowed is {allowed}"),
            Kind::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// The result of reading a structure.
pub type Result<T, E = Error> = std::result::Result<T, E>;
