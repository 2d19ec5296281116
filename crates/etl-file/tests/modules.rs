//! The module timeline: which events give which intervals.

use etl_file::{Module as Found, Survey, SurveyOptions, Trace};
use testkit::trace::{Event, Header, Module, Payload, TraceFile};

const BASE: u64 = 0xffff_f800_1000_0000;

/// What happens to a module: hook, time, module.
type Step = (u16, i64, Module);
const LOAD: u16 = 0x030a;
const UNLOAD: u16 = 0x1402;
const START: u16 = 0x1403;
const END: u16 = 0x1404;

fn modules(steps: &[Step]) -> Vec<Found> {
    let mut trace = TraceFile::new();
    trace.buffer_size = 1024;
    for (index, (hook, tick, module)) in steps.iter().enumerate() {
        // Events of one module come from any processor, so their order in the file says nothing.
        let processor = (index % 3) as u16;
        trace.payload(processor, *tick, &Payload::Image { hook: *hook, version: 3, module: module.clone() });
    }
    let file = trace.finish();
    let options = SurveyOptions::default().user_modules(true);
    Trace::parse(&file).unwrap().survey(&options).modules
}

/// Name, loaded, unloaded of each module.
fn check(steps: &[Step], expected: &[(&str, Option<i64>, Option<i64>)]) {
    let found = modules(steps);
    let found: Vec<_> = found
        .iter()
        .map(|module| (module.name.as_str(), module.loaded.map(|tick| tick.0), module.unloaded.map(|tick| tick.0)))
        .collect();
    assert_eq!(found, expected, "{steps:?}");
    // Nothing depends on the order in which events lie in the file.
    if steps.len() > 1 {
        let turned: Vec<_> = steps.iter().rev().cloned().collect();
        let again: Vec<_> = modules(&turned).into_iter().map(|module| module.name).collect();
        assert_eq!(again, expected.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    }
}

fn a() -> Module {
    Module::kernel(r"\SystemRoot\System32\drivers\a.sys", BASE, 0x8000)
}

fn b() -> Module {
    Module::kernel(r"\SystemRoot\System32\drivers\b.sys", BASE, 0x9000)
}

#[test]
fn events_merge_into_intervals() {
    check(&[(START, 10, a()), (END, 90, a())], &[("a.sys", None, None)]);
    check(&[(END, 90, a())], &[("a.sys", None, None)]);
    check(&[(LOAD, 20, a()), (UNLOAD, 60, a())], &[("a.sys", Some(20), Some(60))]);
    check(&[(LOAD, 20, a()), (END, 90, a())], &[("a.sys", Some(20), None)]);
    check(&[(START, 10, a()), (UNLOAD, 60, a())], &[("a.sys", None, Some(60))]);
    check(&[(UNLOAD, 60, a())], &[("a.sys", None, Some(60))]);
    // A load that the rundown's start overtakes.
    check(&[(LOAD, 20, a()), (START, 21, a()), (END, 90, a())], &[("a.sys", Some(20), None)]);
    check(
        &[(LOAD, 20, a()), (UNLOAD, 30, a()), (LOAD, 40, a()), (UNLOAD, 50, a())],
        &[("a.sys", Some(20), Some(30)), ("a.sys", Some(40), Some(50))],
    );
}

#[test]
fn a_base_is_used_again() {
    check(
        &[(START, 10, a()), (UNLOAD, 30, a()), (LOAD, 40, b()), (END, 90, b())],
        &[("a.sys", None, Some(30)), ("b.sys", Some(40), None)],
    );
    // The unload between the two was lost.
    check(&[(START, 10, a()), (LOAD, 40, b())], &[("a.sys", None, None), ("b.sys", Some(40), None)]);
    // Another build of the same driver is another module, whether or not its unload was logged.
    let newer = a().with_identity(0x7000_0000, 1);
    check(
        &[(START, 10, a()), (UNLOAD, 30, a()), (LOAD, 40, newer.clone())],
        &[("a.sys", None, Some(30)), ("a.sys", Some(40), None)],
    );
    check(&[(START, 10, a()), (LOAD, 40, newer)], &[("a.sys", None, None), ("a.sys", Some(40), None)]);
    // So is one that differs in a single field.
    let Module { timestamp, checksum, .. } = a();
    for other in [a().with_identity(timestamp + 1, checksum), a().with_identity(timestamp, checksum + 1)] {
        check(&[(START, 10, a()), (LOAD, 40, other)], &[("a.sys", None, None), ("a.sys", Some(40), None)]);
    }
    let larger = Module { size: a().size + 0x1000, ..a() };
    check(&[(START, 10, a()), (LOAD, 40, larger)], &[("a.sys", None, None), ("a.sys", Some(40), None)]);
}

#[test]
fn identity_is_what_the_events_say_and_no_more() {
    // A stamp of 0 is not said, and matches.
    let unsaid = a().with_identity(0, 0);
    check(&[(START, 10, unsaid.clone()), (END, 90, a())], &[("a.sys", None, None)]);
    check(&[(LOAD, 20, a()), (UNLOAD, 60, unsaid)], &[("a.sys", Some(20), Some(60))]);
    // Two paths of one file; the one with a volume tells more.
    let mut other = a();
    other.path = r"\Device\HarddiskVolume2\Windows\System32\drivers\A.SYS".to_owned();
    let found = modules(&[(LOAD, 20, a()), (END, 90, other.clone())]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, other.path);
    // Exact duplicates are one event: a second unload must not become a ghost.
    check(&[(LOAD, 20, a()), (LOAD, 20, a()), (UNLOAD, 60, a()), (UNLOAD, 60, a())], &[("a.sys", Some(20), Some(60))]);
    check(&[(START, 10, a()), (START, 10, other)], &[("A.SYS", None, None)]);
}

#[test]
fn a_life_that_two_loggers_report_is_one_module() {
    let once = [(LOAD, 20, a()), (UNLOAD, 60, a())];
    let twice = [(LOAD, 20, a()), (LOAD, 23, a()), (UNLOAD, 60, a()), (UNLOAD, 62, a())];
    check(&once, &[("a.sys", Some(20), Some(60))]);
    check(&twice, &[("a.sys", Some(20), Some(60))]);
    // Three reports of the end of a module that was there before, and a rundown that two sessions made.
    check(&[(UNLOAD, 60, a()), (UNLOAD, 61, a()), (UNLOAD, 64, a())], &[("a.sys", None, Some(60))]);
    check(&[(START, 10, a()), (START, 13, a()), (END, 90, a()), (END, 95, a())], &[("a.sys", None, None)]);
    // The next life begins with a load.
    let again = [twice.to_vec(), vec![(LOAD, 70, a()), (LOAD, 71, a()), (UNLOAD, 80, a()), (UNLOAD, 81, a())]].concat();
    check(&again, &[("a.sys", Some(20), Some(60)), ("a.sys", Some(70), Some(80))]);
    // The second unload of one module is not that of another.
    check(
        &[(LOAD, 20, a()), (UNLOAD, 60, a()), (UNLOAD, 62, b())],
        &[("a.sys", Some(20), Some(60)), ("b.sys", None, Some(62))],
    );
}

/// Clocks may be coarse: one module makes room for another at one tick, or is loaded and unloaded at one.
#[test]
fn events_of_one_tick_are_put_in_order() {
    check(
        &[(START, 10, a()), (UNLOAD, 40, a()), (LOAD, 40, b()), (END, 90, b())],
        &[("a.sys", None, Some(40)), ("b.sys", Some(40), None)],
    );
    check(&[(LOAD, 40, a()), (UNLOAD, 40, a())], &[("a.sys", Some(40), Some(40))]);
    check(
        &[(START, 10, a()), (LOAD, 40, b()), (UNLOAD, 40, b())],
        &[("a.sys", None, None), ("b.sys", Some(40), Some(40))],
    );
    check(
        &[(LOAD, 20, a()), (UNLOAD, 40, a()), (LOAD, 40, b()), (UNLOAD, 60, b()), (LOAD, 60, a())],
        &[("a.sys", Some(20), Some(40)), ("b.sys", Some(40), Some(60)), ("a.sys", Some(60), None)],
    );
}

/// Where the events do not say the identity, the name decides; where they do, the name may be another one.
#[test]
fn names_decide_where_nothing_else_does() {
    let named = |name: &str| Module { path: format!(r"\SystemRoot\System32\drivers\{name}"), ..a() };
    let unsaid = |name: &str| named(name).with_identity(0, 0);
    let two = |first, second| vec![(first, None, None), (second, Some(40), None)];
    check(&[(START, 10, a()), (LOAD, 40, unsaid("c.sys"))], &two("a.sys", "c.sys"));
    check(&[(START, 10, unsaid("c.sys")), (LOAD, 40, a())], &two("c.sys", "a.sys"));
    check(&[(START, 10, unsaid("a.sys")), (LOAD, 40, unsaid("c.sys"))], &two("a.sys", "c.sys"));
    // A run of # is a placeholder, and matches any name.
    for (first, second) in [(unsaid("####"), unsaid("a.sys")), (unsaid("a.sys"), unsaid("####"))] {
        check(&[(START, 10, first), (END, 90, second)], &[("a.sys", None, None)]);
    }
    check(&[(LOAD, 20, unsaid("####")), (UNLOAD, 60, unsaid("########"))], &[("####", Some(20), Some(60))]);
    // With the same stamp it is one image, whatever it is called; the longer name tells more, else the first one stays.
    let renamed = |first: &str, second: &str, expected: &str| {
        check(&[(LOAD, 20, named(first)), (UNLOAD, 60, named(second))], &[(expected, Some(20), Some(60))]);
    };
    renamed("long.sys", "a.sys", "long.sys");
    renamed("a.sys", "long.sys", "long.sys");
    let found = modules(&[(LOAD, 20, named("a.sys")), (UNLOAD, 60, named("c.sys"))]);
    assert_eq!((found.len(), &*found[0].name), (1, "a.sys"));
}

/// A path that names its volume tells more than one that needs the system root, and that more than one without either;
/// of equals the longer one, then the first.
#[test]
fn the_most_telling_path_is_kept() {
    let check = |telling: &str, other: &str| {
        for (first, second) in [(telling, other), (other, telling)] {
            let at = |path: &str| Module { path: path.to_owned(), ..a() };
            let found = modules(&[(LOAD, 20, at(first)), (END, 90, at(second))]);
            assert_eq!(found.iter().map(|module| &*module.path).collect::<Vec<_>>(), [telling], "{first} {second}");
        }
    };
    let (device, root, bare) = (r"\Device\Vol2\a.sys", r"\SystemRoot\System32\drivers\a.sys", r"\Windows\a.sys");
    check(device, root);
    check(device, bare);
    check(root, bare);
    check(r"C:\a.sys", root);
    check(r"\??\C:\a.sys", root);
    check(root, r"\x:\Windows\System32\drivers\folder\a.sys");
    check(r"\SystemRoot\a.sys", r"\Windows\System32\drivers\folder\a.sys");
    check(r"\Device\Vol2\Windows\a.sys", device);
    let found = modules(&[
        (LOAD, 20, Module { path: r"\Device\Vol2\a.sys".to_owned(), ..a() }),
        (END, 90, Module { path: r"\Device\Vol3\a.sys".to_owned(), ..a() }),
    ]);
    assert_eq!(found[0].path, r"\Device\Vol2\a.sys");
}

#[test]
fn two_providers_that_report_a_load_give_one_module() {
    let mut trace = TraceFile::new();
    trace.load(0, 2_000_000, &a()).unload(0, 6_000_000, &a());
    for (id, tick) in [(5, 2_000_004), (6, 6_000_003)] {
        trace.log(1, kernel_process(id, tick, &a()));
    }
    let file = trace.finish();
    let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default()).modules;
    let found: Vec<_> = found.iter().map(|module| (module.loaded.unwrap().0, module.unloaded.unwrap().0)).collect();
    assert_eq!(found, [(2_000_000, 6_000_000)]);
}

