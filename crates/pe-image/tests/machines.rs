//! Images for ARM64 and x86: they map, relocate, bind and are identified like those for x64; what is not modelled for
//! them is said.

use pe_image::{
    Fixups, ImportCalls, Machine, MappedImage, Module, ModuleId, Modules, OverrideSiteKind, PeFile, Policy, RangeKind,
    RelocationKind, Rva, Selection, Symbol, Va,
};
use testkit::image::{ARM64, At, Built, Driver, Entry, OverrideSpec, PdbSpec, kernel, padded_u16s, page_blocks, u32s};

const BASE: u64 = 0xffff_f800_1000_0000;
const KERNEL_BASE: u64 = 0xffff_f800_2000_0000;
const GUID: &str = "FF1FD2FD-6008-42BB-9E75-00A20051F3BE";
/// Everything that could change something.
const ALL_ON: Policy = Policy::AS_LINKED.with_import_calls(ImportCalls::Optimized).with_retpoline(true);

fn with_contents(mut driver: Driver) -> Driver {
    let text = driver.code(".text", 0x2000);
    let data = driver.section("POINTERS", testkit::image::DATA, vec![0; 0x1100]);
    driver.import("ntoskrnl.exe", "ExFreePool");
    driver.import("ntoskrnl.exe", "KeBugCheck");
    // One pointer across a page border.
    driver.pointer(At(data, 0), At(text, 0x10)).pointer(At(data, 0xffe), At(text, 0x20));
    driver.pdb = Some(PdbSpec::Rsds { guid: GUID.to_owned(), age: 1, path: "driver.pdb".to_owned() });
    driver
}

fn arm64() -> Driver {
    with_contents(Driver { machine: ARM64, ..Driver::new("driver.sys") })
}

fn x86() -> Driver {
    with_contents(Driver::new_x86("driver.sys"))
}

/// Maps the driver at `base`, bound against a kernel of its machine.
fn with_image(driver: &Driver, base: u64, kernel_base: u64, check: impl FnOnce(&MappedImage<'_>, &Built)) {
    let mut kernel = kernel(&["ExFreePool", "KeBugCheck"]);
    (kernel.machine, kernel.image_base) = (driver.machine, driver.image_base);
    kernel.load_config_size = driver.load_config_size;
    let (kernel, built) = (kernel.build(), driver.build());
    let (kernel_file, file) = (PeFile::parse(&kernel.bytes).unwrap(), PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", kernel_base, kernel_file.clone()),
        Module::new("driver.sys", base, file.clone()),
    ]);
    let binding = modules.bind(ModuleId(1));
    assert!(binding.unresolved().is_empty());
    check(&modules.image(ModuleId(1), ALL_ON).unwrap(), &built);
}

fn number<const N: usize>(image: &MappedImage<'_>, rva: u32) -> u64 {
    let mut bytes = [0; 8];
    image.read(Rva(rva), &mut bytes[..N]);
    u64::from_le_bytes(bytes)
}

#[test]
fn arm64_images_map_relocate_and_bind() {
    with_image(&arm64(), BASE, KERNEL_BASE, |image, built| {
        let data = built.section_rvas[1];
        assert_eq!(number::<8>(image, data), BASE + 0x1010);
        assert_eq!(number::<8>(image, data + 0xffe), BASE + 0x1020);
        assert_eq!(number::<8>(image, built.slots[1]), KERNEL_BASE + 0x1010);
        assert_eq!(number::<8>(image, image.file().headers().image_base_offset), BASE);
        assert_eq!(image.counts().relocations, 2);
        let kinds: Vec<_> = image.relocations().map(|relocation| relocation.kind).collect();
        assert_eq!(kinds, [RelocationKind::DIR64; 2]);
        assert_eq!(image.bytes(Rva(0x1000), 0x2000), &image.file().bytes_from(Rva(0x1000))[..0x2000]);
        assert_eq!(image.warnings(), []);

        let identity = image.file().identity();
        assert_eq!((identity.machine, identity.machine.to_string().as_str()), (Machine::ARM64, "ARM64"));
        assert_eq!(identity.pdb.unwrap().pdb_key(), "FF1FD2FD600842BB9E7500A20051F3BE1");
    });
}

