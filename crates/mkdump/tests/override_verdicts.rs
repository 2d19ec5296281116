//! Function overrides decided from packets: generated systems of the 24H2 kind, whose calls ran as linked or re-pointed.

#[allow(dead_code, reason = "other tests use the rest")]
mod recorded;

use std::collections::HashMap;

use mkdump::report::ipt::IptReport;
use mkdump::{Choice, GivenCapability};
use recorded::{Recorded, runs};
use testkit::pt::{Hardware, Machine, Optimization, Overrides, Run, Shape, System};

/// What a machine did.
#[derive(Clone, Copy, Debug)]
struct Did {
    guarded: bool,
    memset: Option<usize>,
    checked: bool,
}

const AS_LINKED: Did = Did { guarded: false, memset: None, checked: false };
const OVERRIDDEN: Did = Did { guarded: true, memset: Some(0), checked: false };

const LONG: &[u32] = &[16, 64, 128, 799, 800, 4096];

fn system(did: Did, sizes: &[u32], seed: u64) -> System {
    let Did { guarded, memset, checked } = did;
    let overrides = Overrides { guarded, memset, checked, flag: true, sizes: sizes.to_vec(), percent: 35 };
    let busy = System::busy(Optimization::On, false);
    let shape = Shape { overrides: Some(overrides), far_module: true, modules: 3, import_percent: 15, ..busy };
    System::generate(&shape, seed)
}

/// A system in whose runs the drivers make some calls of each overridden function.
fn busy(did: Did, sizes: &[u32]) -> (Recorded, Vec<Run>) {
    busy_on(did, sizes, |system| runs(system, 4, 4000))
}

fn busy_on(did: Did, sizes: &[u32], runs: impl Fn(&System) -> Vec<Run>) -> (Recorded, Vec<Run>) {
    let all = (1..150).map(|seed| system(did, sizes, seed));
    let made = |system: &System, runs: &[Run]| {
        let drivers = system.program.modules[1..].iter().filter_map(|module| module.overridden.as_ref());
        let calls: HashMap<u64, bool> =
            drivers.flat_map(|functions| &functions.calls).map(|call| (call.va, call.is_guarded)).collect();
        let executed = runs.iter().flat_map(|run| &run.executed);
        let made: Vec<bool> = executed.filter_map(|ip| calls.get(ip).copied()).collect();
        [true, false].map(|kind| made.iter().filter(|&&made| made == kind).count()).into_iter().min()
    };
    let all = all.map(|system| (runs(&system), system));
    let (runs, system) = all.max_by_key(|(runs, system)| made(system, runs)).expect("there are some");
    let trace = system.trace_of(&runs);
    (Recorded::new(system, &trace, |_| false), runs)
}

/// Instructions by module, those of the page after it included.
fn executed(system: &System, runs: &[Run]) -> Vec<u64> {
    let mut counts = vec![0; system.files.len()];
    for address in runs.iter().flat_map(|run| &run.executed) {
        counts[system.program.modules.iter().rposition(|module| module.base <= *address).unwrap()] += 1;
    }
    counts
}

fn instructions(system: &System, report: &IptReport) -> Vec<u64> {
    let of = |base: u64| report.modules.iter().find(|module| module.base.0 == base).map_or(0, |m| m.instructions);
    system.files.iter().map(|file| of(file.base)).collect()
}

fn doubts(report: &IptReport) -> Vec<&str> {
    report.warnings.iter().map(String::as_str).filter(|warning| warning.starts_with("function overrides")).collect()
}

#[track_caller]
fn check(did: Did, mode: &str, words: &[&str]) {
    let (recorded, runs) = busy(did, LONG);
    let report = recorded.report();
    let told = &report.flow.function_overrides;
    assert_eq!(told.mode, mode, "{did:?}: {}", told.reason);
    for words in words {
        let verdict = &report.verdict;
        let (asked, checked) = (&verdict.overrides, &verdict.kernel_cfg);
        assert!(told.reason.contains(words), "{did:?}: {}; {asked:?} {checked:?}", told.reason);
    }
    let expected = executed(&recorded.system, &runs);
    assert_eq!(instructions(&recorded.system, &report), expected, "{did:?}");
    assert_eq!(report.errors_total, 0, "{did:?}: {:?}", report.errors);
    // Every choice is known from the calls: what is doubtful is where the copy lies.
    let doubts: Vec<_> = doubts(&report).into_iter().filter(|doubt| !doubt.contains("begin right after")).collect();
    assert_eq!(doubts, [""; 0], "{did:?}");
}

#[test]
fn as_linked() {
    check(AS_LINKED, "off", &["decided from", "0 re-pointed"]);
}

#[test]
fn overridden() {
    check(OVERRIDDEN, "on", &["decided from", "re-pointed, 0 as linked"]);
}

#[test]
fn the_other_alternative_makes_its_capability_known() {
    check(Did { memset: Some(1), ..OVERRIDDEN }, "on", &["decided from"]);
}

#[test]
fn with_kernel_cfg() {
    check(
        Did { checked: true, ..OVERRIDDEN },
        "on",
        &["decided from", "looked at the bitmap of kernel CFG (HVCI) first"],
    );
    check(Did { checked: true, ..AS_LINKED }, "off", &["decided from", "kernel CFG (HVCI)"]);
}

#[test]
fn what_packets_do_not_show_stays_assumed() {
    // Without interrupts and synchronisation points, no packet tells an address inside of memset.
    let hardware = Hardware { psb_every: usize::MAX, ..Hardware::default() };
    let machine = Machine { hardware, interrupts: 0, orderly_end: false, ..Machine::default() };
    let quiet = |system: &System| (0..4).map(|seed| machine.run(&system.program, 4000, seed)).collect();
    let (recorded, _) = busy_on(OVERRIDDEN, &[16, 48], quiet);
    let mut report = recorded.report();
    report.warnings.retain(|warning| warning.contains("assumed: 0 (ERMS) set"));
    assert_eq!(report.flow.function_overrides.mode, "on");
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
}

#[test]
fn the_users_word_comes_first() {
    let (recorded, _) = busy(OVERRIDDEN, LONG);
    for (choice, mode) in [(Choice::Off, "off"), (Choice::On, "on")] {
        let mut options = recorded.options();
        options.function_overrides = choice;
        let report = recorded.try_report(&options).unwrap();
        let told = &report.flow.function_overrides;
        assert_eq!((told.mode, told.reason.as_str()), (mode, "asked for"));
    }
    // A capability that the user gives stays as given, and a warning says that the calls disagree.
    let mut options = recorded.options();
    options.capabilities = vec![GivenCapability { number: 0, is_set: false }];
    let report = recorded.try_report(&options).unwrap();
    let told = doubts(&report);
    assert!(told.iter().any(|doubt| doubt.contains("led to alternative 0, to which no processor leads")), "{told:?}");
}
