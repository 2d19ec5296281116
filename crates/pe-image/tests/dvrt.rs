//! The dynamic relocation table, decoded: versions, widths, symbols, padding, and errors that say where.

use pe_image::{
    Arm64xFixup, Dvrt, Fixups, IatIndex, MappedImage, OverrideSiteKind, PeFile, Policy, RelocationKind, Rva, Symbol,
};
use testkit::image::{ARM64, At, Driver, Entry, OverrideSpec, SiteSpec, padded_u16s, page_blocks, u32s};

fn blocks(pages: &[(u32, Vec<u8>)]) -> Vec<u8> {
    page_blocks(&pages.iter().cloned().collect())
}

fn driver_with(entries: &[(u64, Vec<u8>)]) -> Driver {
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x3000);
    driver.entries =
        entries.iter().map(|(symbol, payload)| Entry { symbol: *symbol, payload: payload.clone() }).collect();
    driver
}

/// Checks the table of a driver, built as x64 and x86 and in both versions.
fn check_table(entries: &[(u64, Vec<u8>)], check: impl Fn(&Dvrt<'_>)) {
    for version in [1, 2] {
        for x86 in [false, true] {
            let mut driver = driver_with(entries);
            if x86 {
                driver = Driver { entries: driver.entries, sections: driver.sections, ..Driver::new_x86("driver.sys") };
            }
            driver.dvrt_version = Some(version);
            let built = driver.build();
            let table = PeFile::parse(&built.bytes).unwrap().dvrt().unwrap().unwrap();
            assert_eq!((table.version, &table.error), (version, &None));
            assert_eq!(table.entries.len(), entries.len());
            check(&table);
        }
    }
}

#[test]
fn records_of_symbols_3_4_and_5() {
    let imports =
        blocks(&[(0x1000, u32s(&[0x1000 | 5 << 13, 0x010 | 0x7_ffff << 13])), (0x2000, u32s(&[0xfff | 1 << 13]))]);
    let indirect = blocks(&[(0x1000, padded_u16s(&[0x5004, 0x2008, 0x100c]))]);
    let switches = blocks(&[(0x3000, padded_u16s(&[0xf020]))]);
    check_table(&[(3, imports), (4, indirect), (5, switches)], |table| {
        let Fixups::ImportTransfers(records) = table.entries[0].fixups() else { panic!() };
        let records: Vec<_> = records.map(|record| record.unwrap()).map(|r| (r.rva.0, r.call, r.index())).collect();
        let index = |number| Some(IatIndex(number));
        assert_eq!(records, [(0x1000, true, index(5)), (0x1010, false, None), (0x2fff, false, index(1))]);
        let Fixups::IndirectTransfers(records) = table.entries[1].fixups() else { panic!() };
        let records: Vec<_> = records.map(|record| record.unwrap()).map(|r| (r.rva.0, r.call, r.rex, r.cfg)).collect();
        let expected = [(0x1004, true, false, true), (0x1008, false, true, false), (0x100c, true, false, false)];
        assert_eq!(records, expected);
        let Fixups::SwitchBranches(records) = table.entries[2].fixups() else { panic!() };
        let records: Vec<_> = records.map(|record| record.unwrap()).map(|r| (r.rva.0, r.register)).collect();
        assert_eq!(records, [(0x3020, 15)]);
    });
}

/// Offset 0 counts as the first record of a block only.
#[test]
fn padding() {
    let indirect =
        blocks(&[(0x1000, padded_u16s(&[0x1000, 0x1004, 0x0000, 0x1008])), (0x2000, padded_u16s(&[0x0000]))]);
    check_table(&[(4, indirect)], |table| {
        let Fixups::IndirectTransfers(records) = table.entries[0].fixups() else { panic!() };
        let records: Vec<_> = records.map(|record| record.unwrap().rva.0).collect();
        assert_eq!(records, [0x1000, 0x1004, 0x1008, 0x2000]);
    });
}

#[test]
fn arm64_import_calls() {
    // blr x16 through slot 3; br x8, delayed, without slot. Offsets count in units of 4 bytes.
    let records = u32s(&[5 | 1 << 10 | 16 << 11 | 3 << 17, 0x3ff | 8 << 11 | 1 << 16 | 0x7fff << 17]);
    let mut driver = driver_with(&[(8, blocks(&[(0x1000, records)]))]);
    driver.machine = ARM64;
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let table = file.dvrt().unwrap().unwrap();
    let Fixups::Arm64ImportTransfers(records) = table.entries[0].fixups() else { panic!() };
    let records: Vec<_> = records.map(|record| record.unwrap()).collect();
    let [a, b] = records[..] else { panic!("{records:?}") };
    assert_eq!((a.rva.0, a.call, a.register, a.delayed, a.raw_index), (0x1014, true, 16, false, 3));
    assert_eq!((b.rva.0, b.call, b.register, b.delayed, b.raw_index), (0x1ffc, false, 8, true, 0x7fff));
    let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::default());
    assert_eq!(image.counts().arm64_imports, 2);
    assert!(image.warnings().iter().any(|warning| warning.to_string().contains("not known")));
}

