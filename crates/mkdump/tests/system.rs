//! What a build says when the source contradicts itself or files are missing.

use std::path::Path;

use mkdump::check::{CheckOptions, check};
use mkdump::report::{BuildReport, Status};
use mkdump::{BuildOptions, Choice, Search, Silent, Source, Wanted, build};
use testkit::image::{At, Driver};
use testkit::trace::{Module, TraceFile};

const KERNEL: u64 = 0xffff_f800_1000_0000;
const DRIVER: u64 = 0xffff_f800_2000_0000;
const START: i64 = 1_000_000;
const SECOND: i64 = 10_000_000;

/// Builds a dump of `trace` with the files in `dir`, import calls direct.
fn built(dir: &Path, trace: &TraceFile) -> BuildReport {
    built_with(dir, trace, Choice::Off)
}

fn built_with(dir: &Path, trace: &TraceFile, retpoline: Choice) -> BuildReport {
    let path = dir.join("trace.etl");
    std::fs::write(&path, trace.finish()).unwrap();
    let mut search = Search::new(vec![dir.to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    let output = dir.join("out.dmp");
    let options =
        BuildOptions { search, output, import_optimization: Choice::On, retpoline, ..BuildOptions::default() };
    let source = Source::open_etl(&path).unwrap();
    let reading = source.read(Wanted::default(), &Silent).unwrap();
    build(&source, &reading, &options, &Silent).unwrap()
}

/// Writes a driver's file; returns it as the trace names it.
fn file(dir: &Path, driver: &Driver, base: u64) -> Module {
    let built = driver.build();
    std::fs::write(dir.join(&driver.name), &built.bytes).unwrap();
    let module = Module::kernel(&driver.name, base, built.size_of_image.into());
    module.with_identity(driver.timestamp, driver.checksum)
}

fn with_code(name: &str) -> Driver {
    let mut driver = Driver::new(name);
    driver.code(".text", 0x1000);
    driver
}

/// The warnings except one: these traces list no kernel, and a warning says so.
fn told(report: &BuildReport) -> Vec<&str> {
    let about_others = |warning: &&str| !warning.contains("the kernel itself is not among the modules");
    report.warnings.iter().map(String::as_str).filter(about_others).collect()
}

fn statuses(report: &BuildReport) -> Vec<(&str, Status)> {
    report.modules.iter().map(|module| (&*module.name, module.status)).collect()
}

#[test]
fn of_modules_at_one_place_the_one_with_a_file_is_in_and_the_contradiction_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut trace = TraceFile::new();
    let inside = file(dir.path(), &with_code("kd.dll"), DRIVER + 0x1000_0000);
    let around = Module::kernel("mid.sys", DRIVER, 0x2000_0000);
    trace.module(0, START + 1, &inside).module(0, START + 1, &around);
    let report = built(dir.path(), &trace);
    assert_eq!(statuses(&report), [("mid.sys", Status::Excluded), ("kd.dll", Status::Included)]);
    let expected =
        "kd.dll and mid.sys are both listed as loaded at 0xfffff80030000000: kd.dll is taken, mid.sys left out";
    assert_eq!(told(&report), [expected]);
}

#[test]
fn of_modules_at_one_place_the_later_load_is_in_whoever_has_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut trace = TraceFile::new();
    let first = file(dir.path(), &with_code("first.sys"), DRIVER);
    let second = Module::kernel("second.sys", DRIVER + 0x1000, 0x40000);
    trace.load(0, START + SECOND, &first).load(0, START + 2 * SECOND, &second);
    let report = built(dir.path(), &trace);
    assert_eq!(statuses(&report), [("first.sys", Status::Excluded), ("second.sys", Status::Missing)]);
    assert_eq!(
        told(&report),
        [
            "second.sys and first.sys are both listed as loaded at 0xfffff80020001000: second.sys is taken, first.sys \
             left out",
            "None of the module files was found, so the dump contains no code.",
        ]
    );
}

