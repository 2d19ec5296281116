//! What is looked for, and how a file compares with it.

use std::fmt;

use pe_image::{CodeView, Identity, Machine, image_key};

use crate::name::last_component;
use pe_image::{Guid, PdbId};

/// A module as a trace or dump describes it. A value of 0, like `None`, means that the source does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// File name. Untrusted: a name alone never finds anything and never decides where something is written.
    pub name: String,
    /// The path in the source's words (`\SystemRoot\…`), used to find the file on a mounted volume.
    pub path: Option<String>,
    /// TimeDateStamp.
    pub timestamp: Option<u32>,
    /// Bytes of the image in memory, 0 if not known.
    pub size: u32,
    /// CheckSum.
    pub checksum: Option<u32>,
    /// The PDB that belongs to it.
    pub pdb: Option<PdbId>,
    /// The PDB's file name, for fetching it.
    pub pdb_name: Option<String>,
    /// Bytes of an address in the module's code, 4 or 8, if known: a module above 4 GiB is not a 32-bit one.
    pub pointer_size: Option<u8>,
}

impl Wanted {
    /// The stamp, if the source says one.
    pub fn said_timestamp(&self) -> Option<u32> {
        self.timestamp.filter(|&stamp| stamp != 0)
    }

    /// The checksum, if the source says one.
    pub fn said_checksum(&self) -> Option<u32> {
        self.checksum.filter(|&checksum| checksum != 0)
    }

    /// The size, if the source says one.
    pub fn said_size(&self) -> Option<u32> {
        Some(self.size).filter(|&size| size != 0)
    }

    /// The PDB's identity, if the source says one.
    pub fn said_pdb(&self) -> Option<PdbId> {
        self.pdb.filter(|pdb| pdb.guid != Guid([0; 16]))
    }

    /// The symbol server's key of the image, if stamp and size are known.
    pub fn image_key(&self) -> Option<String> {
        Some(image_key(self.said_timestamp()?, self.said_size()?))
    }

    /// Compares a file's identity with what is wanted.
    ///
    /// A file is the wanted one when everything that the source says agrees and that is enough to tell it from others:
    /// the stamp, or the PDB, or for sources that say neither the checksum or, with a doubt, the size together with
    /// the name. A different checksum is only a doubt, because servicing leaves copies with another checksum and the
    /// same code.
    pub fn compare(&self, name: &str, identity: &Identity) -> Comparison {
        let mut result = Comparison::default();
        if let (Some(wanted), Some(found)) = (self.pointer_size, pointer_size(identity.machine))
            && wanted != found
        {
            result.differences.push(Difference::Machine { pointer_size: wanted, found: identity.machine });
        }
        if let Some(wanted) = self.said_timestamp().filter(|&wanted| wanted != identity.timestamp) {
            result.differences.push(Difference::Timestamp { wanted, found: identity.timestamp });
        }
        if let Some(wanted) = self.said_size().filter(|&wanted| !same_size(wanted, identity.size_of_image)) {
            result.differences.push(Difference::Size { wanted, found: identity.size_of_image });
        }
        let found_pdb = pdb_id(identity);
        match (self.said_pdb(), found_pdb) {
            (Some(wanted), Some(found)) if wanted != found => {
                result.differences.push(Difference::Pdb { wanted, found: Some(found) });
            }
            (Some(wanted), None) if self.said_timestamp().is_none() => {
                result.differences.push(Difference::Pdb { wanted, found: None });
            }
            (Some(_), None) => result.doubts.push(Doubt::NoPdb),
            _ => {}
        }
        let checksum = self.said_checksum();
        if let Some(wanted) = checksum.filter(|&wanted| wanted != identity.checksum) {
            result.doubts.push(Doubt::Checksum { wanted, found: identity.checksum });
        }
        if self.said_timestamp().is_none() && self.said_pdb().is_none() {
            match checksum {
                // Without stamp and PDB the checksum is all there is, and so it has to agree.
                Some(wanted) if wanted != identity.checksum => {
                    result.doubts.clear();
                    result.differences.push(Difference::Checksum { wanted, found: identity.checksum });
                }
                Some(_) if self.said_size().is_some() => {}
                _ if self.said_size().is_some() && same_module_name(&self.name, name) => {
                    result.doubts.push(Doubt::OnlySizeKnown);
                }
                _ => result.differences.push(Difference::NothingSaid),
            }
        }
        result
    }
}

/// How a file compares with what is wanted. It is the wanted file if there are no differences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What speaks against it.
    pub differences: Vec<Difference>,
    /// What does not, but leaves it uncertain.
    pub doubts: Vec<Doubt>,
}

