//! Call trees of recorded systems: every function with the instructions that the machine executed in it.

use std::collections::BTreeMap;

use mkdump::Choice;
use mkdump::report::ipt::{CallKind, CallsChoice, CallsReport, SymbolPattern, debugger_name};
use recorded::{MODES, Recorded, runs};
use testkit::pt::{Optimization, Run, System};

#[allow(dead_code, reason = "other tests use the rest")]
mod recorded;

fn recorded(mode: (Optimization, bool), seed: u64, without: &str) -> (Recorded, Vec<Run>) {
    let system = System::generate(&System::busy(mode.0, mode.1), seed);
    let runs = runs(&system, 3, 3000);
    let trace = system.trace_of(&runs);
    (Recorded::new(system, &trace, |name| name == without), runs)
}

/// Instructions by the name of the function, from the machine; stubs for retpoline are not counted.
fn truth(system: &System, run: &Run) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for ip in &run.executed {
        let modules = system.program.modules.iter().enumerate();
        for (number, module) in modules.filter(|(_, module)| (module.base..module.end()).contains(ip)) {
            let starts = module.functions.iter().enumerate().filter(|(_, start)| *start <= ip);
            let (function, _) = starts.max_by_key(|(_, start)| **start).unwrap();
            *counts.entry(format!("M{number}Function{function}")).or_insert(0) += 1;
        }
    }
    counts
}

fn found(report: &CallsReport) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for entry in &report.calls {
        if let CallKind::Function { at, instructions, .. } = &entry.what
            && let Some(symbol) = &at.symbol
            && *instructions > 0
            // Stubs for retpoline have no names, so the nearest one is that of a function before them.
            && !symbol.contains('+')
        {
            *counts.entry(symbol.clone()).or_insert(0) += instructions;
        }
    }
    counts
}

#[test]
fn the_calls_are_those_that_were_made() {
    for (number, mode) in MODES.into_iter().enumerate().filter(|(_, mode)| mode.0 != Optimization::Mixed) {
        let (recorded, runs) = recorded(mode, 40 + number as u64, "");
        let choice = |on| if on { Choice::On } else { Choice::Off };
        let mut options = recorded.options();
        options.import_optimization = choice(mode.0 == Optimization::On);
        options.retpoline = choice(mode.1);
        let (reports, summary) = recorded.calls(&options, &CallsChoice::default());
        assert_eq!((reports.len(), summary.summary.missing.len()), (3, 0));
        for report in &reports {
            let run = &runs[report.snapshot.index];
            assert_eq!(report.instructions, run.executed.len() as u64, "{mode:?}");
            assert_eq!((report.calls.len() as u64, report.left_out), (report.lines, 0));
            assert_eq!(found(report), truth(&recorded.system, run), "{mode:?}");
        }
        let functions = recorded.functions(&options);
        let is_named = |symbol: &Option<String>| symbol.as_ref().is_some_and(|symbol| !symbol.contains('+'));
        let named = functions.functions.iter().filter(|function| is_named(&function.at.symbol));
        let sums: BTreeMap<String, u64> = named
            .filter(|function| function.instructions > 0)
            .map(|function| (function.at.symbol.clone().unwrap(), function.instructions))
            .collect();
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for (name, count) in runs.iter().flat_map(|run| truth(&recorded.system, run)) {
            *expected.entry(name).or_insert(0) += count;
        }
        assert_eq!(sums, expected, "{mode:?}");
        let of_modules: u64 = functions.modules.iter().map(|module| module.instructions).sum();
        assert_eq!(of_modules, runs.iter().map(|run| run.executed.len() as u64).sum::<u64>(), "{mode:?}");
        let all: u64 = summary.stacks.iter().map(|(_, instructions)| instructions).sum();
        assert_eq!(all, runs.iter().map(|run| run.executed.len() as u64).sum::<u64>(), "{mode:?}");
    }
}

#[test]
fn a_missing_module_is_named_and_a_part_is_chosen_by_name() {
    let (recorded, _) = recorded((Optimization::On, false), 40, "driver1.sys");
    let (reports, summary) = recorded.calls(&recorded.options(), &CallsChoice::default());
    let missing: Vec<&str> = summary.summary.missing.iter().map(|module| &*module.name).collect();
    assert_eq!(missing, ["driver1.sys"]);
    let functions = recorded.functions(&recorded.options());
    let unknown: Vec<_> = functions.functions.iter().flat_map(|function| &function.unknown_calls).collect();
    assert!(!unknown.is_empty() && unknown.iter().all(|calls| calls.module.as_deref() == Some("driver1.sys")));
    let is_gap = |kind: &CallKind| matches!(kind, CallKind::Missing { .. } | CallKind::UnknownCall { .. });
    assert!(reports.iter().flat_map(|report| &report.calls).any(|entry| is_gap(&entry.what)));
    let from = |pattern: &str| CallsChoice {
        from: Some(SymbolPattern::new(pattern).unwrap()),
        depth: Some(1),
        ..CallsChoice::default()
    };
    for (pattern, some) in [("m2function*", true), ("driver2!M2*", true), ("driver1!M2*", false), ("nothing", false)] {
        let (reports, summary) = recorded.calls(&recorded.options(), &from(pattern));
        let lines: Vec<_> = reports.iter().flat_map(|report| &report.calls).collect();
        assert_eq!(!lines.is_empty(), some, "{pattern}");
        assert!(lines.iter().all(|entry| match &entry.what {
            CallKind::Function { at, .. } => entry.depth == 0 && at.module.as_deref() == Some("driver2.sys"),
            _ => false,
        }));
        let told = summary.summary.warnings.iter().any(|warning| warning.contains("no function that ran is named"));
        assert_eq!(told, !some, "{pattern}");
    }
}

#[test]
fn modules_are_named_as_debuggers_do() {
    for (file, name) in [("ntoskrnl.exe", "ntoskrnl"), ("a-b.c.sys", "a_b_c"), ("none", "none")] {
        assert_eq!(debugger_name(file), name);
    }
}
