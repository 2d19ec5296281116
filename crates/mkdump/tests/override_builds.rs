//! Builds of a system of the 24H2 kind: a kernel with shared code, drivers with function overrides in its reach and out of it.

use std::path::{Path, PathBuf};

use mkdump::check::{CheckOptions, check};
use mkdump::report::BuildReport;
use mkdump::{BuildOptions, Choice, Format, GivenCapability, Search, Silent, Source, Wanted, build};
use testkit::image::{At, Driver, GUARD, MEMSET, OverrideSpec, SHARED_CODE, kernel_24h2};
use testkit::trace::{Module, TraceFile};

const KERNEL: u64 = 0xffff_f800_1000_0000;
const NEAR: u64 = 0xffff_f800_2000_0000;
const FAR: u64 = 0xffff_f80a_0000_0000;
/// A far one after which another driver begins at once.
const CROWDED: u64 = 0xffff_f80b_0000_0000;

/// What each driver has: five calls of memset and three of the thunk for guarded calls, all in one code section.
const MEMSET_CALLS: [u32; 5] = [0x100, 0x120, 0x140, 0xffd, 0x1100];
const THUNK_CALLS: [u32; 3] = [0x180, 0x1a0, 0x1ffb];
const VARIANT: u32 = 0x80;

fn driver(name: &str) -> Driver {
    let mut driver = Driver::new(name);
    let text = driver.code(".text", 0x2000);
    let at = |offset: u32| At(text, offset);
    let memset = OverrideSpec::new(at(0x40), vec![at(VARIANT), at(0xc0)], MEMSET_CALLS.map(at).to_vec());
    let thunk = OverrideSpec::new(at(0x20), vec![at(0x20)], THUNK_CALLS.map(at).to_vec());
    driver.overrides = vec![thunk.decided_by(GUARD), memset.decided_by(MEMSET)];
    driver
}

/// A trace and files in a directory.
struct Recorded {
    dir: tempfile::TempDir,
}

impl Recorded {
    /// With the drivers of these names at these bases; the kernel's file may be missing.
    fn new(drivers: &[(&str, u64)], has_kernel: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut trace = TraceFile::new();
        trace.system(1_000_100, "TESTKIT", 4652);
        trace.kernel_base(0, 1_000_200, KERNEL);
        let mut add = |driver: &Driver, base: u64, is_there: bool| {
            let built = driver.build();
            if is_there {
                std::fs::write(dir.path().join(&driver.name), &built.bytes).unwrap();
            }
            let module = Module::kernel(&driver.name, base, built.size_of_image.into());
            trace.module(0, 1_000_300, &module.with_identity(driver.timestamp, driver.checksum));
        };
        add(&kernel_24h2(&["ExFreePool"]), KERNEL, has_kernel);
        for (name, base) in drivers {
            add(&driver(name), *base, true);
        }
        std::fs::write(dir.path().join("trace.etl"), trace.finish()).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn build(&self, output: &str, change: impl FnOnce(&mut BuildOptions)) -> BuildReport {
        let mut search = Search::new(vec![self.dir.path().to_owned()], &Default::default());
        search.cache = symstore::Cache::Off;
        let mut options = BuildOptions { search, output: self.path(output), ..BuildOptions::default() };
        change(&mut options);
        let source = Source::open_etl(&self.path("trace.etl")).unwrap();
        let reading = source.read(Wanted::default(), &Silent).unwrap();
        build(&source, &reading, &options, &Silent).unwrap()
    }
}

fn erms(options: &mut BuildOptions) {
    options.capabilities.push(GivenCapability { number: 0, is_set: true });
}

/// Listed, applied, out of reach, assumed, as linked, not applied, of a module.
fn counts(report: &BuildReport, name: &str) -> [u64; 6] {
    let sites = report.modules.iter().find(|module| module.name == name).unwrap().sites.r#override;
    [sites.listed, sites.applied, sites.out_of_reach, sites.assumed, sites.as_linked, sites.not_applied]
}

fn doubts(report: &BuildReport) -> Vec<&str> {
    report.warnings.iter().map(String::as_str).filter(|warning| warning.starts_with("function overrides")).collect()
}

#[test]
fn all_known_and_applied_leaves_no_doubt() {
    let recorded = Recorded::new(&[("near.sys", NEAR)], true);
    let report = recorded.build("out.dmp", erms);
    assert_eq!(counts(&report, "near.sys"), [8, 8, 0, 0, 0, 0]);
    assert_eq!((&report.warnings[..], &report.shortcomings[..]), (&[][..], &[][..]));
    assert_eq!(report.function_overrides.mode, "on");
    let choices = |report: &BuildReport| -> Vec<_> {
        let near = report.modules.iter().find(|module| module.name == "near.sys").unwrap();
        near.overrides.iter().map(|item| (item.original.0, item.choice, item.alternative, item.assumed.len())).collect()
    };
    assert_eq!(choices(&report), [(0x1020, "system", None, 0), (0x1040, "alternative", Some(0), 0)]);

    // Without a word about the processor, one choice is assumed, and counts.
    let report = recorded.build("out.dmp", |_| {});
    assert_eq!(counts(&report, "near.sys"), [8, 8, 0, 5, 0, 0]);
    assert_eq!(choices(&report)[1].3, 1);
    let [doubt] = doubts(&report)[..] else { panic!("{:?}", report.warnings) };
    assert!(doubt.contains("5 calls in 1 module") && doubt.contains("assumed: 0 (ERMS) "), "{doubt}");
    assert_eq!(report.shortcomings, ["1 doubt is among the warnings"]);

    let report = recorded.build("out.dmp", |options| options.function_overrides = Choice::Off);
    assert_eq!(counts(&report, "near.sys"), [8, 0, 0, 0, 8, 0]);
    assert_eq!(report.shortcomings, [""; 0]);
}

/// Bytes of a directory of raw files at an address.
fn raw(dir: &Path, address: u64, size: usize) -> Option<Vec<u8>> {
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem()?.to_string_lossy().into_owned();
        let Some(start) =
            name.rsplit(['-', '_', '.']).find_map(|part| u64::from_str_radix(part.trim_start_matches("0x"), 16).ok())
        else {
            continue;
        };
        let bytes = std::fs::read(&path).unwrap();
        if let Some(found) = address.checked_sub(start).and_then(|at| bytes.get(at as usize..at as usize + size)) {
            return Some(found.to_vec());
        }
    }
    None
}

