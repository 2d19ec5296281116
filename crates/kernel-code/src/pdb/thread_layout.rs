//! Where a thread object has its fields, as the kernel's PDB says it.

use std::io::Cursor;

use kernel_snapshot::threads::ThreadLayout;

use super::error::{PdbError, Problem};
use super::structures::structures;

/// Reads the offsets of a thread object's fields from the kernel's PDB.
///
/// # Errors
/// When the file is not a PDB, or one without the types `_KTHREAD` and `_ETHREAD`. Takes memory of at most three times
/// the file.
pub fn thread_layout(pdb: &[u8]) -> Result<ThreadLayout, PdbError> {
    symstore::pdb::check_container(pdb)?;
    // pdb2 0.11 panics on some damaged type records ("entered unreachable code", found by changing bytes at random).
    // Nothing outlives the call, so that nothing can be left half done.
    Ok(std::panic::catch_unwind(|| from_types(pdb)).unwrap_or(Err(Problem::Damaged("a type record")))?)
}

fn from_types(pdb: &[u8]) -> Result<ThreadLayout, Problem> {
    let mut pdb = pdb2::PDB::open(Cursor::new(pdb))?;
    let found = structures(&mut pdb, |name| matches!(name, "_KTHREAD" | "_ETHREAD"))?;
    let find = |name: &'static str| {
        let (structure, member) = name.split_once('.').ok_or(Problem::NoField(name))?;
        let offset = found.get(structure).and_then(|layout| layout.members.get(member));
        offset.copied().ok_or(Problem::NoField(name))
    };
    Ok(ThreadLayout {
        process: find("_KTHREAD.Process")?,
        kernel_stack: find("_KTHREAD.KernelStack")?,
        stack_limit: find("_KTHREAD.StackLimit")?,
        stack_base: find("_KTHREAD.StackBase")?,
        client_id: find("_ETHREAD.Cid")?,
    })
}