#[test]
fn arm64x_fixups() {
    // Zero 4 bytes; value of 2 bytes; value of 1 byte and its padding; delta −3 × 8.
    let mut records = Vec::new();
    for record in [0x8010_u16, 0x5020, 0xabcd, 0x1030, 0x00ee, 0xe040, 3] {
        records.extend_from_slice(&record.to_le_bytes());
    }
    records.extend_from_slice(&[0, 0]);
    check_table(&[(6, blocks(&[(0x1000, records)]))], |table| {
        let Fixups::Arm64x(fixups) = table.entries[0].fixups() else { panic!() };
        let fixups: Vec<_> = fixups.iter().map(|fixup| fixup.unwrap()).collect();
        assert_eq!(
            fixups,
            [
                Arm64xFixup::Zero { rva: Rva(0x1010), size: 4 },
                Arm64xFixup::Value { rva: Rva(0x1020), size: 2, value: 0xabcd },
                Arm64xFixup::Value { rva: Rva(0x1030), size: 1, value: 0xee },
                Arm64xFixup::Delta { rva: Rva(0x1040), delta: -24 },
            ]
        );
    });
}

#[test]
fn function_overrides() {
    let mut driver = driver_with(&[]);
    driver.overrides = vec![
        OverrideSpec::new(At(0, 0x10), vec![At(0, 0x10)], vec![At(0, 0x100), At(0, 0x1ffe)]),
        OverrideSpec::new(At(0, 0x20), vec![At(0, 0x30), At(0, 0x40)], vec![At(0, 0x200)]),
    ];
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let table = file.dvrt().unwrap().unwrap();
    let Fixups::FunctionOverrides(Ok(overrides)) = table.entries[0].fixups() else { panic!() };
    assert_eq!(overrides.error, None);
    let [first, second] = &overrides.overrides[..] else { panic!() };
    assert_eq!((first.original, &first.alternatives[..]), (Rva(0x1010), &[Rva(0x1010)][..]));
    assert_eq!((second.original, &second.alternatives[..]), (Rva(0x1020), &[Rva(0x1030), Rva(0x1040)][..]));
    let sites: Vec<_> = first.sites().map(|site| site.unwrap()).map(|site| (site.rva.0, site.kind)).collect();
    assert_eq!(sites, [(0x1101, OverrideSiteKind::X64_REL32), (0x2fff, OverrideSiteKind::X64_REL32)]);
    let bdd = overrides.bdd(first).unwrap();
    assert_eq!((bdd.version, bdd.nodes.len(), bdd.nodes[0].value), (1, 2, 0x142));

    // Listed, and left alone by a policy that does not apply them.
    let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::default());
    assert_eq!(image.counts().overrides.listed, 3);
    assert_eq!(image.bytes(Rva(0x1000), 0x3000), &file.bytes_from(Rva(0x1000))[..0x3000]);
}

#[test]
fn address_constants() {
    let page_tables = 0xffff_f680_0000_0000_u64;
    let mut driver = driver_with(&[(page_tables, blocks(&[(0x1000, padded_u16s(&[0xa010, 0xaffc]))]))]);
    driver.sections[0].bytes[0x10..0x18].copy_from_slice(&(page_tables + 0x123).to_le_bytes());
    driver.sections[0].bytes[0xffc..0x1004].copy_from_slice(&page_tables.to_le_bytes());
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let table = file.dvrt().unwrap().unwrap();
    let Fixups::Address(constants) = table.entries[0].fixups() else { panic!() };
    let places: Vec<_> = constants.iter().map(|place| place.unwrap()).map(|place| (place.rva.0, place.kind)).collect();
    assert_eq!(places, [(0x1010, RelocationKind::DIR64), (0x1ffc, RelocationKind::DIR64)]);

    let base = file.headers().image_base;
    let image = MappedImage::new(file.clone(), base, Policy::default());
    assert_eq!(image.counts().address_constants, 2);
    assert_eq!(image.bytes(Rva(0x1010), 8)[..], (page_tables + 0x123).to_le_bytes());
    let moved = image.with_address(Symbol(page_tables), 0xffff_b700_0000_0000);
    assert_eq!(moved.bytes(Rva(0x1010), 8)[..], 0xffff_b700_0000_0123_u64.to_le_bytes());
    assert_eq!(moved.bytes(Rva(0x1ffc), 8)[..], 0xffff_b700_0000_0000_u64.to_le_bytes());
    assert_eq!(moved.bytes(Rva(0x1018), 0x100), &file.bytes_from(Rva(0x1018))[..0x100]);
}

