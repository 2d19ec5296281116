//! The 274 branches that were measured in a running Windows 10 19041, made again: images with the same sites, slots and
//! exports at the same addresses have to hold the same bytes.
//!
//! The files of those modules are not available, so the images are put together from the vectors' addresses. What is
//! compared is what the kernel wrote: opcodes, slot and target arithmetic, fillings, stubs.

use std::collections::BTreeMap;

use pe_image::{
    Module, ModuleId, Modules, Outcome, PeFile, Policy, Reason, Rva, Site, SiteForm, StubBlock, Va, recognise,
    stub_offset,
};
use testkit::image::{Placed, PlacedSite};

const VECTORS: &str = include_str!("vectors/windows-10-19041.tsv");

struct Vector {
    kind: &'static str,
    rva: u32,
    slot: Option<u32>,
    target_module: &'static str,
    offset: u32,
    after: Vec<u8>,
}

struct Known {
    base: u64,
    size: u32,
    vectors: Vec<Vector>,
}

fn vectors() -> BTreeMap<&'static str, Known> {
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let mut modules = BTreeMap::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        match columns[..] {
            ["module", name, base, size] => {
                modules.insert(name, Known { base: hex(base), size: hex(size) as u32, vectors: Vec::new() });
            }
            ["site", kind, module, rva, slot, target_module, offset, after] => {
                let slot = (slot != "-").then(|| hex(slot) as u32);
                let after = (0..after.len()).step_by(2).map(|at| hex(&after[at..at + 2]) as u8).collect();
                let (rva, offset) = (hex(rva) as u32, hex(offset) as u32);
                let vector = Vector { kind, rva, slot, target_module, offset, after };
                modules.get_mut(module).unwrap().vectors.push(vector);
            }
            _ => panic!("{line}"),
        }
    }
    modules
}

/// What a slot is called whose target is not known, because the site goes through the stub.
const UNKNOWN: (&str, u32) = ("ntoskrnl.exe", 0x20_0000);

fn export_name(offset: u32) -> String {
    format!("Export{offset:x}")
}

