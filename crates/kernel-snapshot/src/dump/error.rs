//! Why a file is not a dump that can be read.

/// Why a file is not a dump that can be read: where, in which structure, what was found and what is allowed. Offsets are
/// absolute in the file.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DumpError(Problem);

/// What is wrong with a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DumpErrorKind {
    /// A structure of the file is wrong; for a file of another kind its signature.
    Malformed,
    /// A kernel dump's header or a triage dump's fixed part is wrong.
    Kernel,
    /// The page map of a kernel dump is wrong.
    PageMap,
    /// A user minidump's header or directory is wrong.
    User,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{structure} at file offset {offset:#x}: found {found}, allowed is {allowed}")]
    Malformed { offset: u64, structure: &'static str, found: String, allowed: String },
    #[error(transparent)]
    Kernel(mdmp::Error),
    #[error("page map of the kernel dump")]
    PageMap(#[source] kdmp_parser::KdmpParserError),
    #[error("user minidump")]
    User(#[source] minidump::Error),
}

impl DumpError {
    pub(crate) fn malformed(
        offset: u64,
        structure: &'static str,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self(Problem::Malformed { offset, structure, found: found.into(), allowed: allowed.into() })
    }

    /// What is wrong.
    pub fn kind(&self) -> DumpErrorKind {
        match self.0 {
            Problem::Malformed { .. } => DumpErrorKind::Malformed,
            Problem::Kernel(_) => DumpErrorKind::Kernel,
            Problem::PageMap(_) => DumpErrorKind::PageMap,
            Problem::User(_) => DumpErrorKind::User,
        }
    }

    /// The structure that is wrong, where it is known.
    pub fn structure(&self) -> Option<&str> {
        match &self.0 {
            Problem::Malformed { structure, .. } => Some(structure),
            Problem::Kernel(error) => Some(error.structure()),
            Problem::PageMap(_) | Problem::User(_) => None,
        }
    }

    /// The file offset of that structure, where it is known.
    pub fn offset(&self) -> Option<u64> {
        match &self.0 {
            Problem::Malformed { offset, .. } => Some(*offset),
            Problem::Kernel(error) => error.offset(),
            Problem::PageMap(_) | Problem::User(_) => None,
        }
    }
}

impl From<mdmp::Error> for DumpError {
    fn from(error: mdmp::Error) -> Self {
        Self(Problem::Kernel(error))
    }
}

impl From<kdmp_parser::KdmpParserError> for DumpError {
    fn from(error: kdmp_parser::KdmpParserError) -> Self {
        Self(Problem::PageMap(error))
    }
}

impl From<minidump::Error> for DumpError {
    fn from(error: minidump::Error) -> Self {
        Self(Problem::User(error))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::{DumpError, DumpErrorKind};
    use crate::dump::Dump;

    #[test]
    fn an_error_has_a_kind_a_place_and_does_not_repeat_its_cause() {
        let check = |file: &[u8], kind: DumpErrorKind, place: Option<(&str, u64)>| {
            let error: DumpError = Dump::open(file).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.structure().zip(error.offset()), place, "{error}");
            if let Some(cause) = error.source() {
                assert!(!error.to_string().contains(&cause.to_string()), "{error}: {cause}");
            }
        };
        check(b"neither", DumpErrorKind::Malformed, Some(("signature", 0)));
        check(b"PAGEDUMP", DumpErrorKind::Malformed, Some(("signature", 0)));
        check(b"PAGEDU64", DumpErrorKind::Kernel, Some(("DUMP_HEADER64", 0)));
        check(b"MDMP\x93\xa7\0\0", DumpErrorKind::User, None);
    }
}
