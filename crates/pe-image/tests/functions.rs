//! Tables of functions, typed directories, and the sizes of sites.

use pe_image::{DirectoryKind, IatIndex, PeFile, Place, Rva, SiteEncoding, SiteKind};
use testkit::image::{ARM64, At, Built, Driver, RDATA};

/// A driver with 0x300 bytes of code at RVA 0x1000 and `table` in a section of its own, whose RVA is the result's second
/// part.
fn with_table(machine: u16, table: &[u32]) -> (Built, u32) {
    let mut driver = Driver { machine, ..Driver::new("a.sys") };
    driver.code(".text", 0x300);
    driver.section(".pdata", RDATA, table.iter().flat_map(|word| word.to_le_bytes()).collect());
    let built = driver.build();
    let rva = built.section_rvas[1];
    (built, rva)
}

/// Data directories begin 0x88 bytes into the NT headers of PE32+, 8 bytes each.
fn set_directory(built: &mut Built, number: usize, rva: u32, size: u32) {
    built.put_u32("nt", 0x88 + 8 * number, rva).put_u32("nt", 0x88 + 8 * number + 4, size);
}

fn functions(built: &Built) -> Vec<(u32, u32)> {
    let functions = PeFile::parse(&built.bytes).unwrap().runtime_functions().unwrap();
    functions.iter().map(|function| (function.begin.0, function.end.0)).collect()
}

#[test]
fn runtime_functions_of_x64() {
    let table = [0x1080, 0x1090, 0x4000, 0x1010, 0x1040, 0x4000, 0x1100, 0x1100, 0x4000, 0xffff];
    let (mut built, rva) = with_table(testkit::image::X64, &table);
    assert_eq!(functions(&built), [], "no directory");
    // The fourth entry is not whole.
    set_directory(&mut built, 3, rva, 40);
    assert_eq!(functions(&built), [(0x1010, 0x1040), (0x1080, 0x1090)], "sorted, without the empty one");

    set_directory(&mut built, 3, rva, 0x2000);
    let error = PeFile::parse(&built.bytes).unwrap().runtime_functions().unwrap_err();
    assert_eq!((error.place(), error.is_truncation()), (Place::Rva(Rva(rva)), true));
}

#[test]
fn runtime_functions_of_arm64() {
    // Packed: 5 instructions; a fragment of 2; reserved flag; .xdata, whose first word says 0x20003 instructions of
    // which only the low 18 bits count.
    let table =
        |xdata: u32| [0x1000, 5 << 2 | 1, 0x1100, 2 << 2 | 2, 0x1200, 9 << 2 | 3, 0x1080, xdata, 0xabc0_0003, 0];
    let (_, rva) = with_table(ARM64, &table(0));
    let (mut built, _) = with_table(ARM64, &table(rva + 32));
    set_directory(&mut built, 3, rva, 32);
    assert_eq!(functions(&built), [(0x1000, 0x1014), (0x1080, 0x108c), (0x1100, 0x1108)]);
}

#[test]
fn listed_functions_are_exported_or_known_to_the_guard() {
    let mut driver = Driver::new("a.sys");
    let text = driver.code(".text", 0x300);
    driver.section(".gfids", RDATA, [0x1040u32, 0x1080].iter().flat_map(|word| word.to_le_bytes()).collect());
    driver.export("First", At(text, 0x20)).export("Second", At(text, 0x80));
    let mut built = driver.build();
    let listed = |built: &Built| {
        let mut listed: Vec<u32> =
            PeFile::parse(&built.bytes).unwrap().listed_functions().iter().map(|rva| rva.0).collect();
        listed.sort_unstable();
        listed
    };
    assert_eq!(listed(&built), [0x1020, 0x1080]);
    let rva = built.section_rvas[1];
    built.put_u32("load_config", 0x80, 0x4000_0000 + rva).put_u32("load_config", 0x84, 1);
    built.put_u32("load_config", 0x88, 2);
    assert_eq!(listed(&built), [0x1020, 0x1040, 0x1080, 0x1080]);
    // Exports are listed even where the other table cannot be read.
    built.put_u32("load_config", 0x88, 0x10_0000);
    assert_eq!(listed(&built), [0x1020, 0x1080]);
}

#[test]
fn guard_functions_with_and_without_flags() {
    let check = |guard_flags: u32, count: u32, table: &[u32], expected: &[(u32, u8)]| {
        let (mut built, rva) = with_table(testkit::image::X64, table);
        // GuardCFFunctionTable, GuardCFFunctionCount, GuardFlags.
        built.put_u32("load_config", 0x80, 0x4000_0000 + rva).put_u32("load_config", 0x84, 1);
        built.put_u32("load_config", 0x88, count).put_u32("load_config", 0x90, guard_flags);
        let functions = PeFile::parse(&built.bytes).unwrap().guard_functions().unwrap();
        let functions: Vec<_> = functions.iter().map(|function| (function.rva.0, function.flags)).collect();
        assert_eq!(functions, expected, "flags {guard_flags:#x}");
    };
    check(0x500, 2, &[0x1000, 0x1010, 0x1020], &[(0x1000, 0), (0x1010, 0)]);
    // One byte of flags, then five; only the first of these counts.
    check(0x1000_0500, 2, &[0x1000, 0x0010_1002, 0x0400], &[(0x1000, 2), (0x1010, 4)]);
    check(0x5000_0500, 2, &[0x1000, 0xaabb_cc04, 0x0010_10dd, 0x0000_0800], &[(0x1000, 4), (0x1010, 8)]);
    check(0x500, 0, &[], &[]);
}

