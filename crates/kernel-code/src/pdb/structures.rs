//! The members of structures, as a PDB says them.

use std::collections::BTreeMap;
use std::io::Cursor;

use etw_sessions::StructLayout;
use pdb2::{FallibleIterator, TypeData, TypeFinder, TypeIndex};

use super::error::Problem;

pub(super) type Pdb<'f> = pdb2::PDB<'f, Cursor<&'f [u8]>>;

/// The structures of the wanted names, with their members' offsets. Of several definitions the one with the most members
/// counts.
pub(super) fn structures(
    pdb: &mut Pdb<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, StructLayout>, Problem> {
    let types = pdb.type_information()?;
    let mut finder = types.finder();
    let mut found: Vec<(String, u64, TypeIndex)> = Vec::new();
    let mut iter = types.iter();
    while let Some(item) = iter.next()? {
        finder.update(&iter);
        let Ok(TypeData::Class(class)) = item.parse() else { continue };
        if class.properties.forward_reference() {
            continue;
        }
        let name = class.name.to_string();
        if let (Some(fields), true) = (class.fields, wanted(&name)) {
            found.push((name.into_owned(), class.size, fields));
        }
    }
    let mut structures = BTreeMap::new();
    for (name, size, fields) in found {
        let mut layout = StructLayout { size: u32::try_from(size).ok(), ..StructLayout::default() };
        members(&finder, fields, &mut layout);
        let best: &mut StructLayout = structures.entry(name).or_default();
        if layout.members.len() > best.members.len() {
            *best = layout;
        }
    }
    Ok(structures)
}

/// Long field lists go on in further records; a hostile PDB may chain them in a ring.
const MAX_CHAIN: u32 = 64;

/// Collects a field list's members. Those of anonymous unions are in the list of the structure around them.
fn members(finder: &TypeFinder<'_>, list: TypeIndex, layout: &mut StructLayout) {
    let mut next = Some(list);
    for _ in 0..MAX_CHAIN {
        let Some(Ok(item)) = next.map(|list| finder.find(list)) else { return };
        let Ok(TypeData::FieldList(list)) = item.parse() else { return };
        for member in &list.fields {
            if let TypeData::Member(member) = member
                && let Ok(offset) = u32::try_from(member.offset)
            {
                layout.members.entry(member.name.to_string().into_owned()).or_insert(offset);
            }
        }
        next = list.continuation;
    }
}
