//! From a trace with IPT data and module files to a dump: the data decides what the code looked like, and the dump's
//! bytes are the ones that ran.

use std::path::{Path, PathBuf};

use mkdump::ipt::Inputs;
use mkdump::report::{BuildReport, Status};
use mkdump::{BuildOptions, Choice, Moment, Search, Silent, Source, Wanted, build};
use testkit::image::{At, CODE, Driver};
use testkit::pt::{
    Compression, Hardware, ListedBranch, Machine, Module, Optimization, PacketWriter, Program, Run, System,
};
use testkit::trace::TraceFile;

/// A system's files and a trace in a directory.
struct Recorded {
    dir: tempfile::TempDir,
    system: System,
}

impl Recorded {
    fn new(system: System, runs: &[Run]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("modules")).unwrap();
        for file in &system.files {
            std::fs::write(dir.path().join("modules").join(&file.name), &file.bytes).unwrap();
        }
        std::fs::write(dir.path().join("trace.etl"), system.trace_of(runs).finish()).unwrap();
        Self { dir, system }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn build_with(&self, change: impl FnOnce(&mut BuildOptions)) -> mkdump::Result<BuildReport> {
        build_in(self.dir.path(), &self.path("modules"), change)
    }

    fn build(&self) -> BuildReport {
        self.build_with(|_| {}).unwrap()
    }
}

