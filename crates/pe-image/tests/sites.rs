//! Import optimization on generated drivers: what each site becomes, and how sites are counted.

use pe_image::{
    Counts, ImportCalls, ImportCounts, MappedImage, Module, ModuleId, Modules, Outcome, PeFile, Policy, Reason, Rva,
    SiteForm, Va, recognise,
};
use testkit::image::{At, Driver, SiteSpec, kernel};

/// Counts that are 0 except for those given.
macro_rules! counts {
    ($counts:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut counts = $counts::default();
        $(counts.$field = $value;)*
        counts
    }};
}

const DRIVER_BASE: u64 = 0xffff_f804_3000_0000;
const KERNEL_BASE: u64 = 0xffff_f804_2000_0000;

/// Builds a driver, binds it against a kernel at `kernel_base`, and maps it under a policy.
fn with_image<T>(
    driver: &Driver,
    kernel_base: u64,
    policy: Policy,
    check: impl FnOnce(&MappedImage<'_>, &testkit::image::Built) -> T,
) -> T {
    let kernel = kernel(&["ExAllocatePool2", "ExFreePool", "KeBugCheck"]).build();
    let built = driver.build();
    let (kernel_file, file) = (PeFile::parse(&kernel.bytes).unwrap(), PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", kernel_base, kernel_file.clone()),
        Module::new(driver.name.clone(), DRIVER_BASE, file.clone()),
    ]);
    check(&modules.image(ModuleId(1), policy).unwrap(), &built)
}

fn bytes<const N: usize>(image: &MappedImage<'_>, rva: u32) -> [u8; N] {
    let mut out = [0; N];
    image.read(Rva(rva), &mut out);
    out
}

/// A driver with one code section and a call at each of `offsets`, to the kernel's second export.
fn driver_with_calls(offsets: &[u32]) -> Driver {
    let mut driver = Driver::new("driver.sys");
    let text = driver.code(".text", 0x3000);
    let import = driver.import("ntoskrnl.exe", "ExFreePool");
    for &offset in offsets {
        driver.call(At(text, offset), import);
    }
    driver
}

#[test]
fn calls_and_jumps_become_direct() {
    let mut driver = driver_with_calls(&[0x10]);
    let last = driver.import("NTOSKRNL.EXE", "KeBugCheck");
    driver.jump(At(0, 0x40), last);
    with_image(&driver, KERNEL_BASE, Policy::default(), |image, built| {
        let call = built.rva(At(0, 0x10));
        let site = bytes::<12>(image, call);
        assert_eq!(site[..3], [0x4c, 0x8b, 0x15]);
        assert_eq!(site[7], 0xe8);
        let displacement = built.slots[0].wrapping_sub(call + 7);
        assert_eq!(site[3..7], displacement.to_le_bytes());
        // The kernel's exports lie 16 bytes apart from RVA 0x1000 on.
        let target = KERNEL_BASE + 0x1010;
        let distance = target.wrapping_sub(DRIVER_BASE + u64::from(call) + 12) as u32;
        assert_eq!(site[8..], distance.to_le_bytes());

        let jump = built.rva(At(0, 0x40));
        let form = recognise(&bytes::<12>(image, jump), DRIVER_BASE + u64::from(jump));
        let slot = DRIVER_BASE + u64::from(built.slots[1]);
        assert_eq!(
            form,
            Some(SiteForm::ImportDirect { call: false, slot: Va(slot), target: Va(KERNEL_BASE + 0x1020) })
        );
        let import = counts!(ImportCounts { listed: 2, optimized: 2 });
        assert_eq!(image.counts(), counts!(Counts { import: import }));
    });
}

#[test]
fn off_leaves_the_bytes_and_counts_nothing_as_optimized() {
    with_image(&driver_with_calls(&[0, 0x100]), KERNEL_BASE, Policy::AS_LINKED, |image, built| {
        let file = image.file();
        for range in image.ranges(pe_image::Selection::Code) {
            assert_eq!(image.bytes(range.rva, range.size), &file.bytes_from(range.rva)[..range.size as usize]);
        }
        assert_eq!(image.counts().import, counts!(ImportCounts { listed: 2 }));
        assert_eq!(bytes::<12>(image, built.rva(At(0, 0)))[..3], [0x48, 0xff, 0x15]);
    });
}

