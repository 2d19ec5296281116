//! Files and ranges that end exactly where something else begins, and those that are one byte off.

use std::borrow::Cow;
use std::io::Cursor;

use pe_image::{
    ApiSets, DirectoryKind, Headers, Identity, MappedImage, Module, ModuleId, Modules, Outcome, PeFile, Policy,
    RangeKind, Reason, Rva, Section, Selection,
};
use testkit::image::{At, Built, CODE, DATA, Driver, PdbSpec, api_set_schema, kernel};

const BASE: u64 = 0xffff_f804_3000_0000;
const KERNEL_BASE: u64 = 0xffff_f804_2000_0000;
/// Where testkit puts the NT headers.
const NT: usize = 0x80;

fn driver() -> Driver {
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x2000);
    driver
}

fn driver_with_pdb() -> Driver {
    let mut driver = driver();
    driver.pdb = Some(PdbSpec::Rsds {
        guid: String::from("00112233-4455-6677-8899-AABBCCDDEEFF"),
        age: 3,
        path: String::from("driver.pdb"),
    });
    driver
}

fn with(built: &Built, edits: &[(&str, usize, u32)]) -> Vec<u8> {
    let mut built = built.clone();
    for &(place, offset, value) in edits {
        built.put_u32(place, offset, value);
    }
    built.bytes
}

#[test]
fn headers_cut_short() {
    let built = driver().build();
    let table = built.places["sections"];
    // .text, .rdata, .data and .reloc.
    let sections = 4;
    let cut = |size: usize| Headers::parse(&built.bytes[..size]).map(drop).map_err(|error| error.to_string());
    let needs = |what: &str, at: usize, need: usize, have: usize| {
        Err(format!("{what} at file offset {at:#x}: needs {need:#x} bytes, there are {have:#x}"))
    };
    assert_eq!(cut(0), needs("IMAGE_DOS_HEADER", 0, 64, 0));
    assert_eq!(cut(63), needs("IMAGE_DOS_HEADER", 0, 64, 63));
    assert_eq!(cut(64), needs("IMAGE_NT_HEADERS", NT, 26, 0));
    assert_eq!(cut(NT + 25), needs("IMAGE_NT_HEADERS", NT, 26, 25));
    // 24 bytes of signature and file header, 112 of the optional header, 16 directories of 8 bytes.
    assert_eq!(cut(NT + 26), needs("IMAGE_NT_HEADERS", NT, 264, 26));
    assert_eq!(cut(NT + 263), needs("IMAGE_NT_HEADERS", NT, 264, 263));
    assert_eq!(cut(NT + 264), needs("section table", table, 40 * sections, 0));
    assert_eq!(cut(table + 40 * sections - 1), needs("section table", table, 40 * sections, 40 * sections - 1));
    assert_eq!(cut(table + 40 * sections), Ok(()));
    // One byte that is not an M ends the matter, however short the file is.
    for bytes in [&b"Z"[..], b"MA"] {
        assert!(!Headers::parse(bytes).unwrap_err().is_truncation());
    }
    assert!(Headers::parse(b"M").unwrap_err().is_truncation());
}

#[test]
fn sizes_at_their_limits() {
    let built = driver().build();
    let parse = |edits: &[(&str, usize, u32)]| Headers::parse(&with(&built, edits)).map_err(|error| error.to_string());
    let size = built.size_of_image;
    // SizeOfHeaders, SizeOfImage, NumberOfRvaAndSizes.
    assert!(parse(&[("nt", 84, size)]).is_ok());
    assert!(parse(&[("nt", 84, size + 1)]).unwrap_err().contains("SizeOfHeaders"));
    assert!(parse(&[("nt", 80, 0x7fff_ffff)]).is_ok());
    assert!(parse(&[("nt", 80, 0x8000_0000)]).unwrap_err().contains("SizeOfImage"));
    assert!(parse(&[("nt", 24 + 108, 16)]).is_ok());
    let allowed = "allowed is at most 0x10, which SizeOfOptionalHeader leaves room for";
    assert!(parse(&[("nt", 24 + 108, 17)]).unwrap_err().ends_with(allowed));

    // A directory needs both a place and a size.
    for (rva, size, expected) in [(0x1000, 8, true), (0, 8, false), (0x1000, 0, false)] {
        let headers = parse(&[("nt", 24 + 112 + 8 * 6, rva), ("nt", 24 + 112 + 8 * 6 + 4, size)]).unwrap();
        assert_eq!(headers.directory(DirectoryKind::Debug).is_some(), expected, "{rva:#x} {size:#x}");
    }
}

