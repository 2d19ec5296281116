//! Why saved Intel PT data cannot be used.

use std::path::{Path, PathBuf};

use ipt_analysis::input::HexError;
use kernel_snapshot::{FileKind, ReadError};

/// Why saved Intel PT data cannot be used. Says which file; the cause says where in it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InputError(Problem);

/// What is wrong with a file of saved data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputErrorKind {
    /// The operating system does not give the file.
    Unreadable,
    /// A file of hexadecimal text is not hexadecimal.
    NotHex,
    /// The file holds something else.
    NotIpt,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Read(ReadError),
    #[error("{path}: not hexadecimal")]
    Hex { path: PathBuf, source: HexError },
    #[error("{path}: not Intel PT data")]
    NotIpt { path: PathBuf, kind: FileKind },
}

impl InputError {
    pub(super) fn not_hex(path: &Path, source: HexError) -> Self {
        Self(Problem::Hex { path: path.to_owned(), source })
    }

    pub(super) fn not_ipt(path: &Path, kind: FileKind) -> Self {
        Self(Problem::NotIpt { path: path.to_owned(), kind })
    }

    /// What is wrong.
    pub fn kind(&self) -> InputErrorKind {
        match self.0 {
            Problem::Read(_) => InputErrorKind::Unreadable,
            Problem::Hex { .. } => InputErrorKind::NotHex,
            Problem::NotIpt { .. } => InputErrorKind::NotIpt,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        match &self.0 {
            Problem::Read(error) => &error.path,
            Problem::Hex { path, .. } | Problem::NotIpt { path, .. } => path,
        }
    }

    /// What the file is, when it is not Intel PT data.
    pub fn found(&self) -> Option<FileKind> {
        match self.0 {
            Problem::NotIpt { kind, .. } => Some(kind),
            _ => None,
        }
    }
}

impl From<ReadError> for InputError {
    fn from(error: ReadError) -> Self {
        Self(Problem::Read(error))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use kernel_snapshot::FileKind;

    use super::InputErrorKind;
    use crate::ipt::Inputs;

    #[test]
    fn an_error_names_the_file_and_leaves_the_cause_to_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("saved");
        let check = |content: Option<&[u8]>, is_hex: bool, kind: InputErrorKind, found: Option<FileKind>| {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            let file = vec![path.clone()];
            let inputs = if is_hex {
                Inputs { hex: file, ..Inputs::default() }
            } else {
                Inputs { bin: file, ..Inputs::default() }
            };
            let error = inputs.open().unwrap_err();
            assert_eq!((error.kind(), error.path(), error.found()), (kind, &*path, found));
            let (text, cause) = (error.to_string(), error.source().map(ToString::to_string));
            assert!(text.contains("saved") && cause.is_none_or(|cause| !text.contains(&cause)), "{text}");
        };
        check(Some(b"02 xx"), true, InputErrorKind::NotHex, None);
        check(Some(b"MZ\x90\0"), false, InputErrorKind::NotIpt, Some(FileKind::Image));
        check(Some(b""), false, InputErrorKind::NotIpt, Some(FileKind::Empty));
        check(None, false, InputErrorKind::Unreadable, None);
    }
}
