//! Where a thread object has its fields, as the kernel's PDB says it.

use std::io::Cursor;

use kernel_snapshot::threads::ThreadLayout;
use pdb2::{FallibleIterator, TypeData, TypeFinder, TypeIndex};

use super::error::{PdbError, Problem};

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
    let types = pdb.type_information()?;
    let mut finder = types.finder();
    let mut classes = Vec::new();
    let mut iter = types.iter();
    while let Some(item) = iter.next()? {
        finder.update(&iter);
        let Ok(TypeData::Class(class)) = item.parse() else { continue };
        if class.properties.forward_reference() {
            continue;
        }
        if let (Some(fields), name @ (b"_KTHREAD" | b"_ETHREAD")) = (class.fields, class.name.as_bytes()) {
            classes.push((name == b"_ETHREAD", fields));
        }
    }
    let find = |extended: bool, name: &'static str| {
        let mut of_class = classes.iter().filter(|&&(kind, _)| kind == extended);
        of_class
            .find_map(|&(_, fields)| field(&finder, fields, name.rsplit('.').next()?, 0))
            .ok_or(Problem::NoField(name))
    };
    Ok(ThreadLayout {
        process: find(false, "_KTHREAD.Process")?,
        kernel_stack: find(false, "_KTHREAD.KernelStack")?,
        stack_limit: find(false, "_KTHREAD.StackLimit")?,
        stack_base: find(false, "_KTHREAD.StackBase")?,
        client_id: find(true, "_ETHREAD.Cid")?,
    })
}

/// Long field lists go on in further records; a hostile PDB may chain them in a ring.
const MAX_CHAIN: u32 = 64;

fn field(finder: &TypeFinder<'_>, list: TypeIndex, name: &str, depth: u32) -> Option<u32> {
    let Ok(TypeData::FieldList(list)) = finder.find(list).ok()?.parse() else { return None };
    for member in &list.fields {
        if let TypeData::Member(member) = member
            && member.name.as_bytes() == name.as_bytes()
        {
            return u32::try_from(member.offset).ok();
        }
    }
    let next = list.continuation.filter(|_| depth < MAX_CHAIN)?;
    field(finder, next, name, depth + 1)
}