#[test]
fn x86_images_map_relocate_and_bind() {
    // Bases as the header of a 32-bit process has them, and as debuggers write them.
    for base in [0x8123_0000, Va::from_x86(0x8123_0000).0] {
        with_image(&x86(), base, 0x8200_0000, |image, built| {
            assert_eq!(image.base(), Va(0xffff_ffff_8123_0000));
            assert_eq!(image.address(Rva(0x1000)), Va(0xffff_ffff_8123_1000));
            let data = built.section_rvas[1];
            assert_eq!(number::<4>(image, data), 0x8123_1010);
            assert_eq!(number::<4>(image, data + 0xffe), 0x8123_1020);
            assert_eq!(number::<4>(image, built.slots[1]), 0x8200_1010);
            assert_eq!(number::<4>(image, image.file().headers().image_base_offset), 0x8123_0000);
            assert_eq!(image.counts().relocations, 2);
            assert!(image.relocations().all(|relocation| relocation.kind == RelocationKind::HIGHLOW));
            assert_eq!(image.warnings(), []);
            let identity = image.file().identity();
            assert_eq!((identity.machine, identity.machine.to_string().as_str()), (Machine::X86, "x86"));
            assert_eq!(identity.size_of_image, built.size_of_image);
        });
    }
    let kernel = kernel(&["ExFreePool"]);
    let kernel = Driver { machine: testkit::image::X86, load_config_size: Some(0xa4), ..kernel }.build();
    let file = PeFile::parse(&kernel.bytes).unwrap();
    let modules = Modules::new([Module::new("ntkrnlpa.exe", 0x8200_0000, file.clone())]);
    let target = modules.resolve("driver.sys", "ntoskrnl.exe", &pe_image::ImportName::Name("ExFreePool".into()));
    assert_eq!(target.unwrap().address, Va(0xffff_ffff_8200_1000));
}

/// On 32-bit ARM code loads addresses by MOVW and MOVT. Bytes as an assembler gives them: `movw r1, #0x1010` is
/// `41 F2 10 01`, and the carry from the low half reaches the high one.
#[test]
fn thumb_moves_are_relocated() {
    let mut driver = Driver::new_arm("driver.sys");
    let text = driver.code(".text", 0x2000);
    // One pair in a page, one across a page border.
    driver.moves = vec![(At(text, 0x20), At(text, 0x10)), (At(text, 0xffc), At(text, 0x1f10))];
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    assert_eq!(file.headers().machine, Machine::ARM);
    assert_eq!(file.bytes_from(Rva(0x1020))[..8], [0x41, 0xf2, 0x10, 0x01, 0xc0, 0xf2, 0x01, 0x01]);

    let check = |base: u32, rva: u32, expected: [u8; 8]| {
        let image = MappedImage::new(file.clone(), u64::from(base), Policy::default());
        assert_eq!(image.warnings(), [], "{base:#x}");
        assert_eq!(image.counts().relocations, 2, "{base:#x}");
        assert_eq!(image.bytes(Rva(rva), 8)[..], expected, "{base:#x} {rva:#x}");
        // A byte is the same whatever piece is read.
        for (at, &byte) in (rva..).zip(&expected) {
            assert_eq!(image.bytes(Rva(at), 1)[..], [byte], "{base:#x} {at:#x}");
        }
    };
    // 0x8123_1010: movw #0x1010, movt #0x8123.
    check(0x8123_0000, 0x1020, [0x41, 0xf2, 0x10, 0x01, 0xc8, 0xf2, 0x23, 0x11]);
    // 0x8124_0f10 is 0x8123_e000 and RVA 0x2f10: the low half carries. movw #0x0f10, movt #0x8124.
    check(0x8123_e000, 0x1ffc, [0x40, 0xf6, 0x10, 0x71, 0xc8, 0xf2, 0x24, 0x11]);
    // 0xffff_f800 has all bits of the immediate. RVA 0x1010 gives 0x0000_0810, wrapping at 4 GiB.
    check(0xffff_f800, 0x1020, [0x40, 0xf6, 0x10, 0x01, 0xc0, 0xf2, 0x00, 0x01]);
}

