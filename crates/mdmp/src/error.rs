//! The one error type: where, in which structure, what was found, what is allowed.

use std::io;

/// Why a dump could not be planned, written or read.
///
/// Everything that depends on the values alone ([`Error::Rule`], [`Error::TooBig`], [`Error::Overlap`],
/// [`Error::Dangling`]) is found at plan time, before the first byte is written. While writing only
/// [`Error::Source`] and [`Error::Write`] can happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value that a reader refuses or misunderstands.
    #[error("{structure}: found {found}, allowed is {allowed} (needed by {reader})")]
    Rule {
        /// The structure and field, for example `thread 3: ThreadId`.
        structure: String,
        /// The value given.
        found: String,
        /// What the reader takes.
        allowed: String,
        /// The reader that the rule is for.
        reader: &'static str,
    },

    /// A file offset, size or count that its field cannot hold.
    #[error("{structure} at file offset {offset:#x}: found {found:#x}, allowed is at most {limit:#x}")]
    TooBig {
        /// The structure and field, for example `MemoryList: RVA of memory at 0xfffff80000000000`.
        structure: String,
        /// File offset of the structure that holds the field.
        offset: u64,
        /// The value that should have been written, saturated at the largest 64-bit number.
        found: u64,
        /// The largest value that the field holds.
        limit: u64,
    },

    /// Two memory ranges share addresses.
    #[error(
        "memory ranges {first_start:#x}+{first_size:#x} and {second_start:#x}+{second_size:#x} overlap; \
         allowed are disjoint ranges (dbgeng refuses the file)"
    )]
    Overlap {
        /// Address of the lower range.
        first_start: u64,
        /// Bytes of the lower range.
        first_size: u64,
        /// Address of the higher range.
        second_start: u64,
        /// Bytes of the higher range.
        second_size: u64,
    },

    /// A pointer to a blob that was declared and never placed: a mistake in a user's own stream.
    #[error("{structure}: field at +{field:#x} points to a blob that was never placed in the layout")]
    Dangling {
        /// The structure that holds the pointer.
        structure: String,
        /// Offset of the field in it.
        field: u64,
    },

    /// The source of a memory range, or of a stream's content, failed while the dump was being written.
    #[error("{structure}, {size:#x} bytes: reading {address:#x} for file offset {offset:#x}: {source}")]
    Source {
        /// `memory at 0x…`, which names the range by its start, or a stream.
        structure: String,
        /// Bytes of the range or stream.
        size: u64,
        /// First address that could not be read; in a stream the offset of the byte.
        address: u64,
        /// Its place in the output.
        offset: u64,
        /// What the source said.
        source: io::Error,
    },

    /// The output could not be written.
    #[error("writing at file offset {offset:#x} ({structure}): {source}")]
    Write {
        /// Bytes that had been handed over before the failure.
        offset: u64,
        /// What was being written.
        structure: String,
        /// What the output said.
        source: io::Error,
    },

    /// Bytes read back are not what the format says.
    #[error("{structure} at file offset {offset:#x}: found {found}, allowed is {allowed}")]
    Malformed {
        /// File offset of the structure or field.
        offset: u64,
        /// Structure and field.
        structure: String,
        /// What the file says.
        found: String,
        /// What the format allows.
        allowed: String,
    },
}

impl Error {
    /// A rule broken by a value of the caller.
    pub(crate) fn rule(
        structure: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
        reader: &'static str,
    ) -> Error {
        Error::Rule { structure: structure.into(), found: found.into(), allowed: allowed.into(), reader }
    }

    /// Bytes of a file that break the format.
    pub(crate) fn malformed(
        offset: u64,
        structure: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Error {
        Error::Malformed { offset, structure: structure.into(), found: found.into(), allowed: allowed.into() }
    }

    /// True when the values given cannot make a valid dump: nothing has been written.
    pub fn is_plan(&self) -> bool {
        matches!(self, Error::Rule { .. } | Error::TooBig { .. } | Error::Overlap { .. } | Error::Dangling { .. })
    }

    /// True when the output failed, for example a full disk or a closed pipe.
    pub fn is_write(&self) -> bool {
        matches!(self, Error::Write { .. })
    }

    /// The operating system's error behind this one, if there is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Error::Source { source, .. } | Error::Write { source, .. } => Some(source),
            _ => None,
        }
    }
}
