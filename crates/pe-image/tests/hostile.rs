//! Files that lie. Each one gives an error that says where, in which structure, what was found and what is allowed; and
//! what is not wrong in it can still be read.

use pe_image::{
    ApiSets, Dvrt, Exports, Fixups, ImportName, MappedImage, Module, Modules, PeFile, Policy, Rva, Selection, StubBlock,
};
use testkit::image::{At, Built, Driver, SiteSpec, VersionSpec, api_set_schema, kernel};

/// What is asked of a file.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Parse,
    Exports,
    Imports,
    Relocations,
    Dvrt,
    Image,
    ApiSets,
    Version,
    Stubs,
}

/// The errors that a file gives, one to a line; "" for none.
fn errors(data: &[u8], ask: Ask) -> String {
    let file = match PeFile::parse(data) {
        Err(error) => return error.to_string(),
        Ok(_) if matches!(ask, Ask::Parse) => return String::new(),
        Ok(file) => file,
    };
    let lines: Vec<String> = match ask {
        Ask::Parse => unreachable!("answered above"),
        Ask::Exports => match file.exports() {
            Ok(exports) => exports.iter().flat_map(Exports::errors).map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        },
        Ask::Imports => file.imports().errors.iter().map(ToString::to_string).collect(),
        Ask::Relocations => match file.relocation_blocks() {
            Ok(blocks) => blocks.filter_map(|block| Some(block.err()?.to_string())).collect(),
            Err(error) => vec![error.to_string()],
        },
        Ask::Dvrt => match file.dvrt() {
            Ok(table) => table.iter().flat_map(dvrt_errors).collect(),
            Err(error) => vec![error.to_string()],
        },
        Ask::Image => {
            let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::default());
            image.warnings().iter().map(ToString::to_string).collect()
        }
        Ask::ApiSets => ApiSets::read(&file).err().iter().map(ToString::to_string).collect(),
        Ask::Version => file.version().err().iter().map(ToString::to_string).collect(),
        Ask::Stubs => {
            let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::AS_LINKED);
            StubBlock::from_kernel(&image).err().iter().map(ToString::to_string).collect()
        }
    };
    lines.join("\n")
}

fn dvrt_errors(table: &Dvrt<'_>) -> Vec<String> {
    let mut errors: Vec<_> = table.error.iter().cloned().collect();
    for entry in &table.entries {
        match entry.fixups() {
            Fixups::ImportTransfers(records) => errors.extend(records.filter_map(Result::err)),
            Fixups::FunctionOverrides(Ok(overrides)) => {
                errors.extend(overrides.error.clone());
                errors.extend(overrides.overrides.iter().filter_map(|item| overrides.bdd(item).err()));
            }
            Fixups::FunctionOverrides(Err(error)) => errors.push(error),
            _ => {}
        }
    }
    errors.iter().map(ToString::to_string).collect()
}

/// Sections: .text 1000..3000, .rdata 3000, .data, .rsrc, .reloc.
fn driver() -> Driver {
    let mut driver = Driver::new("driver.sys");
    let text = driver.code(".text", 0x2000);
    let import = driver.import("ntoskrnl.exe", "ExFreePool");
    driver.call(At(text, 0x10), import).call(At(text, 0x1010), import).site(At(text, 0x40), SiteSpec::Switch(1));
    driver.export("Own", At(text, 0)).forward("Loop", "driver.Loop");
    driver.pointer(At(text, 0x100), At(text, 0));
    driver.version = Some(VersionSpec { file: [10, 0, 1, 1], product: [10, 0, 1, 1], strings: Vec::new() });
    driver.overrides.push(testkit::image::OverrideSpec::new(
        At(text, 0x20),
        vec![At(text, 0x30)],
        vec![At(text, 0x200)],
    ));
    driver
}