/// Where no pair is, nothing is written; a pair of two registers is not one. The same record on x64 is unknown.
#[test]
fn thumb_moves_need_their_bytes() {
    let spoilt = |at: usize, byte: u8| {
        let mut driver = Driver::new_arm("driver.sys");
        let text = driver.code(".text", 0x1000);
        driver.moves = vec![(At(text, 0x20), At(text, 0x10))];
        let mut built = driver.build();
        let file = PeFile::parse(&built.bytes).unwrap();
        let offset = file.bytes_from(Rva(0x1020)).as_ptr() as usize - built.bytes.as_ptr() as usize;
        built.bytes[offset + at] = byte;
        let file = PeFile::parse(&built.bytes).unwrap();
        let image = MappedImage::new(file.clone(), 0x8123_0000_u64, Policy::default());
        assert_eq!(image.counts().relocations, 0);
        assert_eq!(image.bytes(Rva(0x1020), 8)[..], file.bytes_from(Rva(0x1020))[..8]);
        image.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (at, byte) in [(1, 0xf3), (4, 0x40), (7, 0x02), (3, 0x81)] {
        let warnings = spoilt(at, byte);
        assert!(warnings[0].contains("no MOVW and MOVT of one register at RVA 0x1020"), "{warnings:?}");
    }
    assert_eq!(RelocationKind::THUMB_MOV32.size(Machine::ARM), Some(8));
    assert_eq!(RelocationKind::THUMB_MOV32.size(Machine::X64), None);
}

/// At their own base nothing is relocated, on any machine.
#[test]
fn at_home_nothing_moves() {
    for driver in [arm64(), x86(), with_contents(Driver::new("driver.sys"))] {
        with_image(&driver, driver.image_base, KERNEL_BASE & 0xffff_ffff, |image, built| {
            assert_eq!(image.counts().relocations, 0);
            let (data, size) = (Rva(built.section_rvas[1]), 0x1100);
            assert_eq!(image.bytes(data, size), &image.file().bytes_from(data)[..size as usize]);
        });
    }
}

/// Symbol 8: what a kernel writes there is not known, so the sites are listed and stay.
#[test]
fn arm64_import_calls_are_reported_as_not_modelled() {
    let mut driver = arm64();
    let records = u32s(&[4 | 1 << 10 | 16 << 11 | 1 << 17, 0x3ff | 8 << 11 | 0x7fff << 17]);
    driver.entries.push(Entry { symbol: 8, payload: page_blocks(&[(0x1000, records)].into()) });
    with_image(&driver, BASE, KERNEL_BASE, |image, _| {
        let table = image.file().dvrt().unwrap().unwrap();
        assert_eq!(table.entries[0].symbol, Symbol::ARM64_IMPORT_TRANSFER);
        let Fixups::Arm64ImportTransfers(records) = table.entries[0].fixups() else { panic!() };
        let places: Vec<_> = records.map(|record| record.unwrap().rva.0).collect();
        assert_eq!(places, [0x1010, 0x1ffc]);
        assert_eq!(image.counts().arm64_imports, 2);
        assert_eq!(image.sites().count(), 0);
        assert_eq!(image.bytes(Rva(0x1000), 0x2000), &image.file().bytes_from(Rva(0x1000))[..0x2000]);
        let warnings: Vec<_> = image.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("ARM64 kernel import call transfer at RVA 0x"), "{warnings:?}");
        assert!(warnings[0].ends_with("what a kernel writes is not known"), "{warnings:?}");
    });
}

/// Symbol 7: each override's sites are listed with its alternatives.
#[test]
fn function_overrides_are_listed() {
    let mut driver = with_contents(Driver::new("driver.sys"));
    let calls = vec![At(0, 0x100), At(0, 0xffd)];
    driver.overrides.push(OverrideSpec::new(At(0, 0x40), vec![At(0, 0x50), At(0, 0x60)], calls));
    with_image(&driver, BASE, KERNEL_BASE, |image, _| {
        let listed = image.override_sites();
        let [(item, sites)] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((item.original, &item.alternatives[..]), (Rva(0x1040), &[Rva(0x1050), Rva(0x1060)][..]));
        let places: Vec<_> = sites.iter().map(|site| (site.rva.0, site.kind)).collect();
        assert_eq!(places, [(0x1101, OverrideSiteKind::X64_REL32), (0x1ffe, OverrideSiteKind::X64_REL32)]);
        assert_eq!(image.counts().overrides.listed, 2);
        // The calls are as linked: to the original.
        for site in sites {
            let distance = number::<4>(image, site.rva.0) as u32;
            assert_eq!(site.rva.0.wrapping_add(4).wrapping_add(distance), 0x1040);
        }
        assert_eq!(image.warnings(), []);
    });
}

