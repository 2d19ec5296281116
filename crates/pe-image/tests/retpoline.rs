//! Retpoline: sites of symbols 3, 4 and 5 go through the stub pages after the image.

use pe_image::{
    Counts, ImportCalls, ImportCounts, MappedImage, Module, ModuleId, Modules, Outcome, PeFile, Policy, RangeKind,
    Reason, RewriteCounts, Rva, Selection, SiteForm, Stub, StubBlock, Va, recognise, stub_offset,
};
use testkit::image::{At, Driver, KERNEL_STUBS, SiteSpec, kernel};

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
const RETPOLINE: Policy = Policy::AS_LINKED.with_import_calls(ImportCalls::Optimized).with_retpoline(true);

struct Loaded<'a> {
    image: MappedImage<'a>,
    stub_rva: u32,
}

impl Loaded<'_> {
    fn bytes<const N: usize>(&self, at: u32) -> [u8; N] {
        let mut out = [0; N];
        self.image.read(Rva(0x1000 + at), &mut out);
        out
    }

    fn form(&self, at: u32) -> Option<SiteForm> {
        recognise(&self.bytes::<12>(at), DRIVER_BASE + 0x1000 + u64::from(at))
    }

    fn stub(&self, offset: u32) -> u64 {
        DRIVER_BASE + u64::from(self.stub_rva) + u64::from(offset)
    }
}

/// Maps a driver, whose code starts at RVA 0x1000, together with a kernel that has stubs.
fn with_loaded(driver: &Driver, kernel: &Driver, policy: Policy, check: impl FnOnce(&Loaded<'_>)) {
    let (kernel, built) = (kernel.build(), driver.build());
    let (kernel_file, file) = (PeFile::parse(&kernel.bytes).unwrap(), PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", KERNEL_BASE, kernel_file.clone()),
        Module::new(driver.name.clone(), DRIVER_BASE, file.clone()),
    ]);
    let stubs = StubBlock::from_kernel(&MappedImage::new(kernel_file.clone(), KERNEL_BASE, Policy::AS_LINKED))
        .unwrap()
        .unwrap();
    let image = modules.image(ModuleId(1), policy).unwrap().with_stubs(&stubs);
    check(&Loaded { image, stub_rva: built.size_of_image });
}

fn driver() -> Driver {
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x2000);
    driver
}

const fn indirect(call: bool, rex: bool, cfg: bool) -> SiteSpec {
    SiteSpec::Indirect { call, rex, cfg }
}

#[test]
fn indirect_and_switch_sites() {
    let cfg = KERNEL_STUBS.indirect_cfg;
    let rax = KERNEL_STUBS.indirect;
    let switch = |register: u32| KERNEL_STUBS.switch + KERNEL_STUBS.switch_stride * register;
    // Site, stub, opcode, and the bytes that follow the distance up to the site's end.
    let cases: [(SiteSpec, u32, u8, &[u8]); 11] = [
        (indirect(true, false, false), rax, 0xe8, &[]),
        (indirect(true, true, false), rax, 0xe8, &[0x00]),
        (indirect(false, false, false), rax, 0xe9, &[]),
        (indirect(false, true, false), rax, 0xe9, &[]),
        (indirect(true, false, true), cfg, 0xe8, &[0x90]),
        (indirect(true, true, true), cfg, 0xe8, &[0x90, 0x90]),
        (indirect(false, false, true), cfg, 0xe9, &[0xcc]),
        (indirect(false, true, true), cfg, 0xe9, &[0xcc, 0xcc]),
        (SiteSpec::Switch(1), switch(1), 0xe8, &[0xcc]),
        (SiteSpec::Switch(7), switch(7), 0xe8, &[0xcc]),
        (SiteSpec::Switch(12), switch(12), 0xe8, &[0xcc]),
    ];
    for (site, stub, opcode, fill) in cases {
        // Once inside a page and once across its border.
        for at in [0x20, 0x0ffd] {
            let mut driver = driver();
            driver.site(At(0, at), site);
            with_loaded(&driver, &kernel(&[]), RETPOLINE, |loaded| {
                let bytes = loaded.bytes::<8>(at);
                let end = DRIVER_BASE + 0x1000 + u64::from(at) + 5;
                let distance = loaded.stub(stub).wrapping_sub(end) as u32;
                assert_eq!(bytes[0], opcode, "{site:?}");
                assert_eq!(bytes[1..5], distance.to_le_bytes(), "{site:?}");
                assert_eq!(&bytes[5..5 + fill.len()], fill, "{site:?}");
                let counts = loaded.image.counts();
                assert_eq!(counts.indirect.rewritten + counts.switch.rewritten, 1, "{site:?}");
                let listed = loaded.image.sites().next().unwrap();
                assert_eq!(listed.outcome, Outcome::ViaStub(Rva(loaded.stub_rva + stub)), "{site:?}");
                // The branch by itself, from what the file lists.
                let branch = listed.kind.stub_branch(distance as i32).unwrap();
                assert_eq!(branch.bytes(), &bytes[..listed.kind.size() as usize], "{site:?}");
                assert_eq!(branch.target(end - 5), Va(loaded.stub(stub)), "{site:?}");
            });
            // Off: as linked.
            with_loaded(&driver, &kernel(&[]), Policy::default(), |loaded| {
                let file = loaded.image.file().bytes_from(Rva(0x1000 + at))[..8].to_vec();
                assert_eq!(loaded.bytes::<8>(at).to_vec(), file);
                assert_eq!(loaded.image.counts().indirect.rewritten + loaded.image.counts().switch.rewritten, 0);
            });
        }
    }
}