/// One lie: what is written where (structure, offset in it, number of 32 bits), what is asked, and what the answer has
/// to say.
fn check(what: &str, sample: &Built, edits: &[(&str, usize, u32)], ask: Ask, expected: &str) {
    assert_eq!(errors(&sample.bytes, ask), "", "{what}: the sample is not sound");
    let mut built = sample.clone();
    for &(place, offset, value) in edits {
        built.put_u32(place, offset, value);
    }
    let found = errors(&built.bytes, ask);
    assert!(found.lines().any(|line| line.starts_with(expected)) && !expected.is_empty(), "{what}:\n{found}");
    all_else_is_quiet(&built.bytes);
}

/// Whatever is wrong with a file, everything can be asked of it.
fn all_else_is_quiet(data: &[u8]) {
    for ask in [Ask::Exports, Ask::Imports, Ask::Relocations, Ask::Dvrt, Ask::Image, Ask::ApiSets, Ask::Version] {
        let _ = errors(data, ask);
    }
    let Ok(file) = PeFile::parse(data) else { return };
    let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::default());
    let _ = (image.counts(), image.sites().count());
    let mut end = 0;
    for range in image.ranges(Selection::Image) {
        assert!(range.rva.0 >= end);
        end = range.rva.0 + range.size;
        image.read(range.rva, &mut [0; 0x40]);
    }
}

/// A directory's RVA, as an offset from the NT headers.
const fn directory(number: usize) -> usize {
    24 + 112 + 8 * number
}

/// A section header's field, as an offset from the section table.
const fn section(number: usize, field: usize) -> usize {
    40 * number + field
}

const VIRTUAL_SIZE: usize = 8;
const VIRTUAL_ADDRESS: usize = 12;
const RAW_SIZE: usize = 16;
const RAW_POINTER: usize = 20;

#[test]
fn headers() {
    let sample = driver().build();
    let check = |what, edits: &[_], expected| check(what, &sample, edits, Ask::Parse, expected);
    check("no NT signature", &[("nt", 0, 0)], "IMAGE_NT_HEADERS at file offset 0x80: the signature is not PE");
    check(
        "magic",
        &[("nt", 24, 0x999)],
        "IMAGE_NT_HEADERS at file offset 0x80: OptionalHeader.Magic is 0x999, allowed is 0x10b or 0x20b",
    );
    check(
        "65,535 sections",
        &[("nt", 6, 0xffff)],
        "section table at file offset 0x188: needs 0x27ffd8 bytes, there are 0x",
    );
    check(
        "4 billion directories",
        &[("nt", 24 + 108, 0xffff_ffff)],
        "IMAGE_OPTIONAL_HEADER at file offset 0x80: NumberOfRvaAndSizes is 0xffffffff, allowed is at most 0x10",
    );
    check(
        "SizeOfImage 0",
        &[("nt", 80, 0)],
        "IMAGE_OPTIONAL_HEADER at file offset 0x80: SizeOfImage is 0x0, allowed is 1 to 0x7fffffff",
    );
    check(
        "SizeOfImage 4 GiB",
        &[("nt", 80, 0xffff_ffff)],
        "IMAGE_OPTIONAL_HEADER at file offset 0x80: SizeOfImage is 0xffffffff, allowed is 1 to 0x7fffffff",
    );
    check(
        "SizeOfImage too small",
        &[("nt", 80, 0x2000)],
        "section table at file offset 0x188: section 1 (.text) is 0x1000..0x3000, SizeOfImage is 0x2000",
    );
    check(
        "SizeOfHeaders 4 GiB",
        &[("nt", 84, 0xffff_ffff)],
        "IMAGE_OPTIONAL_HEADER at file offset 0x80: SizeOfHeaders is 0xffffffff, allowed is at most SizeOfImage (0x7000)",
    );
    check(
        "overlapping sections",
        &[("sections", section(1, VIRTUAL_ADDRESS), 0x2000)],
        "section table at file offset 0x188: section 2 (.rdata) starts at RVA 0x2000, inside or before the one in front",
    );
    check(
        "sections out of order",
        &[("sections", section(0, VIRTUAL_ADDRESS), 0x5000)],
        "section table at file offset 0x188: section 2 (.rdata) starts at RVA 0x3000, inside or before the one in front",
    );
    check(
        "a section of 4 GiB",
        &[("sections", section(1, VIRTUAL_SIZE), 0xffff_ffff)],
        "section table at file offset 0x188: section 2 (.rdata) is 0x3000..0x100002fff, SizeOfImage is 0x7000",
    );
    check(
        "a section at the end of the address space",
        &[("sections", section(4, VIRTUAL_ADDRESS), 0xffff_f000)],
        "section table at file offset 0x188: section 5 (.reloc) is 0xfffff000..0xfffff098, SizeOfImage",
    );
    check(
        "data of 4 GiB",
        &[("sections", section(1, VIRTUAL_SIZE), 0), ("sections", section(1, RAW_SIZE), 0xffff_fe00)],
        "section table at file offset 0x188: section 2 (.rdata) is 0x3000..0x100002e00, SizeOfImage is 0x7000",
    );
    check(
        "data past the file",
        &[("sections", section(4, RAW_POINTER), 0x1_0000)],
        "section data at file offset 0x10000: needs 0x200 bytes, there are 0x0",
    );
}

