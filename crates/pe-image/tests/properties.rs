//! What holds for every image, whatever it looks like.
//!
//! Images are generated: any mixture of sites, imports, relocations and policies, sites as close to each other and to
//! page borders as they get. The environment variable `PROPTEST_CASES` sets the
//! number of cases.

use std::collections::BTreeSet;

use pe_image::{
    ImportCalls, MappedImage, Module, ModuleId, Modules, PeFile, Policy, RangeKind, Reason, Rva, Selection, StubBlock,
};
use proptest::prelude::*;
use testkit::image::{At, Driver, RDATA, SiteSpec, kernel};

#[path = "../fuzz/src/lib.rs"]
mod bodies;

const DRIVER_BASE: u64 = 0xffff_f804_3000_0000;
/// Bytes of the code section.
const CODE_SIZE: u32 = 0x3000;

/// A driver to be generated: its sites as (gap in front, kind), where its pointers lie, and how the world is.
#[derive(Clone, Debug)]
struct Spec {
    first: u32,
    sites: Vec<(u32, u8)>,
    pointers: Vec<u32>,
    kernel_base: u64,
    at_own_base: bool,
    policy: Policy,
}

fn specs() -> impl Strategy<Value = Spec> {
    let policy = (0..3_u8, any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(calls, retpoline, second_mapping)| {
        let import_calls = [ImportCalls::AsLinked, ImportCalls::Optimized, ImportCalls::DriverVerifier];
        let calls = import_calls[usize::from(calls)];
        Policy::AS_LINKED.with_import_calls(calls).with_retpoline(retpoline).with_second_mapping(second_mapping)
    });
    // Near, at the edges of the two range tests, and out of reach.
    let kernel_base = prop_oneof![
        3 => Just(DRIVER_BASE - 0x1000_0000),
        1 => (0_u64..0x4000).prop_map(|by| DRIVER_BASE + 0x7fff_c000 + by),
        1 => (0_u64..0x8000).prop_map(|by| DRIVER_BASE - 0x8000_2000 + by),
        1 => Just(DRIVER_BASE - 0x1_0000_0000),
    ];
    let gaps = prop_oneof![4 => 0..40_u32, 1 => 0..0xc00_u32];
    (
        0..0x1000_u32,
        prop::collection::vec((gaps, 0..12_u8), 0..24),
        prop::collection::vec(0..0x2ff_u32, 0..6),
        kernel_base,
        any::<bool>(),
        policy,
    )
        .prop_map(|(first, sites, pointers, kernel_base, at_own_base, policy)| Spec {
            first,
            sites,
            pointers,
            kernel_base,
            at_own_base,
            policy,
        })
}

fn site(kind: u8, imports: &[usize], pointer: At) -> SiteSpec {
    match kind {
        0..5 => SiteSpec::Import { call: kind.is_multiple_of(2), import: imports[usize::from(kind) % imports.len()] },
        5 => SiteSpec::NoIndex { call: true, pointer },
        6 => SiteSpec::Indirect { call: true, rex: false, cfg: true },
        7 => SiteSpec::Indirect { call: false, rex: true, cfg: true },
        8 => SiteSpec::Indirect { call: true, rex: true, cfg: false },
        9 => SiteSpec::Indirect { call: false, rex: false, cfg: false },
        10 => SiteSpec::Switch(1),
        _ => SiteSpec::Switch(9),
    }
}