#[test]
fn far_drivers_get_the_shared_page() {
    let size = u64::from(driver("far.sys").build().size_of_image);
    let drivers = [("near.sys", NEAR), ("far.sys", FAR), ("crowded.sys", CROWDED), ("next.sys", CROWDED + size)];
    let recorded = Recorded::new(&drivers, true);
    for format in [Format::Minidump, Format::Elf, Format::Raw] {
        let output = format!("out.{}", format.extension());
        let report = recorded.build(&output, |options| {
            options.format = format;
            erms(options);
        });
        assert_eq!(counts(&report, "near.sys"), [8, 8, 0, 0, 0, 0]);
        assert_eq!(counts(&report, "far.sys"), [8, 8, 3, 0, 0, 0]);
        // Never over the next module.
        assert_eq!(counts(&report, "crowded.sys"), [8, 5, 0, 0, 3, 3]);
        let far = report.modules.iter().find(|module| module.name == "far.sys").unwrap();
        let last = far.ranges.last().unwrap();
        assert_eq!((last[0].0, last[1].0), (FAR + size, FAR + size + 0x1000));
        let told = doubts(&report);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("3 calls in 1 module stay as linked, unlike memory"), "{told:?}");
        // The far one, and the one after the crowded one.
        assert!(told[1].contains("6 calls in 2 modules lead to the copy"), "{told:?}");
        if format == Format::Raw {
            let kernel = kernel_24h2(&["ExFreePool"]).build();
            let page = raw(&recorded.path(&output), FAR + size, 0x1000).unwrap();
            assert!(page == kernel.bytes[0x600..0x1600], "the kernel's page");
            let call = raw(&recorded.path(&output), FAR + 0x1000 + u64::from(THUNK_CALLS[0]), 5).unwrap();
            let distance = u32::from_le_bytes(call[1..].try_into().unwrap());
            let target = 0x1005_u32.wrapping_add(THUNK_CALLS[0]).wrapping_add(distance);
            assert_eq!(u64::from(target), size + u64::from(SHARED_CODE.guarded_calls[0]));
        }
    }
}

#[test]
fn without_the_kernels_file_its_functions_are_not_guessed() {
    let recorded = Recorded::new(&[("near.sys", NEAR)], false);
    let report = recorded.build("out.dmp", erms);
    assert_eq!(counts(&report, "near.sys"), [8, 5, 0, 0, 3, 3]);
    assert!(doubts(&report)[0].contains("3 calls in 1 module stay as linked, unlike memory"), "{:?}", report.warnings);
}

#[test]
fn check_explains_the_calls() {
    let recorded = Recorded::new(&[("near.sys", NEAR), ("far.sys", FAR)], true);
    recorded.build("applied.dmp", erms);
    recorded.build("linked.dmp", |options| options.function_overrides = Choice::Off);
    recorded.build("other.dmp", |options| {
        options.capabilities.push(GivenCapability { number: 0, is_set: false });
    });
    for (dump, other, calls) in
        [("applied.dmp", "linked.dmp", 16), ("linked.dmp", "applied.dmp", 16), ("applied.dmp", "other.dmp", 10)]
    {
        let mut search = Search::new(vec![recorded.dir.path().to_owned()], &Default::default());
        search.cache = symstore::Cache::Off;
        let options = CheckOptions { dump: recorded.path(dump), against: Some(recorded.path(other)), search };
        let report = check(&options, &Silent).unwrap();
        let classes = report.comparison.unwrap().totals.differences;
        assert_eq!(classes.function_override.places, calls, "{dump} {other}");
        assert_eq!(classes.unexplained.places, 0, "{dump} {other}");
    }
}