#[test]
fn unexpected_bytes_stay() {
    let mut driver = driver();
    driver.site(At(0, 0x10), indirect(true, false, true)).site(At(0, 0x40), SiteSpec::Switch(3));
    let mut built = driver.build();
    // The call reads another pointer; the switch jumps through another register.
    built.bytes[0x412] ^= 8;
    built.bytes[0x441] ^= 1;
    let kernel = kernel(&[]).build();
    let kernel_file = PeFile::parse(&kernel.bytes).unwrap();
    let stubs = StubBlock::from_kernel(&MappedImage::new(kernel_file.clone(), KERNEL_BASE, Policy::AS_LINKED));
    let stubs = stubs.unwrap().unwrap();
    let file = PeFile::parse(&built.bytes).unwrap();
    let image = MappedImage::new(file.clone(), DRIVER_BASE, RETPOLINE).with_stubs(&stubs);
    let count = counts!(RewriteCounts { listed: 1, unexpected_bytes: 1 });
    assert_eq!(image.counts(), counts!(Counts { indirect: count, switch: count }));
    assert_eq!(image.bytes(Rva(0x1000), 0x80), &file.bytes_from(Rva(0x1000))[..0x80]);
}

#[test]
fn imports_without_a_direct_target_go_through_r10() {
    let mut driver = driver();
    let [good, missing] = [driver.import("ntoskrnl.exe", "ExFreePool"), driver.import("gone.sys", "X")];
    driver.call(At(0, 0), good).call(At(0, 0x20), missing).jump(At(0, 0x40), missing);
    driver.site(At(0, 0x60), SiteSpec::NoIndex { call: true, pointer: At(0, 0x100) });
    with_loaded(&driver, &kernel(&["ExFreePool"]), RETPOLINE, |loaded| {
        assert_eq!(loaded.form(0).unwrap().target(), Some(Va(KERNEL_BASE + 0x1000)));
        let stub = loaded.stub(KERNEL_STUBS.import);
        for (at, is_call) in [(0x20, true), (0x40, false), (0x60, true)] {
            let Some(SiteForm::ImportDirect { call, target, slot }) = loaded.form(at) else { panic!("{at:#x}") };
            assert_eq!((call, target), (is_call, Va(stub)), "{at:#x}");
            if at == 0x60 {
                assert_eq!(slot, Va(DRIVER_BASE + 0x1100), "the displacement is kept");
            }
        }
        let expected = counts!(ImportCounts { listed: 4, optimized: 1, no_index: 1, unbound: 2 });
        assert_eq!(loaded.image.counts().import, expected);
    });
}

#[test]
fn a_target_that_is_not_retpolined_is_not_called_directly() {
    let mut driver = driver();
    let import = driver.import("ntoskrnl.exe", "ExFreePool");
    driver.call(At(0, 0), import);
    let mut kernel = kernel(&["ExFreePool"]);
    kernel.guard_flags = 0x4500;
    with_loaded(&driver, &kernel, RETPOLINE, |loaded| {
        assert_eq!(loaded.form(0).unwrap().target(), Some(Va(loaded.stub(KERNEL_STUBS.import))));
        let expected = counts!(ImportCounts { listed: 1, not_retpolined: 1 });
        assert_eq!(loaded.image.counts().import, expected);
    });
    // Without retpoline it makes no difference.
    with_loaded(&driver, &kernel, Policy::default(), |loaded| {
        assert_eq!(loaded.form(0).unwrap().target(), Some(Va(KERNEL_BASE + 0x1000)));
    });
}

#[test]
fn a_second_mapping_calls_nothing_directly() {
    let mut driver = driver();
    driver.name = "dump_stornvme.sys".to_owned();
    let import = driver.import("ntoskrnl.exe", "ExFreePool");
    driver.call(At(0, 0), import);
    let policy = RETPOLINE.with_second_mapping(Policy::is_second_mapping(&driver.name));
    with_loaded(&driver, &kernel(&["ExFreePool"]), policy, |loaded| {
        assert_eq!(loaded.form(0).unwrap().target(), Some(Va(loaded.stub(KERNEL_STUBS.import))));
    });
}