/// The provider alone says all of a module that its manifest has.
#[test]
fn the_kernel_process_provider_alone_names_a_module() {
    let mut trace = TraceFile::new();
    trace.log(1, kernel_process(5, 2_000_004, &a())).log(1, kernel_process(6, 6_000_003, &a()));
    trace.log(1, kernel_process(7, 6_000_004, &b()));
    let file = trace.finish();
    let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default()).modules;
    let [module] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&module.path, module.base, module.size), (&a().path, a().base, a().size));
    assert_eq!((module.checksum, module.timestamp), (Some(a().checksum), Some(a().timestamp)));
    assert_eq!((module.loaded.unwrap().0, module.unloaded.unwrap().0), (2_000_004, 6_000_003));
}

/// Microsoft-Windows-Kernel-Process 5 (ImageLoad) or 6 (ImageUnload) of a 64-bit system.
fn kernel_process(id: u16, tick: i64, module: &Module) -> Event {
    let mut payload = testkit::Asm::new();
    payload.u64(module.base).u64(module.size).u32(module.process).u32(module.checksum).u32(module.timestamp);
    payload.u64(0x1_4000_0000).utf16z(&module.path);
    Event::class(Header::Event64, "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716", id, 0, tick, payload.finish())
}

#[test]
fn a_path_cut_short_is_the_same_module() {
    let cut = |length: usize| {
        let mut module = a();
        module.path.truncate(length);
        module
    };
    let whole = a().path.len();
    // In the name, before the extension, and in a directory whose name is longer than the file's.
    for length in [whole - 1, whole - 4, r"\SystemRoot\System32".len() - 2, 4] {
        let unsaid = Module { timestamp: 0, checksum: 0, ..cut(length) };
        for short in [cut(length), unsaid] {
            check(&[(LOAD, 20, short.clone()), (UNLOAD, 60, a())], &[("a.sys", Some(20), Some(60))]);
            check(&[(LOAD, 20, a()), (UNLOAD, 60, short.clone())], &[("a.sys", Some(20), Some(60))]);
            assert_eq!(modules(&[(LOAD, 20, short), (UNLOAD, 60, a())])[0].path, a().path);
        }
    }
    // Cut in the form that names the volume, while the other event has the short form.
    let mut volume = a();
    volume.path = r"\Device\HarddiskVolume3\Windows\Sys".to_owned();
    let found = modules(&[(LOAD, 20, volume), (UNLOAD, 60, a())]);
    assert_eq!(found.iter().map(|module| &*module.name).collect::<Vec<_>>(), ["a.sys"]);
}