#[test]
fn a_dos_header_that_leads_nowhere() {
    let mut bytes = driver().build().bytes;
    for offset in [bytes.len() as u32 - 4, 0x7fff_ffff, 0xffff_ffff] {
        bytes[0x3c..0x40].copy_from_slice(&offset.to_le_bytes());
        let error = errors(&bytes, Ask::Parse);
        assert!(error.starts_with(&format!("IMAGE_NT_HEADERS at file offset {offset:#x}: needs ")), "{error}");
    }
}

#[test]
fn import_and_export_tables() {
    let sample = driver().build();
    let exports = |what, edits: &[_], expected| check(what, &sample, edits, Ask::Exports, expected);
    exports(
        "directory outside the image",
        &[("nt", directory(0), 0x7000_0000)],
        "IMAGE_EXPORT_DIRECTORY at RVA 0x70000000: needs 0x28 bytes, there are 0x0",
    );
    exports(
        "4 billion functions",
        &[("exports", 20, 0xffff_ffff)],
        "IMAGE_EXPORT_DIRECTORY at RVA 0x3010: export address table is 0xffffffff, allowed is a table that lies",
    );
    exports(
        "more functions than the section has bytes",
        &[("exports", 20, 0x1000)],
        "export address table at RVA 0x3038: needs 0x4000 bytes, there are 0x3c8",
    );
    exports(
        "4 billion names",
        &[("exports", 24, 0xffff_ffff)],
        "IMAGE_EXPORT_DIRECTORY at RVA 0x3010: export name table is 0xffffffff, allowed is a table that lies",
    );
    exports(
        "names past the image",
        &[("exports", 32, 0x7fff_0000)],
        "export name table at RVA 0x7fff0000: needs 0x8 bytes, there are 0x0",
    );
    exports(
        "ordinals of functions that are not there",
        &[("exports", 20, 1)],
        "export ordinal table at RVA 0x304a: index is 0x1, allowed is less than NumberOfFunctions (0x1)",
    );

    let imports = |what, edits: &[_], expected| check(what, &sample, edits, Ask::Imports, expected);
    imports(
        "directory outside the image",
        &[("nt", directory(1), 0x7000_0000)],
        "IMAGE_IMPORT_DESCRIPTOR at RVA 0x70000000: needs 0x14 bytes, there are 0x0",
    );
    imports(
        "names outside the image",
        &[("imports", 0, 0x7000_0000)],
        "import lookup table at RVA 0x70000000: needs 0x8 bytes, there are 0x0",
    );
    imports(
        "DLL without a name",
        &[("imports", 12, 0x7000_0000)],
        "imported DLL's name at RVA 0x70000000: the name has no end",
    );
    imports(
        "slots outside the image",
        &[("imports", 16, 0x7000_0000)],
        "import address table at RVA 0x70000000: slot 0 of ntoskrnl.exe lies outside the image",
    );
    imports(
        "slots at the end of the address space",
        &[("imports", 16, 0xffff_fffc)],
        "import address table at RVA 0xfffffffc: slot 0 of ntoskrnl.exe lies outside the image",
    );

    let image = |what, edits: &[_], expected| check(what, &sample, edits, Ask::Image, expected);
    image(
        "IAT outside the image",
        &[("nt", directory(12), 0x7000_0000)],
        "import address table at RVA 0x70000000: Size is 0x10, allowed is at most 0x0",
    );
    image(
        "IAT of 4 GiB",
        &[("nt", directory(12) + 4, 0xffff_ffff)],
        "import address table at RVA 0x3070: Size is 0xffffffff, allowed is at most 0x3f90",
    );
}

