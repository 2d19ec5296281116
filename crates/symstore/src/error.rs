//! What can fail as a whole. What is wrong with one file among many is a note ([`Index::notes`](crate::Index::notes)).

use std::fmt;
use std::io;
use std::path::Path;

use pe_image::Identity;

use crate::wanted::shown;

/// Why directories could not be indexed, or a file could not be read. Says which file.
#[derive(Debug)]
pub struct Error {
    place: String,
    kind: Kind,
}

/// What sort of problem an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A directory or file that was to be indexed is not there or cannot be read.
    Root,
    /// An indexed file cannot be read.
    Unreadable,
    /// The file is not the one that was indexed: another module, or not a module any more.
    Changed,
    /// The file ends before the last of its sections.
    Incomplete,
}

#[derive(Debug)]
enum Kind {
    Root(io::Error),
    Read(io::Error),
    Changed { indexed: Box<Identity>, found: Option<Box<Identity>> },
    Incomplete { missing: u64 },
}

impl Error {
    pub(crate) fn root(path: &Path, error: io::Error) -> Self {
        Self { place: path.display().to_string(), kind: Kind::Root(error) }
    }

    pub(crate) fn read(place: impl fmt::Display, error: io::Error) -> Self {
        Self { place: place.to_string(), kind: Kind::Read(error) }
    }

    pub(crate) fn changed(place: impl fmt::Display, indexed: &Identity, found: Option<Identity>) -> Self {
        let kind = Kind::Changed { indexed: Box::new(indexed.clone()), found: found.map(Box::new) };
        Self { place: place.to_string(), kind }
    }

    pub(crate) fn incomplete(place: impl fmt::Display, missing: u64) -> Self {
        Self { place: place.to_string(), kind: Kind::Incomplete { missing } }
    }

    /// The file or directory, as it was given or as [`Location`](crate::Location) prints it.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What sort of problem it is.
    pub fn kind(&self) -> ErrorKind {
        match self.kind {
            Kind::Root(_) => ErrorKind::Root,
            Kind::Read(_) => ErrorKind::Unreadable,
            Kind::Changed { .. } => ErrorKind::Changed,
            Kind::Incomplete { .. } => ErrorKind::Incomplete,
        }
    }

    /// True when a directory or file that was to be indexed is not there or cannot be read.
    pub fn is_root(&self) -> bool {
        matches!(self.kind, Kind::Root(_))
    }

    /// True when the file is not the one that was indexed: another module, or not a module any more.
    pub fn is_changed(&self) -> bool {
        matches!(self.kind, Kind::Changed { .. })
    }

    /// True when the file ends before the last of its sections.
    pub fn is_incomplete(&self) -> bool {
        matches!(self.kind, Kind::Incomplete { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match &self.kind {
            Kind::Root(_) => write!(f, "{place}: cannot be read as a directory of modules"),
            Kind::Read(_) => write!(f, "cannot read {place}"),
            Kind::Changed { indexed, found: Some(found) } => {
                write!(f, "{place}: the file is now {}, when it was indexed it was {}", shown(found), shown(indexed))
            }
            Kind::Changed { indexed, found: None } => {
                write!(f, "{place}: not a PE file any more, when it was indexed it was {}", shown(indexed))
            }
            Kind::Incomplete { missing } => write!(f, "{place}: cut short, {missing} bytes are missing"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Root(error) | Kind::Read(error) => Some(error),
            Kind::Changed { .. } | Kind::Incomplete { .. } => None,
        }
    }
}
