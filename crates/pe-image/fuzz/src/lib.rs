//! The bodies of the fuzz targets: ordinary functions that panic when something is wrong.
#![forbid(unsafe_code)]

use std::io::Cursor;

use pe_image::{
    ApiSets, Binding, Dvrt, Fixups, Identity, ImportCalls, MappedImage, Module, ModuleId, Modules, Outcome, PeFile,
    Policy, Reason, Rva, Selection, SiteForm, SiteKind, StubBlock, recognise,
};
use testkit::image::{
    ARM64, At, Built, Driver, Entry, ExportSpec, ImportSpec, OverrideSpec, PdbSpec, SiteSpec, VersionSpec,
    api_set_schema, kernel, padded_u16s, page_blocks, u32s,
};

const KERNEL_BASE: u64 = 0xffff_f804_2000_0000;
const DRIVER_BASE: u64 = 0xffff_f804_3000_0000;

/// A driver with some of everything; `kind` chooses machine and version of the dynamic relocation table.
fn driver(kind: u8) -> Driver {
    let x86 = kind % 4 == 1;
    let mut driver = if x86 { Driver::new_x86("driver.sys") } else { Driver::new("driver.sys") };
    let text = driver.code(".text", 0x1200);
    let one_block = |records: Vec<u8>| page_blocks(&[(0x1000, records)].into());
    driver.dvrt_version = Some(if kind & 4 == 0 { 1 } else { 2 });
    for (dll, name, delayed) in [
        ("ntoskrnl.exe", "ExFreePool", false),
        ("hal.dll", "#1", false),
        ("ext-ms-win-ntos-werkernel-l1-1-1.dll", "WerLive", false),
        ("late.sys", "Later", true),
    ] {
        driver.imports.push(ImportSpec { dll: dll.to_owned(), name: name.to_owned(), delayed });
    }
    if kind % 4 == 2 {
        driver.machine = ARM64;
        driver.entries.push(Entry { symbol: 8, payload: one_block(u32s(&[5 | 1 << 10 | 16 << 11, 9 | 0x7fff << 17])) });
    } else if !x86 {
        driver.call(At(text, 0x10), 0).call(At(text, 0xffa), 1).jump(At(text, 0x40), 2);
        driver.site(At(text, 0x60), SiteSpec::NoIndex { call: true, pointer: At(text, 0x8) });
        driver.site(At(text, 0x80), SiteSpec::Indirect { call: true, rex: true, cfg: true });
        driver.site(At(text, 0xa0), SiteSpec::Indirect { call: false, rex: false, cfg: false });
        driver.site(At(text, 0xc0), SiteSpec::Switch(3)).site(At(text, 0x1020), SiteSpec::Switch(11));
    }
    driver.pointer(At(text, 0x100), At(text, 0)).pointer(At(text, 0xffc), At(text, 8));
    driver.export("Own", At(text, 0)).forward("Loop", "driver.Loop").forward("Out", "ntoskrnl.#1");
    driver.ordinal_exports.push((9, ExportSpec::Forward("driver.#9".to_owned())));
    if kind & 8 != 0 {
        driver
            .entries
            .push(Entry { symbol: 6, payload: one_block(vec![0x10, 0x80, 0x20, 0x50, 1, 2, 0x40, 0xe0, 3, 0]) });
        let address = if x86 { 0xc000_0000 } else { 0xffff_f680_0000_0000 };
        driver.entries.push(Entry { symbol: address, payload: one_block(padded_u16s(&[0xa200, 0x3210])) });
        let calls = vec![At(text, 0x300), At(text, 0x320)];
        driver.overrides.push(OverrideSpec::new(At(text, 0), vec![At(text, 0x10)], calls));
    }
    if kind & 16 != 0 {
        let guid = "FF1FD2FD-6008-42BB-9E75-00A20051F3BE".to_owned();
        driver.pdb = Some(PdbSpec::Rsds { guid, age: 1, path: r"d:\driver.pdb".to_owned() });
        driver.pdb_checksum = Some(("SHA256".to_owned(), vec![7; 32]));
        let strings = vec![("OriginalFilename".to_owned(), "driver.sys".to_owned())];
        driver.version = Some(VersionSpec { file: [10, 0, 19041, 1], product: [10, 0, 19041, 1], strings });
    }
    driver
}