/// The driver of a spec. Sites that would leave the section are left out.
fn driver(spec: &Spec) -> Driver {
    let mut driver = Driver::new("driver.sys");
    driver.image_base = if spec.at_own_base { DRIVER_BASE } else { 0x1_4000_0000 };
    let text = driver.code(".text", CODE_SIZE);
    let data = driver.section("TABLE", RDATA, vec![0; 0x1800]);
    let imports = [
        driver.import("ntoskrnl.exe", "First"),
        driver.import("ntoskrnl.exe", "Second"),
        driver.import("missing.sys", "Third"),
    ];
    let mut at = spec.first;
    for &(gap, kind) in &spec.sites {
        at += gap;
        if at + 12 > CODE_SIZE {
            break;
        }
        driver.site(At(text, at), site(kind, &imports, At(data, 8)));
        at += 12;
    }
    // 64-bit pointers, some of them across a page border.
    let places: BTreeSet<u32> = spec.pointers.iter().map(|place| place * 8 + 4).collect();
    for place in places {
        driver.pointer(At(data, place), At(text, 0x10));
    }
    driver
}

/// Builds a spec's world and maps its driver under two policies: everything as linked, and the spec's.
fn with_images(spec: &Spec, check: impl FnOnce(&MappedImage<'_>, &MappedImage<'_>)) {
    let (kernel, built) = (kernel(&["First", "Second"]).build(), driver(spec).build());
    let (kernel_file, file) = (PeFile::parse(&kernel.bytes).unwrap(), PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", spec.kernel_base, kernel_file.clone()),
        Module::new("driver.sys", DRIVER_BASE, file.clone()),
    ]);
    let kernel = MappedImage::new(kernel_file.clone(), spec.kernel_base, Policy::AS_LINKED);
    let stubs = StubBlock::from_kernel(&kernel).unwrap().unwrap();
    let off = modules.image(ModuleId(1), Policy::AS_LINKED).unwrap();
    let on = modules.image(ModuleId(1), spec.policy).unwrap().with_stubs(&stubs);
    check(&off, &on);
}

/// The image up to SizeOfImage, in pieces of `step` bytes.
fn read(image: &MappedImage<'_>, step: usize) -> Vec<u8> {
    let mut out = vec![0xee; image.file().headers().size_of_image as usize];
    let mut at = 0;
    for piece in out.chunks_mut(step) {
        image.read(Rva(at), piece);
        at += piece.len() as u32;
    }
    out
}

fn blank(bytes: &mut [u8], rva: u32, size: u32) {
    bytes[rva as usize..][..size as usize].fill(0);
}

/// A number of cases that takes a moment; `PROPTEST_CASES` asks for another.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    ProptestConfig::with_cases(cases)
}