#[test]
fn withdrawn_and_unknown_symbols_are_kept() {
    check_table(&[(1, vec![1, 2, 3]), (2, vec![]), (77, vec![4; 8])], |table| {
        assert!(matches!(table.entries[0].fixups(), Fixups::ReturnFlow([1, 2, 3])));
        assert!(matches!(table.entries[1].fixups(), Fixups::ReturnFlow([])));
        assert!(matches!(table.entries[2].fixups(), Fixups::Unknown(_)));
        assert_eq!(table.entries[2].symbol.to_string(), "symbol 0x4d");
    });
}

#[test]
fn absent_tables_are_no_error() {
    let cases: [fn(&mut Driver); 4] = [
        |driver| driver.dvrt_version = None,
        |driver| driver.load_config_size = None,
        // The structure ends before the section number.
        |driver| driver.load_config_size = Some(0xe4),
        |driver| driver.load_config_size = Some(0x94),
    ];
    for change in cases {
        let mut driver = driver_with(&[(3, vec![])]);
        change(&mut driver);
        assert_eq!(PeFile::parse(&driver.build().bytes).unwrap().dvrt(), Ok(None));
    }
}

/// Damages the table and reads the error's text.
#[test]
fn errors_say_where_and_what() {
    let driver = || {
        let mut driver = driver_with(&[]);
        let import = driver.import("ntoskrnl.exe", "ExFreePool");
        driver.call(At(0, 0x10), import).site(At(0, 0x40), SiteSpec::Switch(1));
        driver
    };
    let dvrt = PeFile::parse(&driver().build().bytes).unwrap().dvrt().unwrap().unwrap().rva.0;
    // Offset in the table, value, expected error; "" where the table as such can be read.
    let cases = [
        (0, 3, format!("IMAGE_DYNAMIC_RELOCATION_TABLE at RVA {dvrt:#x}: Version is 0x3, allowed is 1 or 2")),
        (
            4,
            0xffff_ffff,
            format!("IMAGE_DYNAMIC_RELOCATION_TABLE at RVA {dvrt:#x}: Size is 0xffffffff, allowed is at most 0x1f8"),
        ),
    ];
    for (offset, value, expected) in cases {
        let mut built = driver().build();
        built.put_u32("dvrt", offset, value);
        let error = PeFile::parse(&built.bytes).unwrap().dvrt().unwrap_err();
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    // Entry 1: symbol at 8, size at 16, block at 20 (page, size), record at 28. Entry 2 starts at 32.
    let cases = [
        (
            16,
            0x1000,
            format!("IMAGE_DYNAMIC_RELOCATION at RVA {:#x}: BaseRelocSize is 0x1000, allowed is at most", dvrt + 8),
            0,
        ),
        (4, 0x20, format!("IMAGE_DYNAMIC_RELOCATION at RVA {:#x}: needs 0xc bytes, there are 0x8", dvrt + 32), 1),
        (24, 7, format!("IMAGE_BASE_RELOCATION at RVA {:#x}: SizeOfBlock is 0x7, allowed is 8 to 0xc", dvrt + 20), 0),
        (
            24,
            0x100,
            format!("IMAGE_BASE_RELOCATION at RVA {:#x}: SizeOfBlock is 0x100, allowed is 8 to 0xc", dvrt + 20),
            0,
        ),
    ];
    for (offset, value, expected, left) in cases {
        let mut built = driver().build();
        built.put_u32("dvrt", offset, value);
        let file = PeFile::parse(&built.bytes).unwrap();
        let image = MappedImage::new(file.clone(), 0, Policy::default());
        let text = image.warnings()[0].to_string();
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(image.counts().import.listed, left, "what stands in front of the damage is read");
    }
}