/// A sound file: a driver, a kernel with stubs, or an API set schema.
fn sample(kind: u8) -> Built {
    match kind >> 5 {
        6 => kernel(&["ExFreePool", "WerLive"]).build(),
        7 => api_set_schema(&[("ext-ms-win-ntos-werkernel-l1-1-0", "driver.sys"), ("api-ms-x-l1-1-0", "")]).build(),
        _ => driver(kind).build(),
    }
}

/// Structures that edits aim at.
const PLACES: [&str; 8] = ["nt", "sections", "imports", "exports", "load_config", "relocations", "dvrt", "debug"];
/// Numbers that edits put there.
const NUMBERS: [u32; 8] = [0, 1, 0xffff_ffff, 0x8000_0000, 0x7fff_ffff, 0x1000, 0xfff, 0x1004];

/// The file that an input stands for. An even first byte: the rest is the file. An odd one: the second byte chooses a
/// sample, and the rest are edits of 4 bytes (offset, offset, place and kind, value) to it, so that the fuzzer need not
/// learn the format first.
fn file(input: &[u8]) -> Vec<u8> {
    let (&kind, rest) = input.split_first().unwrap_or((&0, &[]));
    if kind % 2 == 0 {
        return rest.to_vec();
    }
    let (&kind, rest) = rest.split_first().unwrap_or((&0, &[]));
    let Built { mut bytes, places, .. } = sample(kind);
    for edit in rest.chunks_exact(4) {
        let offset = usize::from(u16::from_le_bytes([edit[0], edit[1]]));
        let place = usize::from(edit[2] >> 4).checked_sub(4).and_then(|number| places.get(PLACES[number % 8]));
        // Near a structure, or anywhere.
        let at = place.map_or(offset, |place| place + offset % 0x120) % bytes.len();
        match edit[2] & 15 {
            0 => bytes.truncate(at.max(1)),
            1 => drop(bytes.drain(at.min(bytes.len() - 1)..(at + usize::from(edit[3])).min(bytes.len() - 1))),
            2..5 => bytes[at] ^= edit[3],
            5..8 => bytes[at] = edit[3],
            _ => {
                let number = NUMBERS[usize::from(edit[3]) % 8].wrapping_add(u32::from(edit[3] >> 3));
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
        }
    }
    bytes
}

/// Headers, identity, resources: what a file says of itself.
pub fn parse(input: &[u8]) {
    let data = file(input);
    let from_file = Identity::read(Cursor::new(&data));
    let Ok(file) = PeFile::parse(&data) else { return };
    let headers = file.headers();
    assert!(headers.sections.is_sorted_by(|a, b| a.end() <= b.rva));
    let identity = file.identity();
    let from_file = from_file.expect("what can be mapped can be identified");
    assert_eq!(identity, from_file);
    if let Some(pdb) = &identity.pdb {
        let _ = (pdb.pdb_key(), pdb.name(), pdb.guid_text(), pdb.record().len() <= data.len() + 1);
    }
    let _ = (identity.image_key(), file.compute_checksum(), file.pdb_checksum(), file.debug_ranges());
    let version = file.version().ok().flatten().unwrap_or_default();
    assert!(version.strings.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= 3 * data.len());
    let mut out = [0xee; 0x100];
    for section in &headers.sections {
        file.read(Rva(section.end().0.saturating_sub(0x80)), &mut out);
        let _ = section.name();
    }
}

/// Imports, exports, API sets, and binding the file against itself.
pub fn imports(input: &[u8]) {
    let data = file(input);
    let Ok(file) = PeFile::parse(&data) else { return };
    let imports = file.imports();
    let listed: usize = imports.dlls.iter().map(|dll| dll.imports.len()).sum();
    assert!(listed <= data.len());
    if let Ok(Some(exports)) = file.exports() {
        assert!(exports.iter().count() <= exports.len());
        let _ = (exports.name(), exports.by_name("Own"), exports.by_ordinal(1), exports.errors());
    }
    if let Ok(Some(api_sets)) = ApiSets::read(&file) {
        let _ = api_sets.host("ext-ms-win-ntos-werkernel-l1-1-1.dll", "driver.sys");
    }
    let modules = Modules::new(
        ["driver.sys", "ntkrnlmp.exe", "hal.dll", "kdnet.dll"]
            .into_iter()
            .enumerate()
            .map(|(number, name)| Module::new(name, DRIVER_BASE + 0x1_0000 * number as u64, file.clone())),
    );
    let binding = modules.bind(ModuleId(0));
    assert!(binding.slots().is_sorted_by(|a, b| a.rva < b.rva) && binding.slots().len() <= listed);
    for slot in binding.unresolved() {
        assert!(slot.result.as_ref().is_err_and(|reason| reason.to_string().len() <= 2 * data.len() + 200));
    }
}

/// Base relocations, listed and applied.
pub fn relocations(input: &[u8]) {
    let data = file(input);
    let Ok(file) = PeFile::parse(&data) else { return };
    if let Ok(blocks) = file.relocation_blocks() {
        let records: usize = blocks.flatten().map(|block| block.relocations().count()).sum();
        assert!(records <= data.len());
    }
    let image = MappedImage::new(file.clone(), DRIVER_BASE, Policy::AS_LINKED);
    let counts = image.counts();
    assert_eq!(image.relocations().count() as u64, counts.relocations);
    for relocation in image.relocations().take(64) {
        let mut out = [0; 16];
        image.read(Rva(relocation.rva.0.saturating_sub(4)), &mut out);
    }
    let home = MappedImage::new(file.clone(), file.headers().image_base, Policy::AS_LINKED);
    assert_eq!(home.counts().relocations, 0);
}

/// The dynamic relocation table, every record of every symbol.
pub fn dvrt(input: &[u8]) {
    let data = file(input);
    let Ok(file) = PeFile::parse(&data) else { return };
    let Ok(Some(table)) = file.dvrt() else { return };
    let records = count_records(&table);
    assert!(records <= data.len(), "{records} records in {} bytes", data.len());
}

fn count_records(table: &Dvrt<'_>) -> usize {
    let mut records = 0;
    for entry in &table.entries {
        let _ = entry.symbol.to_string();
        records += match entry.fixups() {
            Fixups::ImportTransfers(records) => records.flatten().count(),
            Fixups::IndirectTransfers(records) => records.flatten().count(),
            Fixups::SwitchBranches(records) => records.flatten().count(),
            Fixups::Arm64ImportTransfers(records) => records.flatten().count(),
            Fixups::Arm64x(fixups) => fixups.iter().flatten().count(),
            Fixups::Address(constants) => constants.iter().flatten().count(),
            Fixups::FunctionOverrides(Ok(overrides)) => {
                let sites = overrides.overrides.iter().map(|item| {
                    let _ = overrides.bdd(item).map(|bdd| bdd.nodes.len());
                    item.sites().flatten().count()
                });
                sites.sum()
            }
            _ => 0,
        };
    }
    records
}

/// The image under every policy: read in pieces and as a whole, with its sites, counts and ranges.
pub fn produce(input: &[u8]) {
    let data = file(input);
    let Ok(file) = PeFile::parse(&data) else { return };
    let kernel = sample(0xc0).bytes;
    let kernel = PeFile::parse(&kernel).expect("the sample is sound");
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", KERNEL_BASE, kernel.clone()),
        Module::new("driver.sys", DRIVER_BASE, file.clone()),
    ]);
    let binding = modules.bind(ModuleId(1));
    let kernel = MappedImage::new(kernel.clone(), KERNEL_BASE, Policy::AS_LINKED);
    let stubs = StubBlock::from_kernel(&kernel).expect("the sample is sound").expect("it has stubs");
    let own = MappedImage::new(file.clone(), DRIVER_BASE, Policy::AS_LINKED);
    let own = StubBlock::from_kernel(&own).ok().flatten();
    for import_calls in [ImportCalls::AsLinked, ImportCalls::Optimized, ImportCalls::DriverVerifier] {
        for retpoline in [false, true] {
            let policy = Policy::AS_LINKED.with_import_calls(import_calls).with_retpoline(retpoline);
            let policy = policy.with_function_overrides(retpoline || import_calls == ImportCalls::Optimized);
            let image = modules.image(ModuleId(1), policy).expect("it has a file");
            check_image(&image.with_stubs(own.as_ref().unwrap_or(&stubs)), &binding);
        }
    }
}

