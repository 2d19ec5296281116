//! Where the kernel keeps its trace sessions, as its PDB says it: structures and symbols.

use std::collections::BTreeMap;
use std::io::Cursor;

use etw_sessions::{KernelTypes, StructLayout, names};
use pdb2::{FallibleIterator, SymbolData, TypeData, TypeFinder, TypeIndex};
use symstore::PdbId;

use super::error::{PdbError, Problem};

/// Reads the structures and symbols that lead to the kernel's trace sessions. A PDB without types, as Microsoft strips
/// some, gives symbols alone.
///
/// # Errors
/// When the file is not a PDB, damaged, or another build's than `wanted`. Takes memory of at most three times the file.
pub fn kernel_types(pdb: &[u8], wanted: Option<PdbId>) -> Result<KernelTypes, PdbError> {
    symstore::pdb::check_container(pdb)?;
    // pdb2 0.11 panics on some damaged records (see thread_layout.rs). Nothing outlives the call.
    let read = || read_pdb(pdb, wanted);
    Ok(std::panic::catch_unwind(read).unwrap_or(Err(Problem::Damaged("a record")))?)
}

fn read_pdb(file: &[u8], wanted: Option<PdbId>) -> Result<KernelTypes, Problem> {
    let mut pdb = pdb2::PDB::open(Cursor::new(file))?;
    if let Some(wanted) = wanted {
        let information = pdb.pdb_information()?;
        // An image names the age of the DBI stream; that of the PDB counts further changes.
        let age = pdb.debug_information().ok().and_then(|debug| debug.age()).unwrap_or(information.age);
        let found = PdbId { guid: symstore::Guid(information.guid.to_bytes_le()), age };
        if found != wanted {
            return Err(Problem::OtherBuild { found, wanted });
        }
    }
    let symbols = symbols(&mut pdb).unwrap_or_default();
    Ok(KernelTypes { structures: structures(&mut pdb).unwrap_or_default(), symbols })
}

type Pdb<'f> = pdb2::PDB<'f, Cursor<&'f [u8]>>;

fn structures(pdb: &mut Pdb<'_>) -> Result<BTreeMap<String, StructLayout>, Problem> {
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
        if let (Some(fields), true) = (class.fields, names::STRUCTURES.contains(&&*name)) {
            found.push((name.into_owned(), class.size, fields));
        }
    }
    let mut structures = BTreeMap::new();
    for (name, size, fields) in found {
        let mut layout = StructLayout { size: u32::try_from(size).ok(), ..StructLayout::default() };
        members(&finder, fields, &mut layout);
        // Of several definitions the one that says most.
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

/// Kinds of records that name data (cvinfo.h); only these are parsed, as in names.rs.
const S_PUB32: u16 = 0x110e;
const S_LDATA32: u16 = 0x110c;
const S_GDATA32: u16 = 0x110d;

fn symbols(pdb: &mut Pdb<'_>) -> Result<BTreeMap<String, u32>, Problem> {
    let addresses = pdb.address_map()?;
    let globals = pdb.global_symbols()?;
    let mut found = BTreeMap::new();
    let mut symbols = globals.iter();
    while let Some(symbol) = symbols.next()? {
        if !matches!(symbol.raw_kind(), S_PUB32 | S_LDATA32 | S_GDATA32) {
            continue;
        }
        let (offset, name) = match symbol.parse() {
            Ok(SymbolData::Public(symbol)) => (symbol.offset, symbol.name),
            Ok(SymbolData::Data(symbol)) => (symbol.offset, symbol.name),
            _ => continue,
        };
        let name = name.to_string();
        if let (true, Some(rva)) = (names::SYMBOLS.contains(&&*name), offset.to_rva(&addresses)) {
            found.insert(name.into_owned(), rva.0);
        }
    }
    Ok(found)
}