/// Builds `out.dmp` from `trace.etl`, both in `dir`.
fn build_in(dir: &Path, modules: &Path, change: impl FnOnce(&mut BuildOptions)) -> mkdump::Result<BuildReport> {
    let mut search = Search::new(vec![modules.to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    let mut options = BuildOptions { search, output: dir.join("out.dmp"), ..BuildOptions::default() };
    change(&mut options);
    let source = Source::open_etl(&dir.join("trace.etl"))?;
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent)?;
    build(&source, &reading, &options, &Silent)
}

fn runs(program: &Program, count: u64, instructions: usize) -> Vec<Run> {
    let machine = Machine { interrupts: 20, ..Machine::default() };
    (0..count).map(|seed| machine.run(program, instructions, seed)).collect()
}

/// The code of a module in memory, with the bytes replaced by zeros that the program and its file do not share: the
/// distances to import slots and to the CFG pointer, which lie elsewhere in a PE file.
fn masked(module: &Module, text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let mut clear = |va: u64| {
        let at = (va - module.base) as usize - 0x1000;
        out[at..at + 4].fill(0);
    };
    module.sites.iter().for_each(|site| clear(site.va + 3));
    if module.stubs.is_none() {
        let through_pointer =
            |(va, branch): &(u64, ListedBranch)| matches!(branch, ListedBranch::Cfg { .. }).then_some(*va);
        module.listed.iter().filter_map(through_pointer).for_each(|va| clear(va + 2));
    }
    out
}

/// Asserts that a dump has the code that a module had when the program ran.
fn assert_ran(dump: &Path, module: &Module) {
    let dump = minidump::Minidump::read_path(dump).unwrap();
    let memory = dump.get_memory().unwrap();
    let read = |address: u64, size: usize| -> Vec<u8> {
        let region = memory.memory_at_address(address).unwrap_or_else(|| panic!("{address:#x} is not in the dump"));
        let from = (address - region.base_address()) as usize;
        region.bytes()[from..from + size].to_vec()
    };
    let sites = module.sites.iter().map(|site| site.va).chain(module.listed.iter().map(|(va, _)| *va));
    let last = sites.chain(module.functions.iter().copied()).max().unwrap();
    let size = (last - module.base) as usize - 0x1000 + 12;
    let expected = masked(module, &module.memory[0x1000..0x1000 + size]);
    assert_eq!(masked(module, &read(module.base + 0x1000, size)), expected, "{}", module.name);
    if let Some(stubs) = &module.stubs {
        assert_eq!(read(stubs.base, stubs.bytes.len()), stubs.bytes, "stubs of {}", module.name);
    }
}

/// Builds dumps from traces of generated systems; what the report says and the bytes must be what ran.
fn check(optimization: Optimization, retpoline: bool) {
    let (mut modes, mut decided, mut stubs) = (Vec::new(), 0, 0);
    for seed in 0..6 {
        let system = System::generate(&System::busy(optimization, retpoline), seed);
        let runs = runs(&system.program, 6, 5000);
        let recorded = Recorded::new(system, &runs);
        let report = recorded.build();
        assert_eq!(report.warnings, [""; 0]);
        assert_eq!(report.modules.len(), recorded.system.files.len());
        let context = format!("{optimization:?} {retpoline} {seed}: {report:#?}");
        modes.push((report.import_optimization.mode, report.import_optimization.reason.clone()));
        // A trace in which no stub is interrupted and no return tells may leave retpoline open, but never wrong.
        let retpoline_right = (report.retpoline.mode == "on") == retpoline;
        assert!(retpoline_right || report.retpoline.reason == "no evidence, assumed off", "{context}");
        stubs += u32::from(report.retpoline.mode == "on");
        for (built, module) in report.modules.iter().zip(&recorded.system.program.modules) {
            assert_eq!((&built.name, built.base.0, built.status), (&module.name, module.base, Status::Included));
            let Some(mode) = &built.import_optimization else {
                assert!(module.sites.is_empty(), "{context}");
                continue;
            };
            let right = (mode.mode == "on") == module.optimized;
            if mode.reason.starts_with("decided from") {
                assert!(right, "{}: {context}", built.name);
                decided += 1;
            }
            if right && retpoline_right {
                assert_ran(&recorded.path("out.dmp"), module);
            }
        }
        // The dump itself says the same.
        let dump = minidump::Minidump::read_path(recorded.path("out.dmp")).unwrap();
        let provenance = dump.get_raw_stream(mkdump::PROVENANCE_STREAM).unwrap();
        let provenance: serde_json::Value = serde_json::from_slice(provenance).unwrap();
        assert_eq!(provenance["import_optimization"], serde_json::to_value(&report.import_optimization).unwrap());
        let direct = |file: &serde_json::Value| file["import_calls_direct"].as_bool().unwrap();
        for (built, file) in report.modules.iter().zip(provenance["files"].as_array().unwrap()) {
            assert_eq!(
                built.import_optimization.as_ref().is_some_and(|mode| mode.mode == "off"),
                !direct(file) && built.sites.import.listed > 0
            );
        }
    }
    let said = |wanted| modes.iter().filter(|(mode, reason)| *mode == wanted && reason.starts_with("decided")).count();
    let expected = match optimization {
        Optimization::On => said("on") >= 5 && said("off") + said("mixed") == 0,
        Optimization::Off => said("off") >= 5 && said("on") + said("mixed") == 0,
        Optimization::Mixed => said("mixed") > 0,
    };
    assert!(expected, "{optimization:?}: {modes:?}");
    assert!(decided >= 9, "{decided} modules are decided");
    assert_eq!(stubs > 2, retpoline, "{stubs} traces show retpoline");
}

#[test]
fn import_calls_that_ran_direct() {
    check(Optimization::On, false);
}

#[test]
fn import_calls_that_ran_as_linked() {
    check(Optimization::Off, false);
}

#[test]
fn modules_that_differ() {
    check(Optimization::Mixed, false);
}

#[test]
fn direct_calls_with_retpoline() {
    check(Optimization::On, true);
}

#[test]
fn calls_through_stubs_with_retpoline() {
    check(Optimization::Off, true);
}

#[test]
fn modules_that_differ_with_retpoline() {
    check(Optimization::Mixed, true);
}

fn system(optimization: Optimization) -> System {
    System::generate(&System::busy(optimization, false), 1)
}

#[test]
fn too_few_witnesses_leave_it_to_the_build() {
    let system = system(Optimization::Off);
    // A PSB and nothing else: no import call is seen.
    let silent = Run { packets: snapshot(system.program.entry), ..Run::default() };
    let recorded = Recorded::new(system, &[silent]);
    let report = recorded.build();
    let mode = &report.import_optimization;
    assert_eq!(
        (mode.mode, &*mode.reason),
        (
            "on",
            "Windows build 26100 has it on unless switched off; the Intel PT data is inconclusive: no executed \
             import call distinguishes the two forms"
        )
    );
    let module = report.modules[1].import_optimization.as_ref().unwrap();
    assert_eq!((module.mode, &module.reason), ("on", &mode.reason));
    // The user's word goes before both.
    let report = recorded.build_with(|options| options.import_optimization = Choice::Off).unwrap();
    assert_eq!((report.import_optimization.mode, &*report.import_optimization.reason), ("off", "asked for"));
    assert_eq!(report.modules[1].sites.import.optimized, 0);
}

/// PSB+ with the current address, 64-bit code, and packet generation switched off there.
fn snapshot(ip: u64) -> Vec<u8> {
    let mut writer = PacketWriter::new();
    writer.psb().mode(0, 1).fup(ip, Compression::Signed48).psbend();
    writer.fup(ip, Compression::Shortest).pgd(0, Compression::Suppressed);
    writer.finish()
}

/// The status of each module in a report.
fn statuses(report: &BuildReport) -> Vec<(Status, Option<&str>)> {
    report.modules.iter().map(|module| (module.status, module.reason.as_deref())).collect()
}

#[test]
fn touched_modules_and_what_they_call_directly() {
    const IN: (Status, Option<&str>) = (Status::Included, None);
    const OUT: (Status, Option<&str>) = (Status::Excluded, Some("not touched by the IPT data"));
    let system = system(Optimization::On);
    let modules = &system.program.modules;
    // driver1 imports from the kernel alone, so nothing else is reached.
    let kernel = modules[0].base..modules[0].end();
    assert!(modules[1].sites.iter().all(|site| kernel.contains(&site.target)));
    let only_driver1 = Run { packets: snapshot(modules[1].functions[0]), ..Run::default() };
    let recorded = Recorded::new(system, &[only_driver1]);
    let touched = |choice: Choice| {
        recorded.build_with(|options| {
            options.touched = true;
            options.import_optimization = choice;
        })
    };
    assert_eq!(statuses(&touched(Choice::On).unwrap()), [IN, IN, OUT, OUT], "closed over direct calls");
    assert_eq!(statuses(&touched(Choice::Off).unwrap()), [OUT, IN, OUT, OUT], "calls through slots leave packets");
    // What is reached and has no file is missing, not left out.
    std::fs::remove_file(recorded.path("modules").join("ntoskrnl.exe")).unwrap();
    let report = touched(Choice::On).unwrap();
    let found: Vec<Status> = report.modules.iter().map(|module| module.status).collect();
    assert_eq!(found, [Status::Missing, Status::Included, Status::Excluded, Status::Excluded]);
}

#[test]
fn all_modules_that_ran_are_touched() {
    for seed in 0..4 {
        for optimization in [Optimization::On, Optimization::Off, Optimization::Mixed] {
            let system = System::generate(&System::busy(optimization, false), seed);
            let runs = runs(&system.program, 2, 2000);
            let ran = |module: &Module| {
                let executed = runs.iter().flat_map(|run| &run.executed);
                executed.clone().any(|ip| (module.base..module.end()).contains(ip))
            };
            let expected: Vec<bool> = system.program.modules.iter().map(ran).collect();
            let recorded = Recorded::new(system, &runs);
            let report = recorded.build_with(|options| options.touched = true).unwrap();
            for (module, ran) in report.modules.iter().zip(expected) {
                assert!(!ran || module.status == Status::Included, "{optimization:?} {seed}: {} ran", module.name);
            }
        }
    }
}

#[test]
fn data_saved_by_hand_counts_like_the_traces_own() {
    let system = system(Optimization::Off);
    let runs = runs(&system.program, 4, 5000);
    let with_data = Recorded::new(system.clone(), &runs).build();
    let recorded = Recorded::new(system, &[]);
    assert!(recorded.build().import_optimization.reason.contains("there is no Intel PT data to decide it"));
    let mut ipt = Inputs::default();
    for (number, run) in runs.iter().enumerate() {
        let path = recorded.path(&format!("{number}.ipt"));
        if number % 2 == 0 {
            let text: Vec<String> = run.packets.iter().map(|byte| format!("{byte:02X}")).collect();
            std::fs::write(&path, text.join(" ")).unwrap();
            ipt.hex.push(path);
        } else {
            std::fs::write(&path, &run.packets).unwrap();
            ipt.bin.push(path);
        }
    }
    let by_hand = recorded.build_with(|options| options.ipt = ipt.clone()).unwrap();
    assert_eq!(by_hand.import_optimization, with_data.import_optimization);
    assert_eq!(by_hand.import_optimization.mode, "off");
    let touched = recorded.build_with(|options| {
        options.ipt = ipt.clone();
        options.touched = true;
    });
    assert_eq!(touched.unwrap().modules[0].status, Status::Included);
}

#[test]
fn wrong_data_is_named() {
    let recorded = Recorded::new(system(Optimization::On), &[]);
    let error = recorded.build_with(|options| options.touched = true).unwrap_err().to_string();
    assert!(error.ends_with("there is no Intel PT data to say which modules were touched"), "{error}");
    let path = recorded.path("bad.txt");
    std::fs::write(&path, "02 82\nzz").unwrap();
    let hex = Inputs { hex: vec![path], ..Inputs::default() };
    let error = recorded.build_with(|options| options.ipt = hex).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().ends_with("bad.txt: not hexadecimal"), "{error}");
    assert!(cause.starts_with("line 2, column 1: found \"z\""), "{cause}");
    let bin = Inputs { bin: vec![recorded.path("nowhere.bin")], ..Inputs::default() };
    let error = recorded.build_with(|options| options.ipt = bin).unwrap_err().to_string();
    assert!(error.contains("nowhere.bin"), "{error}");
    assert!(!recorded.path("out.dmp").exists(), "nothing is written");
}