/// A symbol that is an address: its constants move where the running kernel's base is known, and stay where it is not.
#[test]
fn address_constants_of_both_widths() {
    let check = |driver: Driver, symbol: u64, kind: u16, running: u64, width: usize| {
        let mut driver = driver;
        let other = symbol + 0x1000_0000;
        for (entry, offset) in [(symbol, 0x200), (other, 0x300)] {
            let value = (entry + 0x18).to_le_bytes();
            driver.sections[0].bytes[offset..offset + width].copy_from_slice(&value[..width]);
            let records = padded_u16s(&[kind << 12 | offset as u16]);
            driver.entries.push(Entry { symbol: entry, payload: page_blocks(&[(0x1000, records)].into()) });
        }
        let built = driver.build();
        let file = PeFile::parse(&built.bytes).unwrap();
        let image = MappedImage::new(file.clone(), BASE, Policy::default()).with_address(Symbol(symbol), running);
        let read = |rva: u32| if width == 8 { number::<8>(&image, rva) } else { number::<4>(&image, rva) };
        assert_eq!((read(0x1200), read(0x1300)), (running + 0x18, other + 0x18));
        assert_eq!(image.counts().address_constants, 2);
        // A page that holds a moved constant is made; the constant of the other symbol makes no page differ.
        assert!(matches!(image.bytes(Rva(0x1200), 8), std::borrow::Cow::Owned(_)));
    };
    check(with_contents(Driver::new("ntoskrnl.exe")), 0xffff_f680_0000_0000, 10, 0xffff_b700_0000_0000, 8);
    check(arm64(), 0xffff_f680_0000_0000, 10, 0xffff_b700_0000_0000, 8);
    check(x86(), 0xc000_0000, 3, 0xb700_0000, 4);
}

/// The loader maps whole pages: what the file holds after a section's VirtualSize, up to the end of the page, is there.
#[test]
fn whole_images_hold_whole_pages() {
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x1234);
    driver.section(".data", testkit::image::DATA, vec![0x5a; 0x2010]);
    let mut built = driver.build();
    // VirtualSize of both sections, smaller than what the file holds of them.
    let table = usize::from(u16::from_le_bytes([built.bytes[0x3c], built.bytes[0x3d]])) + 24 + 240;
    for (number, size) in [(0, 0x1230_u32), (1, 0x2001)] {
        built.bytes[table + 40 * number + 8..][..4].copy_from_slice(&size.to_le_bytes());
    }
    let file = PeFile::parse(&built.bytes).unwrap();
    let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::default());
    let sizes = |selection| -> Vec<(u32, u32)> {
        let sections = image.ranges(selection).into_iter().filter(|range| matches!(range.kind, RangeKind::Section(_)));
        sections.take(2).map(|range| (range.rva.0, range.size)).collect()
    };
    let [text, data] = [built.section_rvas[0], built.section_rvas[1]];
    assert_eq!(sizes(Selection::Image), [(text, 0x2000), (data, 0x3000)]);
    assert_eq!(sizes(Selection::Code), [(text, 0x1230)]);
    assert_eq!(image.bytes(Rva(data + 0x1fff), 0x12)[..], [[0x5a; 0x11].as_slice(), &[0]].concat());
}

/// No machine but x64 has sites that a policy changes; the ranges are the same for all.
#[test]
fn ranges_of_all_machines() {
    for driver in [arm64(), x86()] {
        with_image(&driver, 0x8100_0000, 0x8200_0000, |image, built| {
            let ranges: Vec<_> = image.ranges(Selection::Code).iter().map(|range| (range.rva.0, range.size)).collect();
            assert_eq!(ranges, [(built.section_rvas[0], 0x2000)]);
            let last = *image.ranges(Selection::Image).last().unwrap();
            assert!(last.rva.0 + last.size <= built.size_of_image);
        });
    }
}
