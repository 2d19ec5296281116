//! Plain values: what they say of themselves, and how they turn into numbers and back.

use pe_image::{
    DiagnosticKind, Error, ErrorKind, IatIndex, ImportOptimizationDefault, MappedImage, Module, Modules, Outcome,
    PeFile, Place, Policy, Reason, Rule, Rva, SiteForm, SiteKind, Symbol, Va, recognise,
};
use testkit::image::{At, Driver, kernel};

fn check(cases: &[(String, &str)]) {
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn addresses() {
    assert_eq!(Rva(0x1fff).page(), Rva(0x1000));
    assert_eq!(Rva(0x2000).page(), Rva(0x2000));
    assert_eq!(Rva(0xffff_ffff).page(), Rva(0xffff_f000));
    assert_eq!(Rva::from(7), Rva(7));
    assert_eq!(u32::from(Rva(7)), 7);
    assert_eq!(Va::from(0x1_0000_0007), Va(0x1_0000_0007));
    assert_eq!(u64::from(Va(0x1_0000_0007)), 0x1_0000_0007);
    assert_eq!(Rva(0xffff_fffe).checked_add(1), Some(Rva(0xffff_ffff)));
    assert_eq!(Rva(0xffff_fffe).checked_add(2), None);
    check(&[
        (Rva(0x1f).to_string(), "0x1f"),
        (Va(0xffff_f804_3000_0000).to_string(), "0xfffff80430000000"),
        (format!("{:08x}", Rva(0x1f)), "0000001f"),
        (IatIndex(41).to_string(), "41"),
    ]);
}

#[test]
fn sites() {
    let index = Some(IatIndex(5));
    check(&[
        (SiteKind::Import { call: true, index }.to_string(), "import call, slot 5"),
        (SiteKind::Import { call: false, index: None }.to_string(), "import jump, no slot"),
        (SiteKind::Indirect { call: true, rex: false, cfg: true }.to_string(), "indirect call, CFG-checked"),
        (SiteKind::Indirect { call: false, rex: false, cfg: false }.to_string(), "indirect jump"),
        (SiteKind::Switch { register: 9 }.to_string(), "switch jump, register 9"),
        (Outcome::ViaStub(Rva(0x9020)).to_string(), "through the stub at RVA 0x9020"),
        (Outcome::DriverVerifier.to_string(), "through r10, as Driver Verifier has it"),
        (Outcome::AsLinked(Reason::Policy).to_string(), "as linked: the policy does not change such sites"),
        (Reason::UnexpectedBytes.to_string(), "its bytes are not those of a linker"),
        (Reason::NoIndex.to_string(), "its record names no import slot"),
        (Reason::Unbound.to_string(), "the import is not bound"),
        (Reason::OutOfRange.to_string(), "the target is more than 2 GiB away"),
        (Reason::TargetNotRetpolined.to_string(), "the target's module is not retpolined"),
        (Reason::SecondMapping.to_string(), "the image is a second mapping"),
        (Reason::SkippedSection.to_string(), "the kernel does not rewrite this section"),
    ]);
}

#[test]
fn symbols() {
    check(&[
        (Symbol(3).to_string(), "import control transfer"),
        (Symbol(0x7fff_ffff).to_string(), "symbol 0x7fffffff"),
        (Symbol(0x8000_0000).to_string(), "address 0x80000000"),
        (Symbol(0xffff_ffff).to_string(), "address 0xffffffff"),
        (Symbol(0x1_0000_0000).to_string(), "symbol 0x100000000"),
        (Symbol(0xffff_f680_0000_0000).to_string(), "address 0xfffff68000000000"),
    ]);
}

/// Calls and jumps of each form that import sites have in memory.
#[test]
fn forms_that_call() {
    let forms = |bytes: [u8; 12]| recognise(&bytes, 0xffff_f804_3000_0000).map(|form| SiteForm::is_call(&form));
    // mov r10, [rip + 0x10], then call or jump, direct and through r10.
    let site = |rest: [u8; 5]| {
        let mut bytes = [0x4c, 0x8b, 0x15, 0x10, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[7..].copy_from_slice(&rest);
        bytes
    };
    for (rest, expected) in [
        ([0xe8, 0, 1, 0, 0], Some(true)),
        ([0xe9, 0, 1, 0, 0], Some(false)),
        ([0x4d, 0xff, 0xd2, 0x90, 0x90], Some(true)),
        ([0x4d, 0xff, 0xe2, 0xcc, 0xcc], Some(false)),
        // Neither has another register or other padding.
        ([0x4d, 0xff, 0xd3, 0x90, 0x90], None),
        ([0x4d, 0xff, 0xe2, 0x90, 0x90], None),
    ] {
        assert_eq!(forms(site(rest)), expected, "{rest:02x?}");
    }
}

#[test]
fn sets_of_modules() {
    let built = kernel(&["ExFreePool"]).build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let set = |count: usize| Modules::new((0..count).map(|_| Module::new("ntoskrnl.exe", 0_u64, file.clone())));
    for count in [0, 1, 2] {
        assert_eq!((set(count).len(), set(count).is_empty()), (count, count == 0));
    }
    let exports = file.exports().unwrap().unwrap();
    assert_eq!((exports.name(), exports.len(), exports.is_empty()), ("ntoskrnl.exe", 1, false));

    let mut driver = Driver::new("driver.sys");
    let text = driver.code(".text", 0x1000);
    driver.ordinal_exports.push((3, testkit::image::ExportSpec::At(At(text, 0x10))));
    let built = driver.build();
    let exports = PeFile::parse(&built.bytes).unwrap().exports().unwrap().unwrap();
    assert_eq!((exports.name(), exports.len(), exports.is_empty()), ("driver.sys", 0, true));
}

#[test]
fn a_policy_is_the_one_given() {
    let built = kernel(&[]).build();
    let file = PeFile::parse(&built.bytes).unwrap();
    for policy in [Policy::AS_LINKED, Policy::default()] {
        assert_eq!(MappedImage::new(file.clone(), 0xffff_f804_2000_0000_u64, policy).policy(), policy);
    }
    assert_ne!(Policy::AS_LINKED, Policy::default());
}

#[test]
fn errors_tell_truncation_apart() {
    let error = |data: &[u8]| PeFile::parse(data).unwrap_err();
    let cut: Error = error(b"MZ");
    assert_eq!((cut.kind(), cut.is_truncation()), (ErrorKind::Truncated, true));
    let other = error(b"ZM, and long enough for a whole DOS header of sixty-four bytes, and more");
    assert_eq!((other.kind(), other.is_truncation()), (ErrorKind::Malformed, false));

    // A damaged table is a diagnostic that holds its error.
    let mut driver = Driver::new("driver.sys");
    driver.code(".text", 0x1000);
    driver.dvrt_version = Some(3);
    driver.entries.push(testkit::image::Entry { symbol: 3, payload: Vec::new() });
    let built = driver.build();
    let image = MappedImage::new(PeFile::parse(&built.bytes).unwrap(), driver.image_base, Policy::default());
    let [warning] = image.warnings() else { panic!("{:?}", image.warnings()) };
    assert_eq!((warning.kind(), warning.structure()), (DiagnosticKind::Damaged, "IMAGE_DYNAMIC_RELOCATION_TABLE"));
    let error = warning.error().expect("the damage is an error");
    assert_eq!(
        (error.kind(), error.structure(), error.place()),
        (ErrorKind::Field, warning.structure(), warning.place())
    );
    assert!(matches!(warning.place(), Place::Rva(_)));
}

#[test]
fn rules_and_defaults() {
    check(&[
        (ImportOptimizationDefault::Absent.to_string(), "not there"),
        (ImportOptimizationDefault::Undecided.to_string(), "undecided, most likely on"),
        (ImportOptimizationDefault::On.to_string(), "on"),
        (Rule::KernelName.to_string(), "the kernel under another of its file names"),
        (Rule::HalInKernel.to_string(), "a HAL function that the kernel exports"),
        (Rule::HalName.to_string(), "the HAL under an older file name"),
        (Rule::KdTransport.to_string(), "the debugger transport that is loaded"),
        (Rule::ApiSet.to_string(), "the host that the API set schema names"),
        (Rule::UniqueExport.to_string(), "the only loaded module that exports the name"),
    ]);
}

/// The import of a site, and the tables that could not be read.
#[test]
fn bindings() {
    let kernel = kernel(&["ExFreePool"]).build();
    let mut driver = Driver::new("driver.sys");
    let text = driver.code(".text", 0x1000);
    let import = driver.import("ntoskrnl.exe", "ExFreePool");
    driver.call(At(text, 0), import);
    let built = driver.build();
    let (kernel, file) = (PeFile::parse(&kernel.bytes).unwrap(), PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", 0xffff_f804_2000_0000_u64, kernel),
        Module::new("driver.sys", 0xffff_f804_3000_0000_u64, file),
    ]);
    let image = modules.image(pe_image::ModuleId(1), Policy::default()).unwrap();
    let binding = image.binding().unwrap();
    let site = image.sites().next().unwrap();
    assert_eq!(binding.import_of(&site).map(|slot| slot.rva), Some(Rva(built.slots[0])));
    assert_eq!(binding.errors(), []);
    assert_eq!(site.outcome.to_string(), "direct, to 0xfffff80420001000");

    // A name that lies nowhere.
    let mut built = driver.build();
    built.put_u32("imports", 0, 0x7000_0000);
    let file = PeFile::parse(&built.bytes).unwrap();
    let modules = Modules::new([Module::new("driver.sys", 0xffff_f804_3000_0000_u64, file)]);
    let image = modules.image(pe_image::ModuleId(0), Policy::default()).unwrap();
    assert_eq!(image.binding().unwrap().errors().len(), 1);
}
