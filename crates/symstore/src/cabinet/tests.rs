//! Cabinets of every kind, whole and damaged.

use super::Cabinet;
use crate::stream::Budget;
use proptest::prelude::*;
use std::io::{self, Cursor, Read, Write};
use testkit::catalog::{self, lzx_stored};

fn cabinet(files: &[(&str, &[u8])], kind: cab::CompressionType) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    let folder = builder.add_folder(kind);
    for (name, _) in files {
        folder.add_file(*name);
    }
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    let mut bodies = files.iter();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(bodies.next().unwrap().1).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn open(packed: &[u8]) -> io::Result<Cabinet<Cursor<&[u8]>>> {
    Cabinet::open(Cursor::new(packed))
}

fn read(packed: &[u8], number: usize) -> io::Result<Vec<u8>> {
    open(packed)?.read_member(number, &Budget::new(1 << 30))
}

#[test]
fn files_are_read_one_by_one_and_in_one_pass() {
    let body: Vec<u8> = (0..100_000_u32).map(|i| (i / 7) as u8).collect();
    for kind in [cab::CompressionType::None, cab::CompressionType::MsZip] {
        let files = [("a.sys", &b"first"[..]), ("b.sys", &body), ("c.sys", b"last")];
        let packed = cabinet(&files, kind);
        for (number, (_, content)) in files.iter().enumerate() {
            assert_eq!(read(&packed, number).unwrap(), *content);
        }
        assert!(read(&packed, 3).is_err());
        // Half of each file, and then the next one, for exactly the bytes up to there.
        let mut seen = Vec::new();
        let budget = Budget::new(5 + 100_000 + 2);
        let mut half = |_: usize, member: &super::Member, content: &mut dyn Read| {
            let mut bytes = vec![0; member.size as usize / 2];
            content.read_exact(&mut bytes).unwrap();
            seen.push((member.name.clone(), bytes));
        };
        open(&packed).unwrap().for_each_member(&budget, &mut half).unwrap();
        let expected = files.map(|(name, content)| (name.to_owned(), content[..content.len() / 2].to_vec()));
        assert_eq!(seen, expected);
    }
}

#[test]
fn lzx_is_read() {
    let block = lzx_stored(b"stored by LZX", [1, 1, 1]);
    let packed = catalog::cabinet(0xf03, &[(&block, 13)]);
    assert_eq!(read(&packed, 0).unwrap(), b"stored by LZX");
}

#[test]
fn what_is_skipped_counts_against_the_budget() {
    let packed = cabinet(&[("zeros", &[0; 500_000]), ("b.sys", b"last")], cab::CompressionType::MsZip);
    let check = |budget, allowed| {
        let result = open(&packed).unwrap().read_member(1, &Budget::new(budget));
        assert_eq!(result.is_ok(), allowed, "{budget}: {result:?}");
    };
    check(500_004, true);
    check(500_003, false);
}

#[test]
fn tables_that_disagree_are_refused_before_anything_is_unpacked() {
    let packed = cabinet(&[("a.sys", b"first"), ("b.sys", b"2")], cab::CompressionType::None);
    // The entry of the first file (size, offset in the folder, folder) stands where the header says, that of the
    // second one follows its name; the data block is last.
    let first = u32::from_le_bytes(packed[16..20].try_into().unwrap()) as usize;
    let second = first + 16 + 6;
    let block = packed.len() - 6 - 8;
    let check = |at: usize, value: &[u8]| {
        let mut packed = packed.clone();
        packed[at..at + value.len()].copy_from_slice(value);
        assert!(open(&packed).is_err(), "{at} {value:?}");
    };
    check(first, &[7, 0, 0, 0]);
    check(first + 4, &[2, 0, 0, 0]);
    check(first + 4, &[0xff; 4]);
    check(first + 8, &[1, 0]);
    check(second + 4, &[4, 0, 0, 0]);
    check(block + 4, &[5, 0]);
    check(block + 6, &[0xff, 0xff]);
    check(30, &[1, 0]);
    check(0, b"MSCX");
    assert_eq!(open(&packed).unwrap().len(), 2);
}

#[test]
fn folders_that_share_blocks_are_refused_after_one_walk() {
    // Two hundred folders, each of the same 65,535 empty blocks; and two folders with one block between them.
    for (folders, blocks) in [(200, 65_535), (2, 1)] {
        let error = open(&catalog::sharing_cabinet(folders, blocks)).err().expect("an error").to_string();
        assert!(error.contains("more data than") || error.contains("share the data"), "{error}");
    }
}

proptest! {
    #[test]
    fn damage_is_an_error_and_no_panic(at in 0_usize..400, value: u8, cut in 0_usize..400) {
        let body: Vec<u8> = (0..3000_u32).map(|i| (i / 3) as u8).collect();
        let mut packed = cabinet(&[("a.sys", &body), ("b.sys", b"second")], cab::CompressionType::MsZip);
        let at = at % packed.len();
        packed[at] = value;
        packed.truncate(packed.len() - cut % packed.len());
        let _ = (read(&packed, 0), read(&packed, 1));
    }

    #[test]
    fn any_lzx_is_no_panic(stored in 0..20_usize, offsets: [u32; 3], rest in prop::collection::vec(any::<u8>(), 0..400)) {
        let block = [lzx_stored(&vec![7; stored * 2], offsets), rest].concat();
        let _ = read(&catalog::cabinet(0xf03, &[(&block, 0x7fff)]), 0);
    }
}
