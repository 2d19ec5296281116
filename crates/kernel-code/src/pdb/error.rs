//! Why a PDB does not say what is wanted of it.

use symstore::PdbId;

/// Why a PDB does not say what is wanted of it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PdbError(Problem);

/// What is wrong with a PDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PdbErrorKind {
    /// The file is not a PDB, or a damaged one.
    Unreadable,
    /// A record of it is damaged.
    Damaged,
    /// It has no field of that name: it is not the kernel's, or has no types.
    NoField,
    /// It belongs to another build of the module.
    OtherBuild,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("not a PDB that can be read")]
    Pdb(#[from] pdb2::Error),
    #[error(transparent)]
    Container(#[from] symstore::pdb::Error),
    #[error("{0} is damaged")]
    Damaged(&'static str),
    #[error("it has no {0}: it is not the kernel's, or has no types")]
    NoField(&'static str),
    #[error("it is {found}, wanted is {wanted}")]
    OtherBuild { found: PdbId, wanted: PdbId },
}

impl PdbError {
    /// What is wrong.
    pub fn kind(&self) -> PdbErrorKind {
        match self.0 {
            Problem::Pdb(_) | Problem::Container(_) => PdbErrorKind::Unreadable,
            Problem::Damaged(_) => PdbErrorKind::Damaged,
            Problem::NoField(_) => PdbErrorKind::NoField,
            Problem::OtherBuild { .. } => PdbErrorKind::OtherBuild,
        }
    }

    /// The file offset at which its container is damaged, where that is known.
    pub fn offset(&self) -> Option<u64> {
        match &self.0 {
            Problem::Container(error) => Some(error.offset()),
            _ => None,
        }
    }

    /// The identity in the file, when it is another build's.
    pub fn found(&self) -> Option<PdbId> {
        match self.0 {
            Problem::OtherBuild { found, .. } => Some(found),
            _ => None,
        }
    }
}

impl From<Problem> for PdbError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<symstore::pdb::Error> for PdbError {
    fn from(error: symstore::pdb::Error) -> Self {
        Self(error.into())
    }
}

#[cfg(test)]
mod tests {
    use symstore::{Guid, PdbId};

    use super::{PdbError, PdbErrorKind, Problem};
    use crate::pdb::{Symbols, thread_layout};

    const ID: PdbId = PdbId { guid: Guid([7; 16]), age: 1 };

    #[test]
    fn files_that_are_not_pdbs() {
        let symbols = |file: &[u8]| Symbols::from_pdb(file, ID).unwrap_err();
        let layout = |file: &[u8]| thread_layout(file).unwrap_err();
        for error in [symbols(b"MZ"), layout(b"MZ"), symbols(b""), layout(b"")] {
            assert_eq!((error.kind(), error.offset(), error.found()), (PdbErrorKind::Unreadable, Some(0), None));
        }
    }

    #[test]
    fn the_build_that_was_found_is_told() {
        let (found, wanted) = (PdbId { age: 2, ..ID }, ID);
        let error = PdbError::from(Problem::OtherBuild { found, wanted });
        assert_eq!((error.kind(), error.found()), (PdbErrorKind::OtherBuild, Some(found)));
    }
}