#[test]
fn the_section_of_an_address() {
    let built = driver().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let name = |rva: u32| file.headers().section_at(Rva(rva)).map(|section| section.name().into_owned());
    assert_eq!(name(0xfff), None);
    assert_eq!(name(0x1000).as_deref(), Some(".text"));
    assert_eq!(name(0x2fff).as_deref(), Some(".text"));
    // .rdata follows, and ends with its last page.
    assert_eq!(name(0x3000).as_deref(), Some(".rdata"));
    assert_eq!(name(0x3fff).as_deref(), Some(".rdata"));
    assert_eq!(name(built.size_of_image), None);
}

/// The header's first 4 KiB do not hold the section table: it is read further.
#[test]
fn an_identity_after_a_large_stub() {
    let built = driver_with_pdb().build();
    let identity = Identity::read(Cursor::new(&built.bytes)).unwrap();
    assert_eq!(identity, PeFile::parse(&built.bytes).unwrap().identity());
    let error = Identity::read(Cursor::new(&built.bytes[..NT + 30])).unwrap_err().to_string();
    assert_eq!(error, "IMAGE_NT_HEADERS at file offset 0x80: needs 0x108 bytes, there are 0x1e");
    let error = Identity::read(Cursor::new(&b"no PE file"[..])).unwrap_err().to_string();
    assert_eq!(error, "IMAGE_DOS_HEADER at file offset 0x0: this is no PE file: it does not start with MZ");

    // NT headers that begin in the first 4 KiB and end after them, wherever they are cut.
    for nt in [0xf00_usize, 0xfd0, 0xfe4, 0xfe8] {
        let mut moved = vec![0; nt];
        moved[..NT].copy_from_slice(&built.bytes[..NT]);
        moved[0x3c..0x40].copy_from_slice(&(nt as u32).to_le_bytes());
        moved.extend_from_slice(&built.bytes[NT..0x400]);
        // SizeOfHeaders.
        moved[nt + 84..nt + 88].copy_from_slice(&0x1000_u32.to_le_bytes());
        let long = Identity::read(Cursor::new(&moved)).unwrap();
        assert_eq!((long.timestamp, long.size_of_image), (identity.timestamp, identity.size_of_image), "{nt:#x}");
    }
}

/// What a debugger reads of an image to find its PDB: the debug directory and the record.
#[test]
fn the_ranges_of_the_debug_directory() {
    let built = driver_with_pdb().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let directory = file.headers().directory(DirectoryKind::Debug).unwrap();
    let ranges = file.debug_ranges();
    let [(first, first_size), (record, record_size)] = ranges[..] else { panic!("{ranges:x?}") };
    assert_eq!((first, first_size), (directory.rva, directory.size));
    // "RSDS", GUID, age, path and its NUL.
    assert_eq!(record_size, 4 + 16 + 4 + 11);
    assert_eq!(&file.bytes_from(record)[..4], b"RSDS");

    assert_eq!(PeFile::parse(&driver().build().bytes).unwrap().debug_ranges(), []);
    // A record that is in the file only (AddressOfRawData 0), and one of another type.
    let not_mapped = with(&built, &[("debug", 20, 0)]);
    assert_eq!(PeFile::parse(&not_mapped).unwrap().debug_ranges(), []);
    let other = with(&built, &[("debug", 12, 19)]);
    assert_eq!(PeFile::parse(&other).unwrap().debug_ranges(), []);
}