#[test]
fn relocations() {
    let sample = driver().build();
    let check = |what, edits: &[_], ask, expected| check(what, &sample, edits, ask, expected);
    check(
        "directory outside the image",
        &[("nt", directory(5), 0x7000_0000)],
        Ask::Relocations,
        "base relocation table at RVA 0x70000000: needs 0xc bytes, there are 0x0",
    );
    check(
        "directory of 4 GiB",
        &[("nt", directory(5) + 4, 0xffff_ffff)],
        Ask::Relocations,
        "base relocation table at RVA 0x6000: needs 0xffffffff bytes, there are 0x200",
    );
    check(
        "block of 4 GiB",
        &[("relocations", 4, 0xffff_ffff)],
        Ask::Relocations,
        "IMAGE_BASE_RELOCATION at RVA 0x6000: SizeOfBlock is 0xffffffff, allowed is 8 to 0xc",
    );
    check(
        "block smaller than its header",
        &[("relocations", 4, 4)],
        Ask::Relocations,
        "IMAGE_BASE_RELOCATION at RVA 0x6000: SizeOfBlock is 0x4, allowed is 8 to 0xc",
    );
    check(
        "a page outside the image",
        &[("relocations", 0, 0x7000_0000)],
        Ask::Image,
        "IMAGE_BASE_RELOCATION at RVA 0x6000: a relocation at RVA 0x70000100 lies outside the image",
    );
    check(
        "a kind that is not known",
        &[("relocations", 8, 0xf100)],
        Ask::Image,
        "IMAGE_BASE_RELOCATION at RVA 0x6000: kind 15 at RVA 0x1100 is not known and is left out",
    );
}

#[test]
fn load_configuration_and_dynamic_relocations() {
    let sample = driver().build();
    let check = |what, edits: &[_], expected| check(what, &sample, edits, Ask::Dvrt, expected);
    check(
        "load configuration outside the image",
        &[("nt", directory(10), 0x7000_0000)],
        "IMAGE_LOAD_CONFIG_DIRECTORY at RVA 0x70000000: needs 0x4 bytes, there are 0x0",
    );
    check(
        "load configuration of 4 GiB",
        &[("load_config", 0, 0xffff_ffff)],
        "IMAGE_LOAD_CONFIG_DIRECTORY at RVA 0x30e0: needs 0xffffffff bytes, there are 0x320",
    );
    check(
        "table in section 99",
        &[("load_config", 0xe4, 99)],
        "IMAGE_LOAD_CONFIG_DIRECTORY at RVA 0x31c4: DynamicValueRelocTableSection is 0x63, allowed is 0 to 5",
    );
    check(
        "table past its section",
        &[("load_config", 0xe0, 0x1_0000)],
        "IMAGE_LOAD_CONFIG_DIRECTORY at RVA 0x31c4: DynamicValueRelocTableOffset is 0x10000, allowed is less than",
    );
    check(
        "version 3",
        &[("dvrt", 0, 3)],
        "IMAGE_DYNAMIC_RELOCATION_TABLE at RVA 0x600c: Version is 0x3, allowed is 1 or 2",
    );
    check(
        "table of 4 GiB",
        &[("dvrt", 4, 0xffff_ffff)],
        "IMAGE_DYNAMIC_RELOCATION_TABLE at RVA 0x600c: Size is 0xffffffff, allowed is at most 0x1ec",
    );
    check(
        "entry larger than the table",
        &[("dvrt", 16, 0x1000)],
        "IMAGE_DYNAMIC_RELOCATION at RVA 0x6014: BaseRelocSize is 0x1000, allowed is at most 0x78",
    );
    check(
        "block smaller than its header",
        &[("dvrt", 24, 7)],
        "IMAGE_BASE_RELOCATION at RVA 0x6020: SizeOfBlock is 0x7, allowed is 8 to 0x18",
    );
    check(
        "block larger than its entry",
        &[("dvrt", 24, 0x1000)],
        "IMAGE_BASE_RELOCATION at RVA 0x6020: SizeOfBlock is 0x1000, allowed is 8 to 0x18",
    );
    check(
        "a page at the end of the address space",
        &[("dvrt", 20, 0xffff_fff8)],
        "IMAGE_IMPORT_CONTROL_TRANSFER_DYNAMIC_RELOCATION at RVA 0x6020: VirtualAddress is 0xfffffff8, allowed is",
    );
    // The payload of symbol 7 starts at 0x50, its override at 0x54.
    check(
        "overrides larger than the entry",
        &[("dvrt", 0x50, 0x1000)],
        "IMAGE_FUNCTION_OVERRIDE_HEADER at RVA 0x605c: FuncOverrideSize is 0x1000, allowed is at most",
    );
    check(
        "more alternatives than bytes",
        &[("dvrt", 0x5c, 0x1000)],
        "IMAGE_FUNCTION_OVERRIDE_DYNAMIC_RELOCATION at RVA 0x6060: RvaSize is 0x1000, allowed is at most 0x10",
    );
    check(
        "more sites than bytes",
        &[("dvrt", 0x60, 0x1000)],
        "IMAGE_FUNCTION_OVERRIDE_DYNAMIC_RELOCATION at RVA 0x6060: BaseRelocSize is 0x1000, allowed is at most 0xc",
    );
    check("a diagram outside the entry", &[("dvrt", 0x58, 0x1000)], "IMAGE_BDD_INFO at RVA 0x");
}