#[test]
fn a_second_mapping_keeps_its_bytes() {
    let policy = Policy::default().with_second_mapping(Policy::is_second_mapping("DUMP_stornvme.sys"));
    with_image(&driver_with_calls(&[8]), KERNEL_BASE, policy, |image, built| {
        assert_eq!(bytes::<12>(image, built.rva(At(0, 8)))[..3], [0x48, 0xff, 0x15]);
        assert_eq!(image.counts().import, counts!(ImportCounts { listed: 1 }));
        assert_eq!(image.sites().next().unwrap().outcome, Outcome::AsLinked(Reason::SecondMapping));
    });
    assert!(!Policy::is_second_mapping("dumpfve.sys"));
}

#[test]
fn driver_verifier_calls_r10() {
    let mut driver = driver_with_calls(&[0]);
    driver.jump(At(0, 0x20), 0);
    let policy = Policy::default().with_import_calls(ImportCalls::DriverVerifier);
    with_image(&driver, KERNEL_BASE, policy, |image, built| {
        let call = bytes::<12>(image, built.rva(At(0, 0)));
        assert_eq!((call[..3].to_vec(), &call[7..]), (vec![0x4c, 0x8b, 0x15], &[0x4d, 0xff, 0xd2, 0x90, 0x90][..]));
        let jump = bytes::<12>(image, built.rva(At(0, 0x20)));
        assert_eq!(&jump[7..], [0x4d, 0xff, 0xe2, 0xcc, 0xcc]);
    });
}

#[test]
fn every_fault_has_its_count() {
    let mut driver = driver_with_calls(&[0, 0x20]);
    let missing = driver.import("missing.sys", "Something");
    let unknown = driver.import("ntoskrnl.exe", "NoSuchFunction");
    let pointers = driver.section("TABLE", testkit::image::RDATA, vec![0; 16]);
    driver.call(At(0, 0x40), missing);
    driver.jump(At(0, 0x60), unknown);
    driver.site(At(0, 0x80), SiteSpec::NoIndex { call: true, pointer: At(pointers, 8) });
    let mut built = driver.build();
    // A site without index whose bytes are wrong too counts under the first fault: unexpected bytes.
    driver.site(At(0, 0xa0), SiteSpec::NoIndex { call: true, pointer: At(pointers, 8) });
    built.bytes = driver.build().bytes;
    let damaged = built.bytes.len();
    assert!(damaged > 0);
    let kernel = kernel(&["ExFreePool"]).build();
    let kernel_file = PeFile::parse(&kernel.bytes).unwrap();
    // Break the tail of the last site in the file: section data starts at 0x400.
    built.bytes[0x400 + 0xa0 + 9] = 0x90;
    let file = PeFile::parse(&built.bytes).unwrap();
    let modules = Modules::new([
        Module::new("driver.sys", DRIVER_BASE, file.clone()),
        Module::new("ntoskrnl.exe", KERNEL_BASE, kernel_file.clone()),
    ]);
    let image = modules.image(ModuleId(0), Policy::default()).unwrap();
    let expected = counts!(ImportCounts { listed: 6, optimized: 2, no_index: 1, unbound: 2, unexpected_bytes: 1 });
    assert_eq!(image.counts().import, expected);
    let off = modules.image(ModuleId(0), Policy::AS_LINKED).unwrap();
    let mut off_counts = expected;
    off_counts.optimized = 0;
    assert_eq!(off.counts().import, off_counts);
    let reasons: Vec<_> = image.sites().map(|site| site.outcome).skip(2).collect();
    assert_eq!(
        reasons,
        [Reason::Unbound, Reason::Unbound, Reason::NoIndex, Reason::UnexpectedBytes].map(Outcome::AsLinked)
    );
}