/// A word of the file that the CheckSum field covers in part, and a length that is odd.
#[test]
fn a_checksum_by_hand() {
    let mut bytes = driver().build().bytes;
    bytes.push(0x5a);
    let file = PeFile::parse(&bytes).unwrap();
    let field = file.headers().checksum_offset as usize;
    let mut sum = 0_u32;
    for at in (0..bytes.len()).step_by(2) {
        let byte = |at: usize| if (field..field + 4).contains(&at) { 0 } else { bytes.get(at).copied().unwrap_or(0) };
        sum += u32::from(byte(at)) + 256 * u32::from(byte(at + 1));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    assert_eq!(file.compute_checksum(), sum + bytes.len() as u32);

    // A sum of exactly 0xffff has no carry to fold.
    let mut exact = bytes.clone();
    let missing = (0xffff - sum) as u16;
    let last = bytes.len() - 3;
    assert_eq!(exact[last..last + 2], [0, 0]);
    exact[last..last + 2].copy_from_slice(&missing.to_le_bytes());
    let file = PeFile::parse(&exact).unwrap();
    assert_eq!(file.compute_checksum(), 0xffff + exact.len() as u32);
}

/// At most 16 errors about single names are kept, of either kind.
#[test]
fn errors_of_an_export_table() {
    let mut driver = driver();
    for number in 0..40 {
        driver.export(&format!("Export{number:02}"), At(0, number * 16));
    }
    let built = driver.build();
    let errors = |bytes: &[u8]| {
        let exports = PeFile::parse(bytes).unwrap().exports().unwrap().unwrap();
        (exports.len(), exports.errors().len())
    };
    assert_eq!(errors(&built.bytes), (40, 0));
    // NumberOfFunctions: 30 and 20 names have an index beyond it.
    assert_eq!(errors(&with(&built, &[("exports", 20, 25)])), (25, 15));
    assert_eq!(errors(&with(&built, &[("exports", 20, 24)])), (24, 16));
    assert_eq!(errors(&with(&built, &[("exports", 20, 10)])), (10, 16));
    let exports = PeFile::parse(&built.bytes).unwrap().headers().directory(DirectoryKind::Export).unwrap();
    let names =
        u32::from_le_bytes(built.bytes[built.places["exports"] + 32..][..4].try_into().unwrap()) - exports.rva.0;
    let outside: Vec<_> = (0..30).map(|number| ("exports", (names + 4 * number) as usize, 0x7000_0000)).collect();
    assert_eq!(errors(&with(&built, &outside)), (10, 16));
    // The error names the place of the faulty index.
    let bytes = with(&built, &[("exports", 20, 38)]);
    let exports = PeFile::parse(&bytes).unwrap().exports().unwrap().unwrap();
    let places: Vec<String> = exports.errors().iter().map(|error| error.place().to_string()).collect();
    let ordinals = u32::from_le_bytes(built.bytes[built.places["exports"] + 36..][..4].try_into().unwrap());
    assert_eq!(places, [38, 39].map(|number| format!("RVA {:#x}", ordinals + 2 * number)));
}

/// Pages that no change touches are lent from the file; the others are made.
#[test]
fn what_is_lent_and_what_is_made() {
    let mut driver = driver();
    driver.sections[0].bytes.resize(0x4000, 0xcc);
    let import = driver.import("ntoskrnl.exe", "ExFreePool");
    driver.call(At(0, 0x1010), import);
    let built = driver.build();
    let kernel = kernel(&["ExFreePool"]).build();
    let (kernel, file) = (PeFile::parse(&kernel.bytes).unwrap(), PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", KERNEL_BASE, kernel),
        Module::new("driver.sys", driver.image_base, file),
    ]);
    let image = modules.image(ModuleId(1), Policy::default()).unwrap();
    let pieces = |rva: u32, size: u32| -> Vec<(u32, usize, bool)> {
        let pieces = image.pieces(Rva(rva), size);
        pieces.map(|piece| (piece.rva.0, piece.bytes.len(), matches!(piece.bytes, Cow::Borrowed(_)))).collect()
    };
    // The page 0x2000 has the site; what a site of it may reach into, 0x3000..0x300b, is made for that reason only.
    assert_eq!(pieces(0x1000, 0x4000), [(0x1000, 0x1000, true), (0x2000, 0x2000, false), (0x4000, 0x1000, true)]);
    assert_eq!(pieces(0x300c, 0x1ff4), [(0x300c, 0x1ff4, true)]);
    assert_eq!(pieces(0x300b, 1), [(0x300b, 1, false)]);
    // The slot is made, its neighbours are not: exact to the byte.
    let slot = built.slots[0];
    for (rva, size, lent) in [(slot - 8, 8, true), (slot - 7, 8, false), (slot + 7, 1, false), (slot + 8, 1, true)] {
        assert_eq!(matches!(image.bytes(Rva(rva), size), Cow::Borrowed(_)), lent, "{size} bytes at {rva:#x}");
    }
    // At its own base the header's page is the file's; elsewhere ImageBase is made.
    let field = NT as u32 + 24 + 24;
    assert!(matches!(image.bytes(Rva(0), 0x400), Cow::Borrowed(_)));
    let moved = MappedImage::new(image.file().clone(), BASE, Policy::AS_LINKED);
    for (rva, size, lent) in [(field - 1, 1, true), (field - 1, 2, false), (field + 7, 1, false), (field + 8, 8, true)]
    {
        assert_eq!(matches!(moved.bytes(Rva(rva), size), Cow::Borrowed(_)), lent, "{size} bytes at {rva:#x}");
    }
}

/// A made piece has at most 64 KiB.
#[test]
fn made_pieces_have_a_limit() {
    let mut driver = Driver::new("driver.sys");
    driver.section(".data", DATA, vec![1; 0x2_4000]);
    for page in 0..0x24 {
        driver.pointer(At(0, page * 0x1000), At(0, 0));
    }
    let built = driver.build();
    let image = MappedImage::new(PeFile::parse(&built.bytes).unwrap(), BASE, Policy::default());
    let sizes: Vec<usize> = image.pieces(Rva(0x1000), 0x2_4000).map(|piece| piece.bytes.len()).collect();
    assert_eq!(sizes, [0x1_0000, 0x1_0000, 0x4000]);
}