fn check_image(image: &MappedImage<'_>, binding: &Binding<'_>) {
    let counts = image.counts();
    let import = counts.import;
    let parts = import.unexpected_bytes + import.no_index + import.unbound + import.out_of_range;
    assert!(import.optimized + parts + import.not_retpolined <= import.listed);
    let sites: Vec<_> = image.sites().collect();
    let mut places: Vec<u64> = sites.iter().map(|site| site.rva.0.into()).collect();
    places.sort_unstable();
    for site in &sites {
        assert!((5..=12).contains(&site.kind.size()));
        let bytes = image.bytes(site.rva, 12);
        let form = recognise(&bytes, image.address(site.rva));
        // Sites that overlap each other, or lie on slots or in the header, do not hold what each of them says.
        let rva = u64::from(site.rva.0);
        let near =
            places.partition_point(|&place| place < rva + 12) - places.partition_point(|&place| place + 12 <= rva);
        let slots = binding.slots().iter().map(|slot| u64::from(slot.rva.0));
        if near != 1 || slots.into_iter().any(|slot| slot < rva + 12 && rva < slot + 8) || rva < 0x1000 {
            continue;
        }
        let direct = matches!(form, Some(SiteForm::ImportDirect { .. })).then(|| form.and_then(|form| form.target()));
        match &site.outcome {
            Outcome::Direct(target) => assert_eq!(direct, Some(Some(target.address)), "{site:x?}"),
            Outcome::ViaStub(_) | Outcome::DriverVerifier | Outcome::Overridden(_) => {
                assert!(form.is_some(), "{site:x?}");
            }
            Outcome::AsLinked(Reason::UnexpectedBytes) => {}
            _ => assert!(direct.is_none() || !matches!(site.kind, SiteKind::Import { .. })),
        }
    }
    assert_eq!(
        sites.len() as u64,
        import.listed + counts.indirect.listed + counts.switch.listed + counts.overrides.listed
    );
    let overrides = counts.overrides;
    assert_eq!(overrides.applied + overrides.as_linked + overrides.unexpected_bytes, overrides.listed);
    for warning in image.warnings() {
        assert!(warning.to_string().len() < 1000);
    }
    let _ = image.override_sites();
    let listed: u64 = image.overrides().iter().map(|item| item.counts.listed).sum();
    assert_eq!(listed, overrides.listed);
    let mut end = 0;
    for range in image.ranges(Selection::Image) {
        let (start, size) = (u64::from(range.rva.0), u64::from(range.size));
        assert!(start >= end && size != 0);
        end = start + size;
        // A section may be 2 GiB of zeros.
        let size = range.size.min(0x3000);
        let whole = image.bytes(range.rva, size);
        let mut pieces = vec![0xee; size as usize];
        let mut at = range.rva;
        for piece in pieces.chunks_mut(0x7fd) {
            image.read(at, piece);
            at = at.checked_add(piece.len() as u32).unwrap_or(at);
        }
        assert!(pieces == *whole, "{range:x?}");
        let total: usize = image.pieces(range.rva, size).map(|piece| piece.bytes.len()).sum();
        assert_eq!(total, size as usize);
    }
    assert_eq!(image.patched_file().len(), image.file().data().len());
}
