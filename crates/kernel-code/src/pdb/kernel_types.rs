//! Where the kernel keeps its trace sessions, as its PDB says it: structures and symbols.

use std::collections::BTreeMap;
use std::io::Cursor;

use etw_sessions::{KernelTypes, names};
use pdb2::{FallibleIterator, SymbolData};
use symstore::PdbId;

use super::error::{PdbError, Problem};
use super::structures::{Pdb, structures};

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
    let wanted = structures(&mut pdb, |name| names::STRUCTURES.contains(&name));
    Ok(KernelTypes { structures: wanted.unwrap_or_default(), symbols })
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