#[test]
fn what_is_not_a_name_gives_way_to_the_original_one() {
    let check = |path: &str, original: &str, pdb: Option<&str>, expected: (&str, &str)| {
        let module = Module { path: path.to_owned(), ..a() };
        let mut trace = TraceFile::new();
        trace.payload(0, 20, &Payload::Image { hook: START, version: 3, module: module.clone() });
        trace.payload(0, 20, &Payload::ImageId(Module { path: original.to_owned(), ..module.clone() }));
        if let Some(pdb) = pdb {
            let pdb = module.with_pdb(pdb, "acec1308-f0ba-64b1-bd3d-4bc7c7e6bfc7", 1);
            trace.payload(0, 20, &Payload::DebugId(pdb));
        }
        let file = trace.finish();
        let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default()).modules;
        let found: Vec<_> = found.iter().map(|module| (&*module.name, &*module.path)).collect();
        assert_eq!(found, [expected], "{path} {original} {pdb:?}");
    };
    check(r"\Device\V3\########", "secret.sys", None, ("secret.sys", r"\Device\V3\secret.sys"));
    check(r"\Device\V3\########", "####", Some(r"x:\obj\secret.pdb"), ("secret", r"\Device\V3\secret"));
    check("", "secret.sys", None, ("secret.sys", "secret.sys"));
    check(r"\Device\V3\########", "", None, ("########", r"\Device\V3\########"));
    // A name stays, whatever the version resource says: that of the kernel is ntkrnlmp.exe.
    check(r"\SystemRoot\ntoskrnl.exe", "ntkrnlmp.exe", None, ("ntoskrnl.exe", r"\SystemRoot\ntoskrnl.exe"));
}

