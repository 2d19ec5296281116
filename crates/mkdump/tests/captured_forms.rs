//! What a dump that is the source shows of load-time changes: by its captured code, and by the return addresses on its
//! stacks where no code was captured. Sites as `docs/contents.md` has them.

use std::path::Path;

use mkdump::check::CheckOptions;
use mkdump::report::ipt::analyse;
use mkdump::report::{BuildReport, BuiltModule, ModeReport};
use mkdump::{BuildOptions, Choice, IptOptions, Search, Silent, Source, Wanted, build};
use testkit::dump::kernel::{Machine, Module};
use testkit::dump::user::{Recipe, RecipeModule, RecipeRange};
use testkit::image::{At, Driver, SiteSpec, kernel};

const NT: u64 = 0xffff_f804_1000_0000;
const DRV: u64 = 0xffff_f804_1234_0000;
/// Outside of all modules.
const STACK: u64 = 0xffff_8504_2989_0000;
/// Import calls and indirect calls of the driver.
const SITES: u64 = 6;

/// RVA of an import call, of an indirect call.
fn import(number: u64) -> u64 {
    0x1000 + 0x20 * number
}

fn indirect(number: u64) -> u64 {
    0x1800 + 0x20 * number
}

/// The kernel and a driver with import calls into it, as files.
fn files(dir: &Path) -> [(&'static str, u64, u32, Driver); 2] {
    let nt = kernel(&["KeFunction"]);
    let mut drv = Driver::new("drv.sys");
    let text = drv.code(".text", 0x1000);
    let function = drv.import("ntoskrnl.exe", "KeFunction");
    for number in 0..SITES {
        drv.call(At(text, (import(number) - 0x1000) as u32), function);
        let spec = SiteSpec::Indirect { call: true, rex: false, cfg: true };
        drv.site(At(text, (indirect(number) - 0x1000) as u32), spec);
    }
    [("ntoskrnl.exe", NT, nt), ("drv.sys", DRV, drv)].map(|(name, base, mut driver)| {
        // What a `Recipe` says of its modules.
        (driver.timestamp, driver.checksum) = (0x5f5e_1000, 0x1234);
        let built = driver.build();
        std::fs::write(dir.join(name), &built.bytes).unwrap();
        (name, base, built.size_of_image, driver)
    })
}

/// A user minidump of both modules with this memory.
fn user(dir: &Path, memory: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut recipe = Recipe::good();
    let module = |&(name, base, size, _): &(_, _, _, Driver)| RecipeModule {
        base,
        size,
        name: Some(name),
        codeview: Vec::new(),
    };
    recipe.modules = Some(files(dir).iter().map(module).collect());
    let stack = recipe.threads.as_ref().unwrap()[0].stack.0;
    recipe.ranges.retain(|range| range.start <= stack);
    recipe.ranges.extend(memory.iter().map(|(start, bytes)| RecipeRange {
        start: *start,
        bytes: bytes.clone(),
        size_error: 0,
    }));
    recipe.regions = None;
    recipe.build()
}

/// Addresses as they lie on a stack, with other values between them.
fn stack(addresses: impl IntoIterator<Item = u64>) -> Vec<u8> {
    addresses.into_iter().flat_map(|address| [0x1234, address, DRV - 8]).flat_map(u64::to_le_bytes).collect()
}

fn search(dir: &Path) -> Search {
    let mut search = Search::new(vec![dir.to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    search
}

/// Builds from a source with the files in `dir`.
fn rebuild(dir: &Path, source: &[u8], import_optimization: Choice) -> (BuildReport, Source) {
    let path = dir.join("source.dmp");
    std::fs::write(&path, source).unwrap();
    let options = BuildOptions {
        search: search(dir),
        output: dir.join("out.dmp"),
        import_optimization,
        ..BuildOptions::default()
    };
    let source = Source::open_dumps(&[path]).unwrap();
    let report = {
        let reading = source.read(Wanted::default(), &Silent).unwrap();
        build(&source, &reading, &options, &Silent).unwrap()
    };
    (report, source)
}

fn driver(report: &BuildReport) -> &BuiltModule {
    report.modules.iter().find(|module| module.name == "drv.sys").unwrap()
}

fn assert_mode(mode: &ModeReport, expected: (&str, &str)) {
    assert_eq!(mode.mode, expected.0, "{}", mode.reason);
    assert!(mode.reason.contains(expected.1), "{}", mode.reason);
}

/// What the build says of import optimization and retpolines, and the `ipt` job likewise: both ask the same bytes.
fn check(dir: &Path, source: &[u8], imports: (&str, &str), retpoline: (&str, &str)) -> BuildReport {
    let (report, source) = rebuild(dir, source, Choice::Auto);
    assert_mode(&report.import_optimization, imports);
    assert_mode(&report.retpoline, retpoline);
    let reading = source.read(Wanted::default(), &Silent).unwrap();
    let ipt = analyse(&reading, &IptOptions { search: search(dir), ..IptOptions::default() }, &Silent).unwrap();
    assert_mode(&ipt.flow.import_optimization, imports);
    assert_mode(&ipt.flow.retpoline, retpoline);
    report
}

const NOTHING: (&str, &str) = ("on", "has it on unless switched off");
const OFF: (&str, &str) = ("off", "no evidence, assumed off");

#[test]
fn return_addresses_tell_the_form_of_calls_whose_code_was_not_captured() {
    /// Distance from the site's start to where its call returns, for import calls and for indirect ones.
    type Case<'a> = (Option<u64>, Option<u64>, (&'a str, &'a str), (&'a str, &'a str));
    let cases: &[Case<'_>] = &[
        (None, None, NOTHING, OFF),
        (Some(7), None, ("off", "6 return addresses on captured stacks: 0 after rewritten calls, 6"), OFF),
        (Some(12), None, ("on", "6 return addresses on captured stacks: 6 after rewritten calls, 0"), OFF),
        (None, Some(5), NOTHING, ("on", "6 after rewritten calls, 0 after calls as linked")),
        (None, Some(6), NOTHING, ("off", "0 after rewritten calls, 6 after calls as linked")),
        // Through a stub an import call ends where a direct one does.
        (Some(12), Some(5), NOTHING, ("on", "6 after rewritten calls, 0")),
        (Some(7), Some(5), ("off", "0 after rewritten calls, 6"), ("on", "6 after rewritten calls, 0")),
        // Neither is the end of a call.
        (Some(8), Some(4), NOTHING, OFF),
    ];
    for &(after_import, after_indirect, imports, retpoline) in cases {
        let dir = tempfile::tempdir().unwrap();
        let mut values = Vec::new();
        values.extend((0..SITES).filter_map(|number| Some(DRV + import(number) + after_import?)));
        values.extend((0..SITES).filter_map(|number| Some(DRV + indirect(number) + after_indirect?)));
        // Each address twice: a site is one witness however often it was called.
        let source = user(dir.path(), &[(STACK, stack(values.iter().chain(&values).copied()))]);
        check(dir.path(), &source, imports, retpoline);
    }
}

#[test]
fn kernel_dumps_have_stacks_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::sample();
    machine.modules = files(dir.path())
        .iter()
        .map(|(name, base, size, driver)| Module {
            name: (*name).into(),
            base: *base,
            size: *size,
            timestamp: driver.timestamp,
            checksum: driver.checksum,
        })
        .collect();
    // Neither dump holds code: the addresses on the stacks are all there is.
    machine.memory.clear();
    let values = (0..SITES).map(|number| DRV + import(number) + 7);
    machine.threads[1].stack = stack(values.clone());
    let linked = ("off", "6 return addresses on captured stacks: 0 after rewritten calls, 6");
    check(dir.path(), &machine.triage(), linked, OFF);

    machine.threads[1].stack.clear();
    machine.threads[0].stack.clear();
    machine.memory.insert(machine.rsp, stack(values));
    for source in [machine.full(), machine.bitmap()] {
        check(dir.path(), &source, linked, OFF);
    }
}

#[test]
fn captured_branches_as_linked_show_that_retpolines_were_off() {
    let dir = tempfile::tempdir().unwrap();
    let [_, (_, _, _, driver)] = files(dir.path());
    let built = driver.build();
    let mapped = pe_image::PeFile::parse(&built.bytes).unwrap();
    let mut code = vec![0; 0x800];
    mapped.read(pe_image::Rva(0x1800), &mut code);
    let source = user(dir.path(), &[(DRV + 0x1800, code)]);
    let off = ("off", "branches in the captured code: 0 through the kernel's retpoline stubs, 6 as linked");
    check(dir.path(), &source, NOTHING, off);
}

#[test]
fn a_check_says_what_the_other_dump_shows() {
    let dir = tempfile::tempdir().unwrap();
    let values = (0..SITES).map(|number| DRV + import(number) + 7);
    let put = |name: &str, bytes: Vec<u8>| {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        dir.path().join(name)
    };
    let page = || (DRV, vec![0; 16]);
    let options = CheckOptions {
        dump: put("ours.dmp", user(dir.path(), &[page()])),
        against: Some(put("real.dmp", user(dir.path(), &[page(), (STACK, stack(values))]))),
        search: search(dir.path()),
    };
    let comparison = mkdump::check::check(&options, &Silent).unwrap().comparison.unwrap();
    let shown = comparison.import_optimization.unwrap();
    assert_eq!(shown.mode, "off", "{}", shown.reason);
    assert!(shown.reason.contains("6 return addresses"), "{}", shown.reason);
    assert!(comparison.retpoline.is_none());
}

#[test]
fn counts_are_of_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let [_, (_, _, _, file)] = files(dir.path());
    let built = file.build();
    let mapped = pe_image::PeFile::parse(&built.bytes).unwrap();
    // Two sites, one of which the dump holds in part only: what it holds is as the linker made it.
    let mut code = vec![0; 0x20 + 9];
    mapped.read(pe_image::Rva(import(0) as u32), &mut code);
    let source = user(dir.path(), &[(DRV + import(0), code)]);
    let (report, _) = rebuild(dir.path(), &source, Choice::On);
    let sites = driver(&report).sites;
    assert_eq!((sites.import.listed, sites.import.optimized), (SITES, SITES - 2), "{sites:?}");
    // And the other way round: captured as direct calls, built as linked.
    let target = (NT + 0x1000).wrapping_sub(DRV + import(0) + 12) as u32;
    let mut direct = vec![0; 12];
    mapped.read(pe_image::Rva(import(0) as u32), &mut direct);
    direct[..3].copy_from_slice(&[0x4c, 0x8b, 0x15]);
    direct[7] = 0xe8;
    direct[8..].copy_from_slice(&target.to_le_bytes());
    let source = user(dir.path(), &[(DRV + import(0), direct)]);
    let (report, _) = rebuild(dir.path(), &source, Choice::Off);
    assert_eq!(driver(&report).sites.import.optimized, 1);
}

#[test]
fn code_that_contradicts_the_stacks_is_believed_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let [_, (_, _, _, file)] = files(dir.path());
    let built = file.build();
    let mapped = pe_image::PeFile::parse(&built.bytes).unwrap();
    let mut code = vec![0; 0x20 * SITES as usize];
    mapped.read(pe_image::Rva(import(0) as u32), &mut code);
    let values = (0..SITES).map(|number| DRV + import(number) + 12);
    let source = user(dir.path(), &[(DRV + import(0), code), (STACK, stack(values))]);
    let report = check(dir.path(), &source, ("off", "6 import calls in the captured code: 0 direct, 6"), OFF);
    let told = report.warnings.iter().find(|warning| warning.contains("return addresses")).unwrap();
    assert!(told.contains("drv.sys") && told.contains("the code is believed"), "{told}");
    assert!(report.shortcomings.iter().any(|shortcoming| shortcoming.contains("doubt")), "{:?}", report.shortcomings);
}