/// The experiments of `tests/import_forms.rs`, which fool whoever looks which form's decode fails first, once more as
/// files and traces: a driver with one import site, the imported function in the kernel.
///
/// ```text
/// driver+1000: call [slot]; nop             12 bytes
/// driver+100c: jz +1; nop; nop; hlt or jmp rbx …
/// kernel+1000: the function
/// ```
#[test]
fn forms_that_hide_behind_each_other() {
    const KERNEL: u64 = 0xffff_f800_1000_0000;
    const FUNCTION: u64 = KERNEL + 0x1000;
    const SITE: u64 = 0xffff_f800_2000_1000;
    const STRAIGHT: &[u8] = &[0x90, 0x90, 0x90, 0x90, 0xc3];
    const BRANCHES: &[u8] = &[0x90, 0x74, 0x01, 0x90, 0xc3];
    type Packets = fn(&mut PacketWriter);
    let experiments: [(&str, &[u8], Packets, &str); 5] = [
        (
            "e1",
            STRAIGHT,
            |w| {
                w.tip(FUNCTION, Compression::Signed48).tnt(&[true, false]);
            },
            "off",
        ),
        (
            "e2",
            BRANCHES,
            |w| {
                w.tip(FUNCTION, Compression::Signed48).tnt(&[false, true, false]);
            },
            "off",
        ),
        (
            "e3",
            STRAIGHT,
            |w| {
                w.tnt(&[true, false]);
            },
            "on",
        ),
        (
            "e4, direct",
            STRAIGHT,
            |w| {
                w.tnt(&[true, false]).tip(SITE + 0x13, Compression::Signed48);
            },
            "on",
        ),
        (
            "e4, linked",
            STRAIGHT,
            |w| {
                w.tip(FUNCTION, Compression::Signed48).tnt(&[true, false]).tip(SITE + 0x13, Compression::Signed48);
            },
            "off",
        ),
    ];
    for (name, function, packets, expected) in experiments {
        let indirect = name.starts_with("e4");
        let mut kernel = Driver::new("ntoskrnl.exe");
        let text = kernel.section(".text", CODE, [function, &[0xcc; 32]].concat());
        kernel.export("Function", At(text, 0));
        let mut driver = Driver::new("driver.sys");
        let after: &[u8] = if indirect { &[0xff, 0xe3] } else { &[0x90, 0x90] };
        let code = [&[0; 12], &[0x74, 0x01, 0x90, 0x90][..], after, &[0xf4, 0x90, 0x90], &[0xcc; 32]].concat();
        let text = driver.section(".text", CODE, code);
        let import = driver.import("ntoskrnl.exe", "Function");
        driver.call(At(text, 0), import);
        let mut writer = PacketWriter::new();
        writer.psb().fup(SITE, Compression::Signed48).mode(0, 1).psbend();
        packets(&mut writer);
        let end = SITE + if indirect { 0x14 } else { 0x10 };
        writer.fup(end, Compression::Signed48).pgd(0, Compression::Suppressed);
        let data = writer.finish();

        let dir = tempfile::tempdir().unwrap();
        let mut trace = TraceFile::new();
        trace.kernel_base(0, 1_000_200, KERNEL);
        for (driver, base) in [(&kernel, KERNEL), (&driver, SITE - 0x1000)] {
            let built = driver.build();
            std::fs::write(dir.path().join(&driver.name), &built.bytes).unwrap();
            let module = testkit::trace::Module::kernel(&driver.name, base, built.size_of_image.into());
            trace.module(0, 1_000_300, &module.with_identity(driver.timestamp, driver.checksum));
        }
        // One witness is too few; the same thing four times is enough.
        for tick in 0..4 {
            trace.ipt(0, 2_000_000 + 100 * tick, (4, 8), &data, 0);
        }
        std::fs::write(dir.path().join("trace.etl"), trace.finish()).unwrap();
        let report = build_in(dir.path(), dir.path(), |_| {}).unwrap();
        let mode = &report.import_optimization;
        assert_eq!(mode.mode, expected, "{name}: {}", mode.reason);
        assert!(
            mode.reason.starts_with("decided from 4 import calls executed in the trace"),
            "{name}: {}",
            mode.reason
        );
        assert_eq!(report.modules[1].sites.import.optimized, u64::from(expected == "on"), "{name}");
    }
}