#[test]
fn an_image_event_that_names_no_process_is_told_by_its_address() {
    // Version 0; its header says that process 1234 logged it, which made the rundown.
    let rundown = |module: Module| {
        let payload = Payload::Image { hook: START, version: 0, module };
        let mut event = payload.event(2_000_000, 8);
        (event.header, event.process) = (Header::System64, 1234);
        event
    };
    let user = Module::kernel(r"C:\x\tool.exe", 0x1_4000_0000, 0x9000);
    let mut trace = TraceFile::new();
    trace.log(0, rundown(a())).log(0, rundown(user));
    let file = trace.finish();
    let options = SurveyOptions::default().user_modules(true);
    let found = Trace::parse(&file).unwrap().survey(&options).modules;
    let found: Vec<_> = found.iter().map(|module| (&*module.name, module.kernel, module.process)).collect();
    assert_eq!(found, [("a.sys", true, 0), ("tool.exe", false, 1234)]);
}

#[test]
fn an_event_header_with_the_classic_flag_is_of_a_class() {
    const CLASSIC: u16 = 0x100;
    const IMAGE: &str = "2cb15d1d-5fc1-11d2-abe1-00a0c911f518";
    let payload = Payload::Image { hook: START, version: 3, module: a() }.encode(8);
    let check = |flags: u16, expected: usize| {
        let mut event = Event::class(Header::Event64, IMAGE, 0, 3, 2_000_000, payload.clone());
        (event.flags, event.opcode) = (flags, 3);
        let mut trace = TraceFile::new();
        trace.log(0, event);
        let file = trace.finish();
        let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default()).modules;
        assert_eq!(found.len(), expected, "flags {flags:#x}");
    };
    check(CLASSIC, 1);
    check(0, 0);
}