/// Images that have the vectors' sites, slots and exports.
fn images(modules: &BTreeMap<&'static str, Known>) -> BTreeMap<&'static str, Vec<u8>> {
    let mut placed: BTreeMap<&str, Placed> = BTreeMap::new();
    for (&name, known) in modules {
        placed.insert(name, Placed { name: name.to_owned(), size_of_image: known.size, ..Placed::default() });
    }
    let mut imports: BTreeMap<(&str, u32), (&str, u32)> = BTreeMap::new();
    for (&name, known) in modules {
        for vector in &known.vectors {
            let site = match (vector.kind, vector.slot) {
                ("import-call" | "import-jump", Some(slot)) => {
                    let target =
                        if vector.target_module == "stubs" { UNKNOWN } else { (vector.target_module, vector.offset) };
                    let first = imports.insert((name, slot), target);
                    assert!(first.is_none_or(|first| first == target), "{name}: slot {slot:#x} has two targets");
                    PlacedSite::Import { call: vector.kind == "import-call", slot }
                }
                ("cfg-call", None) => PlacedSite::Cfg { call: true },
                ("switch-rcx", None) => PlacedSite::Switch(1),
                other => panic!("{other:?}"),
            };
            placed.get_mut(name).unwrap().sites.push((vector.rva, site));
        }
    }
    for ((importer, slot), (exporter, offset)) in imports {
        let import = (slot, exporter.to_owned(), export_name(offset));
        placed.get_mut(importer).unwrap().imports.push(import);
        let export = (export_name(offset), offset);
        let exports = &mut placed.get_mut(exporter).unwrap().exports;
        if !exports.contains(&export) {
            exports.push(export);
        }
    }
    placed.into_iter().map(|(name, placed)| (name, placed.build())).collect()
}

/// Stubs at the offsets that the vectors show: 0xC0 for rcx, 0x2A0 with CFG check, 0x420 for imports. The others are not
/// known; here they lie together.
fn stubs() -> StubBlock {
    let mut pages = vec![0xcc; 0x1000];
    let mut header = [0x60_u32; 20];
    (header[2], header[17], header[19]) = (0xc0, 0x2a0, 0x420);
    for (number, offset) in header.into_iter().enumerate() {
        pages[4 * number..][..4].copy_from_slice(&offset.to_le_bytes());
    }
    StubBlock::from_pages(pages, Rva(0)).unwrap()
}

/// Maps every module at its base under a policy and calls `check` with each vector, its site and the image's bytes.
fn with_sites(policy: Policy, check: impl Fn(&str, &Known, &Vector, &Site, &[u8])) {
    let modules = vectors();
    assert_eq!(modules.values().map(|known| known.vectors.len()).sum::<usize>(), 274);
    let built = images(&modules);
    let files: Vec<_> = built.iter().map(|(name, bytes)| (*name, PeFile::parse(bytes).unwrap())).collect();
    let loaded = files.iter().map(|(name, file)| Module::new(*name, modules[name].base, file.clone()));
    let set = Modules::new(loaded);
    let stubs = stubs();
    for (number, (name, _)) in files.iter().enumerate() {
        let known = &modules[name];
        let binding = set.bind(ModuleId(number));
        assert!(binding.unresolved().is_empty(), "{name}");
        let policy = policy.with_second_mapping(Policy::is_second_mapping(name));
        let image = set.image(ModuleId(number), policy).unwrap().with_stubs(&stubs);
        assert_eq!(image.warnings(), [], "{name}");
        let sites: BTreeMap<_, _> = image.sites().map(|site| (site.rva.0, site)).collect();
        assert_eq!(sites.len(), known.vectors.len(), "{name}");
        for vector in &known.vectors {
            let site = &sites[&vector.rva];
            assert_eq!(site.kind.size() as usize, vector.after.len());
            check(name, known, vector, site, &image.bytes(site.rva, site.kind.size()));
        }
    }
}

#[test]
fn the_kernel_wrote_the_same_bytes() {
    let policy = Policy::default().with_retpoline(true);
    with_sites(policy, |name, known, vector, site, bytes| {
        assert_eq!(bytes, vector.after, "{name}+{:#x}", vector.rva);
        match &site.outcome {
            Outcome::Direct(target) => assert_eq!(target.rva.0, vector.offset),
            Outcome::ViaStub(stub) => assert_eq!(stub.0, known.size + vector.offset),
            other => panic!("{other:?}"),
        }
    });
}

/// Without retpoline the direct calls are the same and nothing else changes.
#[test]
fn import_optimization_alone() {
    with_sites(Policy::default(), |name, _, vector, site, bytes| {
        let place = format!("{name}+{:#x}", vector.rva);
        if vector.slot.is_some() && vector.target_module != "stubs" {
            assert_eq!(bytes, vector.after, "{place}");
        } else {
            let reason = if vector.slot.is_some() { Reason::SecondMapping } else { Reason::Policy };
            assert_eq!(site.outcome, Outcome::AsLinked(reason), "{place}");
            assert!(!matches!(bytes[0], 0x4c | 0xe8), "{place}");
        }
    });
}

/// Retpoline alone: every import goes the way that the four sites of second mappings were seen to go.
#[test]
fn imports_through_the_stub() {
    let policy = Policy::AS_LINKED.with_retpoline(true);
    with_sites(policy, |name, known, vector, site, bytes| {
        let Some(slot) = vector.slot else { return assert_eq!(bytes, vector.after) };
        assert_eq!(site.outcome, Outcome::ViaStub(Rva(known.size + 0x420)));
        let address = known.base + u64::from(vector.rva);
        let target = known.base + u64::from(known.size) + 0x420;
        let slot = known.base + u64::from(slot);
        let call = vector.kind == "import-call";
        let (slot, target) = (Va(slot), Va(target));
        assert_eq!(recognise(bytes, address), Some(SiteForm::ImportDirect { call, slot, target }), "{name}");
        if vector.target_module == "stubs" {
            assert_eq!(bytes, vector.after);
        }
    });
}

/// From bytes and the module list alone: what each branch is and where it leads.
#[test]
fn recognised_without_files() {
    let modules = vectors();
    for (name, known) in &modules {
        for vector in &known.vectors {
            let place = format!("{name}+{:#x}", vector.rva);
            let form = recognise(&vector.after, known.base + u64::from(vector.rva)).expect(&place);
            assert_eq!(form.slot().map(|slot| (slot.0 - known.base) as u32), vector.slot, "{place}");
            let target = form.target().expect(&place);
            let expected = match vector.kind {
                "import-call" => matches!(form, SiteForm::ImportDirect { call: true, .. }),
                "import-jump" => matches!(form, SiteForm::ImportDirect { call: false, .. }),
                "cfg-call" => matches!(form, SiteForm::Indirect { call: true, .. }),
                _ => matches!(form, SiteForm::Switch { .. }),
            };
            assert!(expected, "{place}: {form:x?}");
            match stub_offset(known.base, known.size, target) {
                Some(offset) => assert_eq!(("stubs", offset), (vector.target_module, vector.offset), "{place}"),
                None => {
                    let inside = |known: &Known| (known.base..known.base + u64::from(known.size)).contains(&target.0);
                    let (name, known) = modules.iter().find(|(_, known)| inside(known)).expect(&place);
                    assert_eq!(
                        (*name, (target.0 - known.base) as u32),
                        (vector.target_module, vector.offset),
                        "{place}"
                    );
                }
            }
        }
    }
}