/// `MKDUMP_IPT_MIB` says how many MiB of packets; 4 unless it is set. Prints what the build took.
#[test]
fn much_data_is_quick() {
    const SNAPSHOT: usize = 1 << 20;
    let mib: usize = std::env::var("MKDUMP_IPT_MIB").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    for retpoline in [false, true] {
        let system = System::generate(&System::busy(Optimization::On, retpoline), 1);
        let machine = Machine { hardware: Hardware { psb_every: 4096, ..Hardware::default() }, ..Machine::default() };
        // Snapshots that differ, each of them many times.
        let mut different = Vec::new();
        for seed in 0..4 {
            let mut run = machine.run(&system.program, 100_000, seed);
            run.packets = run.packets.repeat(SNAPSHOT / run.packets.len());
            different.push(run);
        }
        let runs: Vec<Run> = different.iter().cycle().take(mib).cloned().collect();
        let bytes: usize = runs.iter().map(|run| run.packets.len()).sum();
        let recorded = Recorded::new(system, &runs);
        drop((runs, different));
        let start = std::time::Instant::now();
        let report = recorded.build();
        let seconds = start.elapsed().as_secs_f64();
        let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim().to_owned();
        println!("{} MiB of packets, retpoline {retpoline}: {seconds:.2} s, peak of the process {peak}", bytes >> 20);
        let reasons = (&report.import_optimization.reason, &report.retpoline.reason);
        println!("{reasons:?}");
        assert_eq!((report.import_optimization.mode, report.retpoline.mode == "on"), ("on", retpoline), "{reasons:?}");
    }
}