#[test]
fn records_past_the_end() {
    let sample = driver().build();
    let check = |what, edits: &[_], expected| check(what, &sample, edits, Ask::Image, expected);
    check(
        "a page outside the image",
        &[("dvrt", 20, 0x7000_0000)],
        "IMAGE_IMPORT_CONTROL_TRANSFER_DYNAMIC_RELOCATION at RVA 0x6020: a site at RVA 0x70000010 lies outside",
    );
    check(
        "a site across the end of the last section",
        &[("dvrt", 32, 0x6000), ("dvrt", 40, 0x1ff8)],
        "IMAGE_IMPORT_CONTROL_TRANSFER_DYNAMIC_RELOCATION at RVA 0x602c: a site at RVA 0x6ff8 lies outside the image",
    );
    check(
        "a switch outside the image",
        &[("dvrt", 0x38, 0x7000_0000)],
        "IMAGE_SWITCHTABLE_BRANCH_DYNAMIC_RELOCATION at RVA 0x6044: a site at RVA 0x70000040 lies outside",
    );
}

#[test]
fn schemas_and_resources() {
    let schema = api_set_schema(&[("ext-ms-win-x-l1-1-0", "x.sys")]).build();
    // The schema is the first section, at file offset 0x400.
    let at = |offset: usize| 0x400 - 0x80 + offset;
    let place = "API_SET_NAMESPACE at RVA 0x1000: Version is 0x5, allowed is 6";
    check("schema of another version", &schema, &[("nt", at(0), 5)], Ask::ApiSets, place);
    let place = "API_SET_NAMESPACE_ENTRY at RVA 0x101c: needs 0x17ffffffe8 bytes, there are 0x";
    check("4 billion contracts", &schema, &[("nt", at(12), 0xffff_ffff)], Ask::ApiSets, place);

    let place = "IMAGE_RESOURCE_DIRECTORY at RVA 0x70000000: ";
    let edits = [("nt", directory(2), 0x7000_0000)];
    check("resources outside the image", &driver().build(), &edits, Ask::Version, place);
}