impl Comparison {
    /// True when the file is the wanted one.
    pub fn is_match(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Something in which a file is not the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// TimeDateStamp.
    Timestamp {
        /// In the source.
        wanted: u32,
        /// In the file.
        found: u32,
    },
    /// SizeOfImage in bytes.
    Size {
        /// In the source.
        wanted: u32,
        /// In the file.
        found: u32,
    },
    /// CheckSum, where the source says nothing better.
    Checksum {
        /// In the source.
        wanted: u32,
        /// In the file.
        found: u32,
    },
    /// The PDB's identity.
    Pdb {
        /// In the source.
        wanted: PdbId,
        /// In the file, `None` if it names no PDB.
        found: Option<PdbId>,
    },
    /// The file is for a machine whose addresses have another size.
    Machine {
        /// In the source: bytes of an address.
        pointer_size: u8,
        /// In the file.
        found: Machine,
    },
    /// The source says too little to identify a file.
    NothingSaid,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timestamp { wanted, found } => write!(f, "TimeDateStamp is {found:#x}, wanted is {wanted:#x}"),
            Self::Size { wanted, found } => write!(f, "SizeOfImage is {found:#x}, wanted is {wanted:#x}"),
            Self::Checksum { wanted, found } => write!(f, "CheckSum is {found:#x}, wanted is {wanted:#x}"),
            Self::Pdb { wanted, found: Some(found) } => write!(f, "its PDB is {found}, wanted is {wanted}"),
            Self::Pdb { wanted, found: None } => write!(f, "it names no PDB, wanted is {wanted}"),
            Self::Machine { pointer_size, found } => {
                write!(f, "it is for {found}, wanted is a {}-bit module", 8 * u32::from(*pointer_size))
            }
            Self::NothingSaid => {
                f.write_str("the source gives too little to identify a file: no stamp, PDB, or checksum and size")
            }
        }
    }
}

/// Why a file that is taken may be the wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// CheckSum differs. A servicing copy of hal.dll has been seen with another checksum and the same code.
    Checksum {
        /// In the source.
        wanted: u32,
        /// In the file.
        found: u32,
    },
    /// Stamp and size agree; the source names a PDB and the file does not.
    NoPdb,
    /// The source gives only name and size. Two builds often have the same size.
    OnlySizeKnown,
    /// Another file with another name has the same stamp and size and is not the same file.
    OthersFit {
        /// Where the other one is.
        other: String,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum { wanted, found } => {
                write!(f, "its CheckSum is {found:#x}, wanted is {wanted:#x}; stamp and size agree")
            }
            Self::NoPdb => f.write_str("it names no PDB, but the wanted module does; stamp and size agree"),
            Self::OnlySizeKnown => {
                f.write_str("identified by name and size alone, because the source gives no stamp, checksum or PDB")
            }
            Self::OthersFit { other } => write!(f, "{other} is another file with the same stamp and size"),
        }
    }
}

/// An identity in a few words.
pub(crate) fn shown(identity: &Identity) -> String {
    let Identity { timestamp, size_of_image, .. } = identity;
    format!("one with TimeDateStamp {timestamp:#x} and SizeOfImage {size_of_image:#x}")
}

/// Bytes of an address on a machine (IMAGE_FILE_MACHINE_* of winnt.h), if it is a known one.
fn pointer_size(machine: Machine) -> Option<u8> {
    match machine.0 {
        // I386, ARM, THUMB, ARMNT.
        0x14c | 0x1c0 | 0x1c2 | 0x1c4 => Some(4),
        // IA64, AMD64, ARM64.
        0x200 | 0x8664 | 0xaa64 => Some(8),
        _ => None,
    }
}

/// The PDB that a file names, if it has a GUID.
pub(crate) fn pdb_id(identity: &Identity) -> Option<PdbId> {
    identity.pdb.as_ref().and_then(CodeView::pdb_id)
}

/// Sizes agree if they are equal, or if the source counts whole pages where the file does not.
fn same_size(wanted: u32, found: u32) -> bool {
    wanted == found || found.checked_next_multiple_of(pe_image::PAGE_SIZE) == Some(wanted)
}

/// True for equal names in any case, and for names that stand for the same module.
pub(crate) fn same_module_name(a: &str, b: &str) -> bool {
    let (a, b) = (last_component(a).to_lowercase(), last_component(b).to_lowercase());
    a == b || other_names(&a).contains(&b) || other_names(&b).contains(&a)
}

/// Names under which the same file may be kept: kernel and HAL were installed from several files under one name, and
/// the drivers of the crash-dump and hibernation stacks are loaded a second time with a prefix.
pub(crate) fn other_names(name: &str) -> Vec<String> {
    const GROUPS: [&[&str]; 2] = [
        &pe_image::KERNEL_FILE_NAMES,
        &["hal.dll", "halmacpi.dll", "halacpi.dll", "halaacpi.dll", "halapic.dll", "halmps.dll"],
    ];
    let lower = name.to_lowercase();
    let group = GROUPS.iter().find(|group| group.contains(&lower.as_str())).copied().unwrap_or_default();
    let mut names: Vec<String> = group.iter().filter(|other| **other != lower).map(|&other| other.to_owned()).collect();
    names.extend(["dump_", "hiber_"].iter().filter_map(|prefix| lower.strip_prefix(prefix)).map(str::to_owned));
    names
}
