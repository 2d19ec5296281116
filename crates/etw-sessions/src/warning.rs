//! What is damaged or doubtful, with its place.

use std::fmt;

/// What is damaged or doubtful: where, in which structure, what was found and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Where the structure is.
    pub place: Place,
    /// The structure, or its member.
    pub structure: String,
    /// What was found.
    pub found: String,
    /// What is allowed there, or what follows from it.
    pub allowed: String,
}

/// Where a structure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// An address in the dumped memory.
    Address(u64),
    /// An offset in the dump's file.
    File(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address {address:#x}"),
            Self::File(offset) => write!(f, "file offset {offset:#x}"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: found {}, allowed is {}", self.structure, self.place, self.found, self.allowed)
    }
}

impl Warning {
    pub(crate) fn at(
        address: u64,
        structure: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        let place = Place::Address(address);
        Self { place, structure: structure.into(), found: found.into(), allowed: allowed.into() }
    }

    pub(crate) fn in_file(
        offset: u64,
        structure: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { place: Place::File(offset), ..Self::at(0, structure, found, allowed) }
    }
}

/// Warnings of one dump. A hostile dump could cause one for each of many thousand structures; what comes after
/// [`MOST`](Self::MOST) is only counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings {
    list: Vec<Warning>,
    more: u64,
}

impl Warnings {
    const MOST: usize = 200;

    pub fn push(&mut self, warning: Warning) {
        if self.list.len() < Self::MOST { self.list.push(warning) } else { self.more += 1 }
    }

    pub fn finish(mut self) -> Vec<Warning> {
        if let (more @ 1.., Some(last)) = (self.more, self.list.last().cloned()) {
            self.list.push(Warning { found: format!("{more} more that are damaged or doubtful"), ..last });
        }
        self.list
    }
}