#[test]
fn the_stubs_are_a_range_after_the_image() {
    let mut kernel = kernel(&[]);
    // A pointer in a stub is relocated in the copies too.
    kernel.pointer(At(1, 0x500), At(0, 0x10));
    with_loaded(&driver(), &kernel, RETPOLINE, |loaded| {
        for selection in [Selection::Code, Selection::Headers, Selection::Image] {
            let ranges = loaded.image.ranges(selection);
            let last = ranges.last().unwrap();
            assert_eq!((last.rva.0, last.size, last.kind), (loaded.stub_rva, 0x1000, RangeKind::RetpolineStubs));
            assert!(ranges.is_sorted_by(|a, b| a.rva.0 + a.size <= b.rva.0));
        }
        let mut stubs = vec![0; 0x1000];
        loaded.image.read(Rva(loaded.stub_rva), &mut stubs);
        assert_eq!(stubs[4..8], KERNEL_STUBS.switch.to_le_bytes());
        assert_eq!(stubs[0x500..0x508], (KERNEL_BASE + 0x1010).to_le_bytes());
    });
    with_loaded(&driver(), &kernel, Policy::default(), |loaded| {
        assert!(loaded.image.ranges(Selection::Image).iter().all(|range| range.kind != RangeKind::RetpolineStubs));
    });
}

/// The kernel goes through its own section RETPOL, and its sections INITKDBG and MINIEX keep their bytes.
#[test]
fn the_kernel_itself() {
    let mut kernel = kernel(&["ExFreePool", "KeBugCheck", "A", "B", "C"]);
    kernel.site(At(0, 0x20), indirect(true, false, true)).site(At(2, 0x20), indirect(true, false, true));
    let built = kernel.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let plain = MappedImage::new(file.clone(), KERNEL_BASE, Policy::AS_LINKED);
    let stubs = StubBlock::from_kernel(&plain).unwrap().unwrap();
    let image = MappedImage::new(file.clone(), KERNEL_BASE, RETPOLINE).with_stubs(&stubs);
    let retpol = built.section_rvas[1];
    let outcomes: Vec<_> = image.sites().map(|site| site.outcome).collect();
    let expected =
        [Outcome::ViaStub(Rva(retpol + KERNEL_STUBS.indirect_cfg)), Outcome::AsLinked(Reason::SkippedSection)];
    assert_eq!(outcomes, expected);
    assert!(image.ranges(Selection::Image).iter().all(|range| range.kind != RangeKind::RetpolineStubs));
    assert_eq!(stubs.offsets().import, KERNEL_STUBS.import);
}

#[test]
fn a_stub_header_that_leads_out_of_the_block_is_an_error() {
    let mut kernel = kernel(&[]);
    kernel.sections[1].bytes[19 * 4..][..4].copy_from_slice(&0x2000_u32.to_le_bytes());
    let built = kernel.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let error = StubBlock::from_kernel(&MappedImage::new(file.clone(), KERNEL_BASE, Policy::AS_LINKED)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "retpoline stub header at RVA 0x204c: stub offset is 0x2000, allowed is 0x50 to 0xfff"
    );
}

#[test]
fn stubs_by_their_place() {
    let built = kernel(&[]).build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let stubs = StubBlock::from_kernel(&MappedImage::new(file.clone(), KERNEL_BASE, Policy::AS_LINKED));
    let offsets = stubs.unwrap().unwrap().offsets();
    let check = |offset, expected| assert_eq!(offsets.stub_at(offset), expected, "{offset:#x}");
    check(KERNEL_STUBS.import, Some(Stub::Import));
    check(KERNEL_STUBS.indirect, Some(Stub::Indirect));
    check(KERNEL_STUBS.indirect_cfg, Some(Stub::IndirectCfg));
    check(KERNEL_STUBS.switch, Some(Stub::Switch(0)));
    check(KERNEL_STUBS.switch + 15 * KERNEL_STUBS.switch_stride, Some(Stub::Switch(15)));
    check(0, None);
    check(KERNEL_STUBS.import + 1, None);

    // The pages begin on the first page border after the image.
    let check = |size, distance, expected| {
        assert_eq!(stub_offset(DRIVER_BASE, size, DRIVER_BASE + distance), expected, "{size:#x} {distance:#x}");
    };
    check(0x3000, 0x2fff, None);
    check(0x3000, 0x3000, Some(0));
    check(0x2001, 0x3420, Some(0x420));
    check(0x3000, 0x4fff, Some(0x1fff));
    check(0x3000, 0x5000, None);
}