#[test]
fn stubs() {
    let check = |change: fn(&mut Driver), expected: &str| {
        let mut kernel = kernel(&[]);
        change(&mut kernel);
        assert_eq!(errors(&kernel.build().bytes, Ask::Stubs), expected);
    };
    check(|_| (), "");
    check(
        |kernel| kernel.sections[1].virtual_size = Some(0x20_0000),
        "RETPOL section at RVA 0x2000: VirtualSize is 0x200000, allowed is at most 0x100000",
    );
    check(
        |kernel| kernel.sections[1].bytes.fill(0),
        "retpoline stub header at RVA 0x2004: stub offset is 0x0, allowed is 0x50 to 0xfff",
    );
    let short = StubBlock::from_pages(vec![0; 3], Rva(0x2000)).unwrap_err();
    assert_eq!(short.to_string(), "retpoline stub header at RVA 0x2000: needs 0x50 bytes, there are 0x3");
}

/// One long name that serves thousands of imports would cost its length for each of them.
#[test]
fn names_that_overlap_cost_no_more_than_the_file() {
    let mut driver = driver();
    let long = "x".repeat(4000);
    for number in 1..2000 {
        driver.import(&long, &format!("#{number}"));
    }
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let imports = file.imports();
    let read: usize = imports.dlls.iter().map(|dll| dll.imports.len() * dll.dll.len()).sum();
    assert!(read <= 2 * built.bytes.len(), "{read:#x} bytes of names out of {:#x}", built.bytes.len());
    let error = imports.errors[0].to_string();
    assert!(error.ends_with("more imports than a file of this size can hold: tables overlap"), "{error}");

    let mut forwarder = Driver::new("forwarder.sys");
    forwarder.forward("Long", &format!("{}.Name", "y".repeat(3000)));
    let built = forwarder.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let modules = Modules::new([Module::new("forwarder.sys", 0x1000, file.clone())]);
    let error = modules.resolve("other.sys", "forwarder.sys", &ImportName::Name("Long".into())).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
}

/// 60,000 sections, and a gap after each: reading is linear in them.
#[test]
fn more_sections_than_anyone_needs() {
    let mut driver = Driver::new("many.sys");
    driver.code(".text", 0x200);
    let built = driver.build();
    let mut bytes = built.bytes.clone();
    let (nt, table, count) = (built.places["nt"], built.places["sections"], 60_000_u32);
    bytes.resize(table + 40 * count as usize, 0);
    bytes[nt + 6..nt + 8].copy_from_slice(&(count as u16).to_le_bytes());
    bytes[nt + 80..nt + 84].copy_from_slice(&(0x1000 + 0x20 * count).to_le_bytes());
    for number in 0..count {
        let header = &mut bytes[table + 40 * number as usize..][..40];
        // VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData.
        for (at, value) in [(8, 0x10), (12, 0x1000 + 0x20 * number), (16, 0x10), (20, 0x200)] {
            header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
    }
    let file = PeFile::parse(&bytes).unwrap();
    let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::default());
    let start = std::time::Instant::now();
    let mut out = vec![0; 0x20 * count as usize];
    image.read(Rva(0x1000), &mut out);
    assert_eq!(out[0x20..0x30], bytes[0x200..0x210]);
    assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
}

/// Sections without a byte are not an error: they hold nothing.
#[test]
fn sections_of_no_size() {
    let mut driver = driver();
    driver.section("EMPTY", testkit::image::RDATA, Vec::new());
    let built = driver.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let image = MappedImage::new(file.clone(), 0xffff_f800_1000_0000, Policy::default());
    assert_eq!(file.headers().sections.len(), 6);
    let ranges = image.ranges(Selection::Image);
    assert_eq!(ranges.len(), 6, "the headers and the five others: {ranges:x?}");
    assert_eq!(image.bytes(Rva(built.section_rvas[1]), 4)[..], [0; 4]);
}

#[test]
fn forwarders_in_a_circle() {
    let built = driver().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let modules = Modules::new([Module::new("driver.sys", 0x1000, file.clone())]);
    let error = modules.resolve("other.sys", "driver.sys", &ImportName::Name("Loop".into())).unwrap_err();
    assert_eq!(error.to_string(), "forwarders from driver.sys lead in a circle or too far");
}
