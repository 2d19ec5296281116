//! What is wrong with a manifest.

use std::fmt;

/// Bytes of a file.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// Elements of a file.
pub(super) const MOST_ELEMENTS: usize = 500_000;
/// Elements inside each other.
pub(super) const DEEPEST: usize = 64;

/// A file is not an instrumentation manifest, or beyond what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    kind: ManifestErrorKind,
    offset: u64,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestErrorKind {
    /// It has more bytes than are read.
    TooLarge {
        /// How many.
        bytes: u64,
    },
    /// It is neither UTF-8 nor UTF-16.
    NotText,
    /// It is not well-formed.
    NotXml(String),
    /// It has a document type, which no manifest needs.
    DocumentType,
    /// It has more elements than are read, or deeper ones.
    TooMany,
    /// It names no provider with a GUID.
    NoProvider,
}

impl ManifestError {
    pub(super) fn new(kind: ManifestErrorKind, offset: u64) -> Self {
        Self { kind, offset }
    }

    /// What is wrong.
    pub fn kind(&self) -> &ManifestErrorKind {
        &self.kind
    }

    /// Where in the file: bytes, of UTF-16 those that the text has in UTF-8.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ManifestErrorKind::TooLarge { bytes } => write!(f, "it has {bytes} bytes; allowed are {MOST_BYTES}"),
            ManifestErrorKind::NotText => f.write_str("it is neither UTF-8 nor UTF-16"),
            ManifestErrorKind::NotXml(why) => write!(f, "offset {}: it is not XML: {why}", self.offset),
            ManifestErrorKind::DocumentType => {
                write!(f, "offset {}: it has a document type, which is not allowed", self.offset)
            }
            ManifestErrorKind::TooMany => {
                write!(
                    f,
                    "offset {}: allowed are {MOST_ELEMENTS} elements, up to {DEEPEST} inside each other",
                    self.offset
                )
            }
            ManifestErrorKind::NoProvider => {
                f.write_str("it is not an instrumentation manifest: no provider with a GUID")
            }
        }
    }
}

impl std::error::Error for ManifestError {}