#[test]
fn kernel_and_user_are_told_by_process_and_address() {
    let mapped = Module::kernel(r"\Windows\System32\ntoskrnl.exe", 0x7ff6_e7aa_0000, 0x104_6000);
    let found = modules(&[
        (START, 10, mapped.clone().in_process(500)),
        (START, 10, mapped),
        (START, 10, a().in_process(4)),
        (START, 10, a()),
        (START, 10, a().in_process(500)),
    ]);
    let found: Vec<_> = found.iter().map(|module| (module.kernel, module.process, module.base == BASE)).collect();
    // A user process has nothing in the kernel's half, whatever an event says; and pid 4's is the kernel's.
    assert_eq!(found, [(true, 0, true), (false, 0, false), (false, 500, false), (false, 500, true)]);
}

#[test]
fn modules_cover_the_time_between_load_and_unload() {
    let found = modules(&[(LOAD, 20, a()), (UNLOAD, 60, a())]);
    let covered: Vec<i64> = (0..80).step_by(10).filter(|&tick| found[0].covers(etl_file::Tick(tick))).collect();
    assert_eq!(covered, [20, 30, 40, 50]);
    assert_eq!((found[0].first_seen.0, found[0].last_seen.0), (20, 60));
}

#[test]
fn debug_information_is_joined_by_base_process_and_time() {
    let pdb = |name: &str| a().with_pdb(name, "acec1308-f0ba-64b1-bd3d-4bc7c7e6bfc7", 1);
    let mut trace = TraceFile::new();
    trace.load(0, 20, &pdb("first.pdb")).unload(0, 30, &a()).load(1, 40, &pdb("second.pdb"));
    // Notes that belong to the System process by name and to the kernel by address; and one of another time.
    trace.payload(2, 40, &Payload::DebugId(pdb("second.pdb").in_process(4)));
    trace.payload(2, 41, &Payload::DebugId(pdb("stray.pdb")));
    let file = trace.finish();
    let found: Survey<'_> = Trace::parse(&file).unwrap().survey(&SurveyOptions::default());
    let names: Vec<_> = found.modules.iter().map(|module| module.pdb.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names, ["first.pdb", "second.pdb"]);
}