#[test]
fn a_call_at_a_jump_record_is_unexpected() {
    let mut driver = driver_with_calls(&[]);
    driver.jump(At(0, 0), 0);
    let mut built = driver.build();
    built.bytes[0x402] = 0x15;
    built.bytes[0x407..0x40c].copy_from_slice(&[0x0f, 0x1f, 0x44, 0, 0]);
    let file = PeFile::parse(&built.bytes).unwrap();
    let image = MappedImage::new(file.clone(), DRIVER_BASE, Policy::default());
    assert_eq!(image.counts().import.unexpected_bytes, 1);
}

#[test]
fn a_displacement_beside_the_slot_is_unexpected() {
    let driver = driver_with_calls(&[0]);
    let mut built = driver.build();
    built.bytes[0x403] ^= 8;
    let kernel = kernel(&["ExFreePool"]).build();
    let (kernel_file, file) = (PeFile::parse(&kernel.bytes).unwrap(), PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new([
        Module::new("driver.sys", DRIVER_BASE, file.clone()),
        Module::new("ntoskrnl.exe", KERNEL_BASE, kernel_file.clone()),
    ]);
    let image = modules.image(ModuleId(0), Policy::default()).unwrap();
    assert_eq!(image.counts().import.unexpected_bytes, 1);
    assert_eq!(bytes::<12>(&image, 0x1000), built.bytes[0x400..0x40c]);
}

/// Both tests of ±2 GiB, at their edges: the image base decides at the top, the site's end at the bottom.
#[test]
fn range_edges() {
    // The target lies at kernel + 0x1010; the site ends at driver + 0x100c.
    let highest = DRIVER_BASE + 0x7fff_ffff - 0x1010;
    let lowest = DRIVER_BASE + 0x100c - 0x8000_0000 - 0x1010;
    let cases = [(highest, 1), (highest + 1, 0), (lowest, 1), (lowest - 1, 0)];
    for (kernel_base, optimized) in cases {
        with_image(&driver_with_calls(&[0]), kernel_base, Policy::default(), |image, _| {
            let expected = counts!(ImportCounts { listed: 1, optimized: optimized, out_of_range: 1 - optimized });
            assert_eq!(image.counts().import, expected, "{kernel_base:#x}");
        });
    }
}

/// A site that starts anywhere near a page's end is whole, however the image is read.
#[test]
fn sites_across_pages_and_reads() {
    for offset in 0x1000 - 12..=0x1000 {
        with_image(&driver_with_calls(&[offset]), KERNEL_BASE, Policy::default(), |image, built| {
            let site = built.rva(At(0, offset));
            let whole = image.bytes(Rva(0x1000), 0x3000).into_owned();
            assert_eq!(whole[offset as usize..][..3], [0x4c, 0x8b, 0x15], "{offset:#x}");
            for step in [1_u32, 5, 12, 0x1000] {
                let mut pieces = Vec::new();
                for at in (0..0x3000).step_by(step as usize) {
                    let mut piece = vec![0; step.min(0x3000 - at) as usize];
                    image.read(Rva(0x1000 + at), &mut piece);
                    pieces.extend_from_slice(&piece);
                }
                assert!(pieces == whole, "offset {offset:#x}, step {step:#x}");
            }
            let pieces: Vec<u8> =
                image.pieces(Rva(0x1000), 0x3000).flat_map(|piece| piece.bytes.into_owned()).collect();
            assert!(pieces == whole);
            assert_eq!(recognise(&whole[offset as usize..], image.address(Rva(site))).unwrap().size(), 12);
        });
    }
}

#[test]
fn pages_without_fixups_are_borrowed() {
    with_image(&driver_with_calls(&[0x10]), KERNEL_BASE, Policy::default(), |image, _| {
        let sorts: Vec<_> = image
            .pieces(Rva(0x1000), 0x3000)
            .map(|piece| (piece.rva.0, matches!(piece.bytes, std::borrow::Cow::Borrowed(_)), piece.bytes.len()))
            .collect();
        // The site's block may reach into the next page, as far as the index knows.
        assert_eq!(sorts, [(0x1000, false, 0x2000), (0x3000, true, 0x1000)]);
    });
}

#[test]
fn slots_and_the_header_hold_what_the_kernel_leaves_there() {
    with_image(&driver_with_calls(&[0]), KERNEL_BASE, Policy::AS_LINKED, |image, built| {
        assert_eq!(bytes::<8>(image, built.slots[0]), (KERNEL_BASE + 0x1010).to_le_bytes());
        assert_eq!(bytes::<8>(image, 0x80 + 24 + 24), DRIVER_BASE.to_le_bytes());
    });
}

#[test]
fn a_table_of_version_2_is_listed_and_not_applied() {
    let mut driver = driver_with_calls(&[0]);
    driver.dvrt_version = Some(2);
    with_image(&driver, KERNEL_BASE, Policy::default(), |image, built| {
        assert_eq!(image.counts().import, counts!(ImportCounts { listed: 1 }));
        assert_eq!(bytes::<3>(image, built.rva(At(0, 0))), [0x48, 0xff, 0x15]);
        assert!(image.warnings()[0].to_string().contains("version 1 only"));
    });
}

/// A record at offset 0 counts as the first of its block and is padding anywhere else.
#[test]
fn a_record_at_the_start_of_a_page() {
    with_image(&driver_with_calls(&[0x1000, 0x1800]), KERNEL_BASE, Policy::default(), |image, _| {
        assert_eq!(image.counts().import.optimized, 2);
    });
}

/// A delayed slot is bound at the first call, so memory holds what the file has; only ordinary slots are filled.
#[test]
fn delayed_slots_stay_as_the_file_has_them() {
    let mut driver = driver_with_calls(&[]);
    for delayed in [false, true] {
        let (dll, name) = ("ntoskrnl.exe".to_owned(), "KeBugCheck".to_owned());
        driver.imports.push(testkit::image::ImportSpec { dll, name, delayed });
    }
    with_image(&driver, KERNEL_BASE, Policy::default(), |image, built| {
        assert_eq!(bytes::<8>(image, built.slots[1]), (KERNEL_BASE + 0x1020).to_le_bytes());
        let late = Rva(built.slots[2]);
        let mut in_file = [0; 8];
        image.file().read(late, &mut in_file);
        assert_eq!(bytes::<8>(image, late.0), in_file);
        assert_ne!(in_file, [0; 8], "testkit puts the thunk's address there");
        let slot = image.binding().unwrap().slot_at(late).unwrap();
        assert!(slot.delayed && slot.result.is_ok(), "it is resolved nevertheless");
    });
}

/// A relocation may begin in one section and end in the next: both are there, side by side.
#[test]
fn a_relocation_across_two_sections_is_applied() {
    let mut driver = Driver::new("driver.sys");
    let text = driver.code(".text", 0x1000);
    driver.section(".data", testkit::image::DATA, vec![0; 0x1000]);
    // DIR64 at RVA 0x1ffc, 4 bytes in front of .data.
    driver.pointer(At(text, 0xff0), At(text, 0));
    let mut built = driver.build();
    let place = built.places["relocations"];
    assert_eq!(built.bytes[place + 8..][..2], 0xaff0_u16.to_le_bytes(), "the first record");
    built.bytes[place + 8..][..2].copy_from_slice(&0xaffc_u16.to_le_bytes());
    let file = PeFile::parse(&built.bytes).unwrap();
    let mut linked = [0; 8];
    file.read(Rva(0x1ffc), &mut linked);
    let image = MappedImage::new(file, DRIVER_BASE, Policy::AS_LINKED);
    let moved = u64::from_le_bytes(linked).wrapping_add(DRIVER_BASE - driver.image_base);
    assert_eq!(bytes::<8>(&image, 0x1ffc), moved.to_le_bytes());
    assert_eq!((image.warnings(), image.counts().relocations), (&[][..], 1));
}