#[test]
fn which_sections_are_wanted() {
    let mut driver = driver();
    let plain = driver.section("EXEC", CODE & !Section::CODE, vec![1; 0x10]);
    let rwx = driver.section("RWX", DATA | Section::EXECUTE, vec![1; 0x10]);
    let data = driver.section("DATA", DATA, vec![1; 0x10]);
    let built = driver.build();
    let image = MappedImage::new(PeFile::parse(&built.bytes).unwrap(), BASE, Policy::default());
    let wanted = |selection| -> Vec<RangeKind> { image.ranges(selection).iter().map(|range| range.kind).collect() };
    let number = |spec: usize| {
        let rva = Rva(built.section_rvas[spec]);
        let sections = &image.file().headers().sections;
        RangeKind::Section(sections.iter().position(|section| section.rva == rva).unwrap())
    };
    assert_eq!(wanted(Selection::Code), [number(0)]);
    assert_eq!(wanted(Selection::Headers), [RangeKind::Headers, number(0)]);
    assert_eq!(wanted(Selection::Executable), [number(0), number(plain), number(rwx)]);
    assert!(wanted(Selection::Image).contains(&number(data)));
}

/// A site whose displacement names another slot than its record is not what its table says, however it is read.
#[test]
fn a_site_that_names_another_slot() {
    let mut driver = driver();
    let first = driver.import("ntoskrnl.exe", "ExFreePool");
    driver.import("ntoskrnl.exe", "KeBugCheck");
    driver.call(At(0, 0x10), first);
    let mut built = driver.build();
    let kernel = kernel(&["ExFreePool", "KeBugCheck"]).build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let rva = built.rva(At(0, 0x10));
    let offset = file.headers().sections[0].file_offset as usize + 0x10;
    // call [rip + d] has its displacement at 3; the next slot lies 8 bytes further.
    let displacement = &mut built.bytes[offset + 3..][..4];
    let moved = u32::from_le_bytes(displacement.try_into().unwrap()).wrapping_add(8);
    displacement.copy_from_slice(&moved.to_le_bytes());
    let linked: [u8; 12] = built.bytes[offset..offset + 12].try_into().unwrap();
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", KERNEL_BASE, PeFile::parse(&kernel.bytes).unwrap()),
        Module::new("driver.sys", BASE, PeFile::parse(&built.bytes).unwrap()),
    ]);
    let image = modules.image(ModuleId(1), Policy::default()).unwrap();
    assert_eq!(image.sites().next().unwrap().outcome, Outcome::AsLinked(Reason::UnexpectedBytes));
    for (start, size) in [(rva, 12), (rva - 0x10, 0x1000)] {
        let mut out = vec![0; size];
        image.read(Rva(start), &mut out);
        assert_eq!(out[(rva - start) as usize..][..12], linked);
    }
}

/// The size of an import address table that fills the image to its last byte.
#[test]
fn an_import_address_table_to_the_end() {
    let mut driver = driver();
    driver.import("ntoskrnl.exe", "ExFreePool");
    let built = driver.build();
    let left = built.size_of_image - built.iat;
    for (size, warnings) in [(left, 0), (left + 1, 1)] {
        let bytes = with(&built, &[("nt", 24 + 112 + 8 * 12 + 4, size)]);
        let image = MappedImage::new(PeFile::parse(&bytes).unwrap(), BASE, Policy::default());
        assert_eq!(image.warnings().len(), warnings, "{size:#x}: {:?}", image.warnings());
    }
}

#[test]
fn contracts() {
    let built = api_set_schema(&[("ext-ms-win-a-l1-1-0", "a.sys"), ("ext-ms-win-bb-l1-1-0", "bb.sys")]).build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let sets = ApiSets::read(&file).unwrap().unwrap();
    let host = |contract: &str| sets.host(contract, "x.sys");
    assert_eq!(host("ext-ms-win-bb-l1-1-9.dll").as_deref(), Some("bb.sys"));
    // Without an extension, the revision is what follows the last hyphen too; another extension belongs to it.
    assert_eq!(host("ext-ms-win-bb-l1-1-9").as_deref(), Some("bb.sys"));
    assert_eq!(host("ext-ms-win-bb-l1-1-9.sys").as_deref(), Some("bb.sys"));
    assert_eq!(host("ext-ms-win-bb-l1-2-0.dll"), None);
    for (name, expected) in [("api-ms-x", true), ("EXT-x", true), ("ap", false), ("hal.dll", false)] {
        assert_eq!(ApiSets::is_contract(name), expected, "{name}");
    }
}
