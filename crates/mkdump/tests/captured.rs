//! What a source dump captured stays in the result, byte for byte, whatever kind of dump it is, and decides which
//! changes the kernel made to code.

use std::path::Path;

use mkdump::dump::{Dump, ReadMemory};
use mkdump::report::BuildReport;
use mkdump::{BuildOptions, Format, Search, Silent, Source, Wanted, build};
use testkit::dump::kernel::Machine;
use testkit::dump::user::{Recipe, RecipeModule};
use testkit::image::Driver;

/// Builds a dump of the source with the files in `dir`.
fn rebuild(dir: &Path, source: &[u8], format: Format) -> (BuildReport, Vec<u8>) {
    let path = dir.join("source.dmp");
    std::fs::write(&path, source).unwrap();
    let mut search = Search::new(vec![dir.to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    let output = dir.join("out.dmp");
    let options = BuildOptions { search, output: output.clone(), format, ..BuildOptions::default() };
    let source = Source::open_dumps(&[path]).unwrap();
    let reading = source.read(Wanted::default(), &Silent).unwrap();
    let report = build(&source, &reading, &options, &Silent).unwrap();
    (report, std::fs::read(output).unwrap())
}

/// A driver of one code section of `0x90`, as large as `size`.
fn driver(name: &str, timestamp: u32, checksum: u32) -> Driver {
    let mut driver = Driver::new(name);
    driver.code(".text", 0x1000);
    (driver.timestamp, driver.checksum) = (timestamp, checksum);
    driver
}

/// A user minidump with one kernel module, whose file lies in `dir`, and captured bytes in its code and elsewhere.
fn user_source(dir: &Path) -> Recipe {
    let file = driver("drv.sys", 0x5f5e_1000, 0x1234).build();
    std::fs::write(dir.join("drv.sys"), &file.bytes).unwrap();
    let mut recipe = Recipe::good();
    let module: &mut RecipeModule = &mut recipe.modules.as_mut().unwrap()[0];
    module.size = file.size_of_image;
    module.codeview.clear();
    // The recipe's range in the code section; what else it has lies outside of images.
    recipe.ranges[1].bytes = (0..=255).cycle().take(0x333).collect();
    recipe
}

fn assert_kept(source: &[u8], made: &[u8]) {
    let (source, made) = (Dump::open(source).unwrap(), Dump::open(made).unwrap());
    for segment in source.segments().unwrap().all() {
        let mut found = vec![0; segment.bytes.len()];
        let held = made.read(segment.address, &mut found);
        assert_eq!((held, &*found), (found.len(), segment.bytes), "{segment:?}");
    }
}

#[test]
fn a_user_minidump_keeps_what_it_captured() {
    let dir = tempfile::tempdir().unwrap();
    let source = user_source(dir.path()).build();
    for format in [Format::Minidump, Format::Triage] {
        let (report, made) = rebuild(dir.path(), &source, format);
        assert_eq!(report.modules[0].status, mkdump::report::Status::Included, "{:?}", report.modules[0]);
        assert_kept(&source, &made);
    }
}

#[test]
fn a_dump_of_pages_keeps_those_of_modules() {
    let mut machine = Machine::sample();
    let module = &mut machine.modules[1];
    let file = driver("own driver.sys", module.timestamp, module.checksum).build();
    module.size = file.size_of_image;
    let module = machine.modules[1].clone();
    machine.memory.insert(module.base + 0x1000, (0..=255).cycle().take(0x1000).collect());
    for source in [machine.full(), machine.bitmap()] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("own driver.sys"), &file.bytes).unwrap();
        let (report, made) = rebuild(dir.path(), &source, Format::Minidump);
        assert!(report.modules.iter().any(|m| m.status == mkdump::report::Status::Included), "{:?}", report.modules);
        let (source, made) = (Dump::open(&source).unwrap(), Dump::open(&made).unwrap());
        let mut compared = 0;
        for address in (module.base..module.base + u64::from(module.size)).step_by(0x1000) {
            let (mut captured, mut found) = ([0; 0x1000], [0; 0x1000]);
            let held = source.read(address, &mut captured);
            let size = made.read(address, &mut found).min(held);
            assert_eq!(captured[..size], found[..size], "{address:#x}");
            compared += size;
        }
        assert!(compared > 0, "the source has a page of the module that is in the result");
    }
}

#[test]
fn a_nul_in_a_name_is_replaced_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = user_source(dir.path());
    recipe.modules.as_mut().unwrap()[0].name = Some("d\0rv.sys");
    let (report, _) = rebuild(dir.path(), &recipe.build(), Format::Minidump);
    assert_eq!(report.modules[0].name, "d_rv.sys");
    assert!(report.warnings.iter().any(|warning| warning.contains("has a NUL")), "{:?}", report.warnings);
}

#[test]
fn a_triage_dump_without_a_kernel_says_what_debuggers_do() {
    let dir = tempfile::tempdir().unwrap();
    let source = user_source(dir.path()).build();
    let (report, _) = rebuild(dir.path(), &source, Format::Triage);
    assert!(report.warnings.iter().any(|warning| warning.contains("drv.sys, nt")), "{:?}", report.warnings);
    let (report, _) = rebuild(dir.path(), &source, Format::Minidump);
    assert!(report.warnings.iter().all(|warning| !warning.contains("nt")), "{:?}", report.warnings);
}

#[test]
fn a_minidump_of_another_system_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut recipe = user_source(dir.path());
    recipe.platform = 0x8101;
    let path = dir.path().join("mac.dmp");
    std::fs::write(&path, recipe.build()).unwrap();
    let source = Source::open_dumps(&[path]).unwrap();
    let error = source.read(Wanted::default(), &Silent).unwrap_err();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let text = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    assert!(text.contains("a dump of macOS 10.0.19041, allowed is dumps of Windows"), "{text}");
}