/// The first driver of a triage dump is `nt` to debuggers, so the kernel is listed although its file is missing.
#[test]
fn the_kernel_leads_a_triage_dump_without_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut trace = TraceFile::new();
    trace.kernel_base(0, START + 1, KERNEL);
    trace.module(0, START + 1, &Module::kernel("ntoskrnl.exe", KERNEL, 0x80_0000));
    trace.module(0, START + 1, &file(dir.path(), &with_code("drv.sys"), DRIVER));
    let path = dir.path().join("trace.etl");
    std::fs::write(&path, trace.finish()).unwrap();
    let mut search = Search::new(vec![dir.path().to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    let output = dir.path().join("out.dmp");
    let options =
        BuildOptions { search, output: output.clone(), format: mkdump::Format::Triage, ..BuildOptions::default() };
    let source = Source::open_etl(&path).unwrap();
    let report = build(&source, &source.read(Wanted::default(), &Silent).unwrap(), &options, &Silent).unwrap();
    assert_eq!(statuses(&report), [("ntoskrnl.exe", Status::Missing), ("drv.sys", Status::Included)]);
    assert!(told(&report).iter().all(|warning| !warning.contains("nt")), "{:?}", report.warnings);
    let bytes = std::fs::read(output).unwrap();
    let made = mkdump::dump::Dump::open(&bytes).unwrap();
    let first = made.triage().unwrap().drivers().next().unwrap().unwrap();
    assert_eq!((first.base, made.snapshot().kernel_base), (KERNEL, Some(KERNEL)));
}

#[test]
fn a_dump_without_code_is_told_from_one_with_code() {
    let dir = tempfile::tempdir().unwrap();
    let check = |trace: &TraceFile| {
        built(dir.path(), trace);
        let options = CheckOptions { dump: dir.path().join("out.dmp"), ..CheckOptions::default() };
        check(&options, &Silent).unwrap().warnings
    };
    let present = file(dir.path(), &with_code("present.sys"), DRIVER);
    let mut trace = TraceFile::new();
    trace.module(0, START + 1, &present);
    assert_eq!(check(&trace), [""; 0]);
    let mut trace = TraceFile::new();
    trace.module(0, START + 1, &Module::kernel("absent.sys", DRIVER, 0x40000));
    assert_eq!(check(&trace), ["The dump holds no byte of any module that it lists: it contains no code."]);
}

#[test]
fn a_module_right_behind_another_one_leaves_no_room_for_its_stubs() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = file(dir.path(), &testkit::image::kernel(&["Function"]), KERNEL);
    let first = file(dir.path(), &with_code("first.sys"), DRIVER);
    let second = file(dir.path(), &with_code("second.sys"), DRIVER + first.size);
    let third = file(dir.path(), &with_code("third.sys"), second.base + second.size + 0x1000);
    let mut trace = TraceFile::new();
    for module in [&kernel, &first, &second, &third] {
        trace.module(0, START + 1, module);
    }
    let report = built_with(dir.path(), &trace, Choice::On);
    assert_eq!(
        report.warnings,
        ["retpoline is on, but another module begins where the stubs of first.sys would lie: their indirect branches \
          stay as linked, unlike memory"]
    );
    let last_range = |name: &str| {
        let module = report.modules.iter().find(|module| module.name == name).unwrap();
        let [first, after] = *module.ranges.last().unwrap();
        (first.0 >= module.base.0 + module.size.0, after.0)
    };
    // A page of stubs lies after each of the others; the kernel has its own.
    assert!(!last_range("first.sys").0);
    assert_eq!(last_range("second.sys"), (true, second.base + second.size + 0x1000));
    assert_eq!(last_range("third.sys"), (true, third.base + third.size + 0x1000));
    assert!(!last_range("ntoskrnl.exe").0);
}

#[test]
fn calls_into_a_module_without_a_file_are_counted_and_the_module_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut trace = TraceFile::new();
    let mut driver = Driver::new("driver.sys");
    let text = driver.section(".text", testkit::image::CODE, vec![0xcc; 0x100]);
    for at in 0..3 {
        let import = driver.import("ntoskrnl.exe", &format!("Function{at}"));
        driver.call(At(text, at * 0x20), import);
    }
    let import = driver.import("hal.dll", "Present");
    driver.call(At(text, 0x80), import);
    let mut hal = with_code("hal.dll");
    hal.export("Present", At(0, 0));
    trace.module(0, START + 1, &file(dir.path(), &driver, DRIVER));
    trace.module(0, START + 1, &file(dir.path(), &hal, KERNEL + 0x100_0000));
    trace.module(0, START + 1, &Module::kernel("ntoskrnl.exe", KERNEL, 0x80_0000));
    let report = built(dir.path(), &trace);
    let expected = "3 of 4 import call sites keep the form of their file, unlike memory: the files of the modules that they \
                call are missing: ntoskrnl.exe (3)";
    assert_eq!(told(&report), [expected]);
}

/// A damaged record must not keep all other modules from their dump.
#[test]
fn modules_where_no_kernel_maps_one_are_left_out_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut trace = TraceFile::new();
    let sound = file(dir.path(), &with_code("sound.sys"), DRIVER);
    let odd = file(dir.path(), &with_code("odd.sys"), DRIVER + 0x100_0800);
    let edge = file(dir.path(), &with_code("edge.sys"), 0xffff_ffff_ffff_f000);
    for module in [&sound, &odd, &edge] {
        trace.module(0, START + 1, module);
    }
    let report = built_with(dir.path(), &trace, Choice::On);
    let expected = [("sound.sys", Status::Included), ("odd.sys", Status::Excluded), ("edge.sys", Status::Excluded)];
    assert_eq!(statuses(&report), expected);
    let told = told(&report);
    for text in [
        "odd.sys is left out: its base 0xfffff80021000800 is not on a page boundary",
        "edge.sys is left out: its base 0xfffffffffffff000 and size 0x",
    ] {
        assert!(told.iter().any(|warning| warning.starts_with(text)), "{text}: {told:?}");
    }
    assert!(!report.shortcomings.is_empty());
}
