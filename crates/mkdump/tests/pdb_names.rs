//! Names from PDBs: of the right file, and whatever a file holds.

use mkdump::pdb::Symbols;
use proptest::prelude::*;
use symstore::{Guid, PdbId};
use testkit::dump::pdb_symbols;

const WANTED: PdbId = PdbId { guid: Guid([0x5a; 16]), age: 3 };

fn pdb() -> Vec<u8> {
    let publics = [(1, 0x20, "_public"), (2, 0x0, "Second"), (1, 0x100, "Last"), (9, 0, "Nowhere")];
    let procedures = [(1, 0x20, "Procedure"), (1, 0x60, "Static")];
    pdb_symbols::symbols(WANTED.guid.0, WANTED.age, &[0x1000, 0x5000], &publics, &procedures)
}

#[test]
fn the_nearest_symbol_names_an_address() {
    let symbols = Symbols::from_pdb(&pdb(), WANTED).unwrap();
    let check = |rva: u32, expected: Option<(&str, u32)>| assert_eq!(symbols.nearest(rva), expected, "{rva:#x}");
    check(0x101f, None);
    check(0x1020, Some(("Procedure", 0)));
    check(0x105f, Some(("Procedure", 0x3f)));
    check(0x1060, Some(("Static", 0)));
    check(0x4fff, Some(("Last", 0x3eff)));
    check(0x5001, Some(("Second", 1)));
    check(u32::MAX, Some(("Second", u32::MAX - 0x5000)));
}

#[test]
fn another_builds_pdb_gives_no_names() {
    for wanted in [PdbId { age: 4, ..WANTED }, PdbId { guid: Guid([0; 16]), ..WANTED }] {
        let error = Symbols::from_pdb(&pdb(), wanted).unwrap_err().to_string();
        assert!(error.contains("it is 5A5A5A5A-5A5A-5A5A-5A5A-5A5A5A5A5A5A age 3"), "{error}");
    }
    for file in [&b""[..], b"MZ", &pdb()[..0x1000]] {
        assert!(Symbols::from_pdb(file, WANTED).is_err());
    }
}

proptest! {
    /// Bytes changed where a PDB has something, at the beginnings of its blocks; and the file cut.
    #[test]
    fn a_damaged_pdb_is_no_panic(
        edits in prop::collection::vec((any::<u8>(), prop_oneof![0usize..0x20, 0usize..0x140], any::<u8>()), 0..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = pdb();
        for (block, at, value) in edits {
            let block = usize::from(block) % (file.len() / 0x1000);
            file[block * 0x1000 + at] = value;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(symbols) = Symbols::from_pdb(&file, WANTED) {
            for rva in [0, 0x1020, 0x10ff, 0x5001, u32::MAX] {
                prop_assert!(symbols.nearest(rva).is_none_or(|(_, distance)| distance <= rva));
            }
        }
    }
}
