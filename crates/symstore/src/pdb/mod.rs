//! PDB files: their container, their identity, and where to look for them. What is in them (symbols, types) is for others
//! to read.

mod find;
mod identity;
mod msf;

use std::fmt;
use std::io;

pub use find::{FoundPdb, PdbFinder};
pub use identity::PdbIdentity;

/// Refuses a PDB whose streams are together larger than the file.
///
/// Parsers of PDBs read a stream as a whole, and nothing keeps a hostile file from naming one block a million times, so
/// that a small file asks for gigabytes. In a sound file the streams have blocks of their own.
///
/// # Errors
/// When the file is not a PDB, its directory is damaged, or its streams are too large.
pub fn check_container(file: &[u8]) -> Result<(), Error> {
    msf::Container::open(io::Cursor::new(file))?.check_sizes()
}

/// Why a PDB cannot be read.
#[derive(Debug)]
pub struct Error {
    offset: u64,
    kind: Kind,
}

/// What sort of problem an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system does not give the bytes.
    Unreadable,
    /// The file does not begin as a PDB does.
    NotPdb,
    /// A structure of the PDB's container is damaged.
    Damaged,
}

#[derive(Debug)]
enum Kind {
    Io(io::Error),
    NotPdb,
    Damaged { structure: &'static str, what: String },
}

impl Error {
    fn damaged(offset: u64, structure: &'static str, what: impl Into<String>) -> Self {
        Self { offset, kind: Kind::Damaged { structure, what: what.into() } }
    }

    fn io(offset: u64, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::damaged(offset, "MSF", "the file ends here"),
            _ => Self { offset, kind: Kind::Io(error) },
        }
    }

    /// The file offset at which reading failed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What sort of problem it is.
    pub fn kind(&self) -> ErrorKind {
        match self.kind {
            Kind::Io(_) => ErrorKind::Unreadable,
            Kind::NotPdb => ErrorKind::NotPdb,
            Kind::Damaged { .. } => ErrorKind::Damaged,
        }
    }

    /// True when the file does not begin as a PDB does.
    pub fn is_not_pdb(&self) -> bool {
        matches!(self.kind, Kind::NotPdb)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match &self.kind {
            Kind::Io(_) => write!(f, "the PDB cannot be read at offset {offset:#x}"),
            Kind::NotPdb => f.write_str("not a PDB file (MSF 7.00)"),
            Kind::Damaged { structure, what } => write!(f, "a damaged PDB: {structure} at offset {offset:#x}: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Io(error) => Some(error),
            Kind::NotPdb | Kind::Damaged { .. } => None,
        }
    }
}
