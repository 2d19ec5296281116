//! The module timeline: which intervals come of which events.

use etl_file::{Module as Found, Survey, SurveyOptions, Trace, survey};
use testkit::trace::{Module, Payload, TraceFile};

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
    let options = SurveyOptions { user_modules: true, ..SurveyOptions::default() };
    survey(&Trace::open(&file).unwrap(), &options, &|_| ()).modules
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
    // Another build of the same driver is another module.
    let newer = a().with_identity(0x7000_0000, 1);
    check(
        &[(START, 10, a()), (UNLOAD, 30, a()), (LOAD, 40, newer)],
        &[("a.sys", None, Some(30)), ("a.sys", Some(40), None)],
    );
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
    let found: Survey<'_> = survey(&Trace::open(&file).unwrap(), &SurveyOptions::default(), &|_| ());
    let names: Vec<_> = found.modules.iter().map(|module| module.pdb.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names, ["first.pdb", "second.pdb"]);
}