/// A driver that unloads and another one that is loaded where it was; the data is of the second one.
///
/// ```text
/// time      0 s        1 s        2 s      3 s
/// old.sys   ───────────┤                          9 pages
/// new.sys                         ├─────────────  5 pages, the same base
/// kernel    ────────────────────────────────────
/// data                                     ×      20 addresses in new.sys
/// ```
#[test]
fn a_driver_in_the_place_of_another_one() {
    const KERNEL: u64 = 0xffff_f800_1000_0000;
    const DRIVER: u64 = 0xffff_f800_2000_0000;
    const SECOND: i64 = 10_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut trace = TraceFile::new();
    let start = trace.start_tick;
    trace.kernel_base(0, start + 100, KERNEL);
    let add = |name: &str, base: u64, pages: usize| {
        let mut driver = Driver::new(name);
        driver.timestamp += pages as u32;
        driver.section(".text", CODE, vec![0x90; (pages - 4) * 0x1000]);
        let built = driver.build();
        std::fs::write(dir.path().join(name), &built.bytes).unwrap();
        let module = testkit::trace::Module::kernel(name, base, built.size_of_image.into());
        assert_eq!(built.size_of_image, pages as u32 * 0x1000);
        module.with_identity(driver.timestamp, driver.checksum)
    };
    let (kernel, old, new) = (add("ntoskrnl.exe", KERNEL, 5), add("old.sys", DRIVER, 9), add("new.sys", DRIVER, 5));
    trace.module(0, start + 200, &kernel).module(0, start + 200, &old);
    trace.unload(0, start + SECOND, &old).load(0, start + 2 * SECOND, &new);
    let mut writer = PacketWriter::new();
    writer.psb().psbend();
    for at in 0..20 {
        writer.tip(DRIVER + 0x1000 + at, Compression::Shortest);
    }
    trace.ipt(0, start + 3 * SECOND, (4, 8), &writer.finish(), 0);
    std::fs::write(dir.path().join("trace.etl"), trace.finish()).unwrap();

    let out = |name: &str| format!("{name} held these addresses at the chosen time");
    let statuses = |at: Option<Moment>| {
        let report = build_in(dir.path(), dir.path(), |options| {
            (options.touched, options.page_hits, options.at) = (true, true, at);
        });
        let report = report.unwrap();
        let hits: Vec<u64> =
            report.heat.as_ref().unwrap().modules.iter().map(|m| m.pages.iter().map(|p| p.1).sum()).collect();
        let found = |module: &mkdump::report::BuiltModule| (module.name.clone(), module.status, module.reason.clone());
        (report.modules.iter().map(found).collect::<Vec<_>>(), hits)
    };
    let untouched = Some("not touched by the IPT data".to_owned());
    let kernel = ("ntoskrnl.exe".to_owned(), Status::Excluded, untouched.clone());
    let (modules, hits) = statuses(None);
    assert_eq!(
        modules,
        [
            kernel.clone(),
            ("old.sys".to_owned(), Status::Excluded, Some(out("new.sys"))),
            ("new.sys".to_owned(), Status::Included, None),
        ]
    );
    assert_eq!(hits, [0, 0, 20]);
    // While the old one was loaded nothing of it ran: the data stays the new one's.
    let (modules, hits) = statuses(Some(Moment::Seconds(0.5)));
    assert_eq!(
        modules,
        [
            kernel,
            ("old.sys".to_owned(), Status::Excluded, untouched),
            ("new.sys".to_owned(), Status::Excluded, Some(out("old.sys"))),
        ]
    );
    assert_eq!(hits, [0, 0, 20]);

    let source = Source::open_etl(&dir.path().join("trace.etl")).unwrap();
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
    let mut search = Search::new(vec![dir.path().to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    let options = mkdump::IptOptions { search, ..Default::default() };
    let report = mkdump::report::ipt::analyse(&reading, &options, &Silent).unwrap();
    let reached: Vec<(&str, u64)> = report.modules.iter().map(|module| (&*module.name, module.hits)).collect();
    assert_eq!(reached, [("new.sys", 20)]);
    assert_eq!(report.unknown.len(), 0);
}

#[test]
fn packets_that_contradict_the_files_are_told() {
    let mut system = System::generate(&System::busy(Optimization::On, false), 61);
    let runs = runs(&system.program, 4, 20_000);
    let report = Recorded::new(system.clone(), &runs).build();
    let quality = report.ipt_quality.expect("the packets were weighed");
    assert_eq!((quality.streams, quality.doubtful, quality.doubt), (4, 0, None));
    // The right identity and other code: moved by some bytes, it decodes as something else.
    for (module, file) in system.program.modules.iter().zip(&mut system.files) {
        let last = module.functions.last().unwrap() - module.base - 0x1000;
        file.bytes[0x400..0x400 + last as usize].rotate_left(5);
    }
    let report = Recorded::new(system, &runs).build();
    let quality = report.ipt_quality.expect("the packets were weighed");
    assert_eq!((quality.streams, quality.doubtful), (4, 4), "{quality:?}");
    let doubt = quality.doubt.expect("nonsense");
    assert!(report.warnings.contains(&doubt) && doubt.contains("4 of 4 snapshots"), "{doubt}: {:?}", report.warnings);
}