#[test]
fn a_guard_table_that_leaves_the_file_is_an_error() {
    let (mut built, rva) = with_table(testkit::image::X64, &[0x1000]);
    built.put_u32("load_config", 0x80, 0x4000_0000 + rva).put_u32("load_config", 0x84, 1);
    for count in [[0x1000, 0], [u32::MAX, u32::MAX]] {
        built.put_u32("load_config", 0x88, count[0]).put_u32("load_config", 0x8c, count[1]);
        let error = PeFile::parse(&built.bytes).unwrap().guard_functions().unwrap_err();
        assert_eq!(error.structure(), "GuardCFFunctionTable");
    }
}

#[test]
fn guard_pointers_that_the_linker_knew() {
    let pointers = |size: u32, x86: bool| {
        let mut driver = if x86 { Driver::new_x86("a.sys") } else { Driver::new("a.sys") };
        driver.code(".text", 0x300);
        driver.load_config_size = Some(size);
        let mut built = driver.build();
        let base = if x86 { 0x1_0000 } else { 0x4000_0000 };
        let all: &[usize] = if x86 { &[0x48, 0x4c] } else { &[0x70, 0x78, 0x118, 0x120, 0x128, 0x138] };
        for (number, &at) in all.iter().enumerate() {
            built.put_u32("load_config", at, base + 0x1000 + 8 * number as u32);
            if !x86 {
                built.put_u32("load_config", at + 4, 1);
            }
        }
        let config = PeFile::parse(&built.bytes).unwrap().load_config().unwrap().unwrap();
        config.guard_pointers().map(|rva| rva.0).collect::<Vec<_>>()
    };
    assert_eq!(pointers(0x140, false), [0x1000, 0x1008, 0x1010, 0x1018, 0x1020, 0x1028]);
    assert_eq!(pointers(0x138, false), [0x1000, 0x1008, 0x1010, 0x1018, 0x1020]);
    assert_eq!(pointers(0x7c, false), [0x1000], "the second ends after the structure's own size");
    assert_eq!(pointers(0x50, true), [0x1000, 0x1008]);
}

#[test]
fn directories_by_their_meaning() {
    let mut built = Driver::new("a.sys").build();
    let kinds = [
        (0, DirectoryKind::Export),
        (1, DirectoryKind::Import),
        (2, DirectoryKind::Resource),
        (3, DirectoryKind::Exception),
        (4, DirectoryKind::Security),
        (5, DirectoryKind::BaseRelocation),
        (6, DirectoryKind::Debug),
        (7, DirectoryKind::Architecture),
        (8, DirectoryKind::GlobalPointer),
        (9, DirectoryKind::Tls),
        (10, DirectoryKind::LoadConfig),
        (11, DirectoryKind::BoundImport),
        (12, DirectoryKind::Iat),
        (13, DirectoryKind::DelayImport),
        (14, DirectoryKind::ClrRuntime),
    ];
    for (number, _) in kinds {
        set_directory(&mut built, number, 0x1000 + number as u32, 0x10 + number as u32);
    }
    let file = PeFile::parse(&built.bytes).unwrap();
    for (number, kind) in kinds {
        let directory = file.headers().directory(kind).unwrap();
        assert_eq!((directory.rva.0, directory.size), (0x1000 + number as u32, 0x10 + number as u32), "{kind:?}");
    }
}

#[test]
fn slots_by_number_on_either_width() {
    for mut driver in [Driver::new("a.sys"), Driver::new_x86("a.sys")] {
        let text = driver.code(".text", 0x300);
        driver.export("Own", At(text, 0));
        let imports: Vec<usize> =
            ["One", "Two", "Three"].iter().map(|name| driver.import("ntoskrnl.exe", name)).collect();
        let built = driver.build();
        let file = PeFile::parse(&built.bytes).unwrap();
        for import in imports {
            assert_eq!(file.iat_slot(IatIndex(built.indexes[import])), Some(Rva(built.slots[import])));
        }
        assert_eq!(file.iat_slot(IatIndex(u32::MAX)), None);
    }
    let built = Driver::new("a.sys").build();
    assert_eq!(PeFile::parse(&built.bytes).unwrap().iat_slot(IatIndex(0)), None, "no import address table");
}

#[test]
fn where_a_call_returns_to() {
    use SiteEncoding::{Direct, Linked, Register, Stub};
    let import = SiteKind::Import { call: true, index: None };
    let indirect = |rex, cfg| SiteKind::Indirect { call: true, rex, cfg };
    let cases = [
        // 48 FF 15 disp32; 4C 8B 15 disp32 E8 rel32; 4C 8B 15 disp32 4D FF D2
        (import, 12, [Some(7), Some(12), Some(10), Some(12)]),
        // FF D0; 48 FF D0; FF 15 disp32; 48 FF 15 disp32; E8 rel32
        (indirect(false, false), 5, [Some(2), None, None, Some(5)]),
        (indirect(true, false), 5, [Some(3), None, None, Some(5)]),
        (indirect(false, true), 6, [Some(6), None, None, Some(5)]),
        (indirect(true, true), 7, [Some(7), None, None, Some(5)]),
        // FF E0+r; 41 FF E0+r
        (SiteKind::Switch { register: 7 }, 6, [Some(2), None, None, Some(5)]),
        (SiteKind::Switch { register: 8 }, 6, [Some(3), None, None, Some(5)]),
    ];
    for (kind, size, ends) in cases {
        assert_eq!(kind.size(), size, "{kind:?}");
        assert_eq!([Linked, Direct, Register, Stub].map(|encoding| kind.branch_end(encoding)), ends, "{kind:?}");
    }
}