proptest! {
    #![proptest_config(config())]

    /// As linked, an image is its file, but for relocated pointers, bound slots, and the base in its header.
    #[test]
    fn as_linked_only_relocations_differ(spec in specs()) {
        with_images(&spec, |off, _| {
            let file = off.file();
            let mut expected = vec![0; file.headers().size_of_image as usize];
            file.read(Rva(0), &mut expected);
            let mut image = read(off, 0x1000);
            for bytes in [&mut image, &mut expected] {
                blank(bytes, file.headers().image_base_offset, 8);
                for slot in file.imports().dlls.iter().flat_map(|dll| &dll.imports) {
                    blank(bytes, slot.slot.0, 8);
                }
            }
            // Relocated pointers: the file's value and the distance from the file's base.
            let delta = DRIVER_BASE.wrapping_sub(file.headers().image_base);
            for block in file.relocation_blocks().unwrap() {
                for relocation in block.unwrap().relocations() {
                    let at = relocation.rva.0 as usize;
                    let value = u64::from_le_bytes(expected[at..at + 8].try_into().unwrap());
                    expected[at..at + 8].copy_from_slice(&value.wrapping_add(delta).to_le_bytes());
                }
            }
            assert!(image == expected);
            assert_eq!(off.warnings(), []);
        });
    }

    /// A policy changes bytes inside listed sites and nowhere else; and none of a site that it says it leaves.
    #[test]
    fn policies_change_listed_sites_alone(spec in specs()) {
        with_images(&spec, |off, on| {
            let (before, mut after) = (read(off, 0x1000), read(on, 0x1000));
            let mut changed = 0;
            for site in on.sites() {
                let place = site.rva.0 as usize..(site.rva.0 + site.kind.size()) as usize;
                let same = after[place.clone()] == before[place.clone()];
                let stays = matches!(site.outcome, pe_image::Outcome::AsLinked(_));
                assert_eq!(same, stays, "{site:x?}: {:02x?}", &after[place.clone()]);
                assert_ne!(site.outcome, pe_image::Outcome::AsLinked(Reason::UnexpectedBytes), "{site:x?}");
                changed += u64::from(!same);
                after[place.clone()].copy_from_slice(&before[place]);
            }
            assert!(after == before);

            let counts = on.counts();
            let import = counts.import;
            let parts = import.no_index + import.unbound + import.out_of_range + import.not_retpolined;
            if spec.policy == Policy::default() {
                assert_eq!(import.optimized + parts, import.listed);
                assert_eq!(changed, import.optimized);
            }
            assert!(import.optimized + parts <= import.listed);
        });
    }

    /// The image written out as a file and mapped once more: what is patched is left alone.
    #[test]
    fn applying_twice_is_applying_once(spec in specs()) {
        with_images(&spec, |_, on| {
            let once = on.patched_file();
            let file = PeFile::parse(&once).unwrap();
            let again = MappedImage::new(file.clone(), DRIVER_BASE, spec.policy);
            assert!(again.patched_file() == once);
            assert!(read(&again, 0x1000) == read(on, 0x1000));
            let changed = on.sites().filter(|site| !matches!(site.outcome, pe_image::Outcome::AsLinked(_))).count();
            let import = again.counts().import;
            assert!(import.unexpected_bytes <= changed as u64);
            assert_eq!(import.listed, on.counts().import.listed);
        });
    }

    /// However an image is read, it is the same image: sites and pointers that lie across the borders included.
    #[test]
    fn pieces_are_the_whole(spec in specs(), steps in prop::collection::vec(1..0x1800_usize, 1..4), rva in 0..0x6000_u32) {
        with_images(&spec, |_, on| {
            let whole = read(on, usize::MAX);
            for step in steps {
                assert!(read(on, step) == whole, "step {step:#x}");
            }
            let size = (whole.len() as u32).saturating_sub(rva).min(0x1234);
            let part = &whole[(rva as usize).min(whole.len())..][..size as usize];
            assert!(on.bytes(Rva(rva), size) == part);
            let mut at = rva;
            for piece in on.pieces(Rva(rva), size) {
                assert_eq!(piece.rva, Rva(at));
                assert!(*piece.bytes == whole[at as usize..][..piece.bytes.len()]);
                at += piece.bytes.len() as u32;
            }
            assert_eq!(at, rva + size);
        });
    }

    /// Ranges ascend, do not overlap, and lie in the image or, the stubs, after it.
    #[test]
    fn ranges_never_overlap(spec in specs()) {
        with_images(&spec, |_, on| {
            for selection in [Selection::Code, Selection::Executable, Selection::Headers, Selection::Image] {
                let ranges = on.ranges(selection);
                let mut end = 0;
                for range in &ranges {
                    assert!(range.size != 0 && range.rva.0 >= end, "{ranges:x?}");
                    end = range.rva.0 + range.size;
                    let inside = end <= on.file().headers().size_of_image.next_multiple_of(0x1000);
                    assert_eq!(inside, range.kind != RangeKind::RetpolineStubs, "{ranges:x?}");
                }
            }
        });
    }

    /// Any bytes are an image or an error.
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), choice in any::<[u8; 2]>()) {
        // As they are, after a sound header, and as edits of a sound file.
        bodies::parse(&bytes);
        for body in [bodies::parse, bodies::imports, bodies::relocations, bodies::dvrt, bodies::produce] {
            body(&[&[choice[0] & !1][..], &bytes].concat());
            body(&[&[choice[0] | 1, choice[1]][..], &bytes].concat());
        }
    }
}
