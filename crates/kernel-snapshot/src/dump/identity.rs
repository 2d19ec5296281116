//! Which build a module is, from the memory that a dump holds of it.

use pe_image::{CodeView, MappedIdentity};

use super::ReadMemory;
use crate::snapshot::Pdb;

/// What the headers of the image at `base` say. Every value may be missing: a dump holds what it holds.
pub(super) fn at(memory: &dyn ReadMemory, base: u64) -> MappedIdentity {
    MappedIdentity::read(|rva, out| base.checked_add(rva.0.into()).map_or(0, |address| memory.read(address, out)))
}

/// A CodeView record as the snapshot keeps it; `None` for PDB 2.0, which no kernel module of today has.
pub(super) fn pdb(record: &CodeView) -> Option<Pdb> {
    Some(Pdb { name: record.name(), id: record.pdb_id()? })
}
