//! `mkdump ipt` over generated systems: what was executed is known exactly.

#[allow(dead_code, reason = "other tests use the rest")]
mod recorded;

use std::collections::BTreeSet;

use mkdump::Choice;
use mkdump::ipt::Inputs;
use mkdump::report::ipt::{FileStatus, FlowEntry, FlowReport, IptReport, ReachedBy, ThreadHits};
use recorded::{MODES, Recorded, runs};
use testkit::dump::pdb_symbols;
use testkit::pt::{Compression, Optimization, PacketWriter, Run, System};
use testkit::trace::Payload;

/// Index of the module that an address of a run lies in, stub pages after it included.
fn module_of(system: &System, address: u64) -> usize {
    system.program.modules.iter().rposition(|module| module.base <= address).expect("code of some module")
}

fn executed(system: &System, runs: &[Run]) -> Vec<u64> {
    let mut counts = vec![0; system.files.len()];
    for address in runs.iter().flat_map(|run| &run.executed) {
        counts[module_of(system, *address)] += 1;
    }
    counts
}

fn system(mode: (Optimization, bool), seed: u64) -> System {
    System::generate(&System::busy(mode.0, mode.1), seed)
}

#[test]
fn every_instruction_is_counted_in_its_module() {
    for (number, mode) in MODES.into_iter().enumerate() {
        let system = system(mode, number as u64);
        let runs = runs(&system, 4, 4000);
        let expected = executed(&system, &runs);
        let recorded = Recorded::new(system, &system_trace(&runs, mode, number as u64), |_| false);
        let report = recorded.report();
        let truth = recorded.system.optimized().map(|(_, on)| on).collect::<Vec<_>>();
        // A module of a mixed system may have too few witnesses; then the flow over it is a guess.
        let module = |index: usize| {
            let base = recorded.system.files[index].base;
            report.verdict.per_module.iter().find(|module| module.base.0 == base)
        };
        let decided = (0..truth.len()).filter_map(|index| Some((index, module(index)?.import_optimization)));
        for (index, answer) in decided.filter(|(_, answer)| ["on", "off"].contains(answer)) {
            assert_eq!(answer == "on", truth[index], "{mode:?} {}", recorded.system.files[index].name);
        }
        if mode.0 != Optimization::Mixed {
            let answer = if mode.0 == Optimization::On { "on" } else { "off" };
            assert_eq!(report.verdict.import_optimization, answer, "{mode:?}: {}", report.verdict.reason);
            let found: Vec<u64> = instructions(&recorded.system, &report);
            assert_eq!(found, expected, "{mode:?}");
            assert_eq!((report.flow.errors, report.errors_total), (0, 0), "{mode:?} {:?}", report.errors);
        }
        assert_eq!(report.flow.retpoline.mode, if mode.1 { "on" } else { "off" }, "{mode:?}");
        assert!(report.modules.iter().all(|module| module.status == FileStatus::Present));
    }
}

fn system_trace(runs: &[Run], mode: (Optimization, bool), seed: u64) -> testkit::trace::TraceFile {
    system(mode, seed).trace_of(runs)
}

fn instructions(system: &System, report: &IptReport) -> Vec<u64> {
    let of = |base: u64| report.modules.iter().find(|module| module.base.0 == base).map_or(0, |m| m.instructions);
    system.files.iter().map(|file| of(file.base)).collect()
}

/// The addresses of instructions that ranges stand for are those that were executed, in order.
fn check_ranges(report: &FlowReport, run: &Run, what: &str) {
    let mut rest = run.executed.iter().copied().peekable();
    for entry in &report.flow {
        let FlowEntry::Executed { at, size, times } = entry else { continue };
        for _ in 0..*times {
            assert_eq!(rest.peek(), Some(&at.address.0), "{what}");
            let mut last = None;
            while let Some(address) = rest.next_if(|next| {
                let offset = next.wrapping_sub(at.address.0);
                offset < *size && last.is_none_or(|last| *next > last)
            }) {
                last = Some(address);
            }
        }
    }
    assert_eq!(rest.next(), None, "{what}");
}

#[test]
fn the_flow_is_what_was_executed() {
    for (number, mode) in MODES.into_iter().enumerate().filter(|(_, mode)| mode.0 != Optimization::Mixed) {
        let system = system(mode, 40 + number as u64);
        let runs = runs(&system, 3, 3000);
        let trace = system.trace_of(&runs);
        let recorded = Recorded::new(system, &trace, |_| false);
        // Short runs may not tell whether retpoline was on.
        let choice = |on| if on { Choice::On } else { Choice::Off };
        let mut options = recorded.options();
        options.import_optimization = choice(mode.0 == Optimization::On);
        options.retpoline = choice(mode.1);
        let (reports, summary) = recorded.flow(&options);
        assert_eq!((reports.len(), summary.missing.len(), summary.unknown.len()), (3, 0, 0));
        for report in &reports {
            // Snapshots are in the order of processors, as runs are.
            let run = &runs[report.snapshot.index];
            check_ranges(report, run, &format!("{mode:?} {}", report.snapshot.index));
            let interrupts = report.flow.iter().filter(|entry| matches!(entry, FlowEntry::Interrupt { .. })).count();
            assert_eq!(interrupts, run.interrupts, "{mode:?}");
            assert!(!report.cut && !report.flow.iter().any(|entry| matches!(entry, FlowEntry::Gap { .. })));
        }
    }
}

#[test]
fn one_run_names_every_module_that_is_missing() {
    for (number, mode) in MODES.into_iter().enumerate() {
        let seed = 80 + number as u64;
        let names: Vec<String> = system(mode, seed).files.iter().map(|file| file.name.clone()).collect();
        let runs = runs(&system(mode, seed), 4, 4000);
        let executed = executed(&system(mode, seed), &runs);
        for gone in 1..names.len() {
            let recorded =
                Recorded::new(system(mode, seed), &system_trace(&runs, mode, seed), |name| name == names[gone]);
            let report = recorded.report();
            let file = &recorded.system.files[gone];
            let found = report.modules.iter().find(|module| module.base.0 == file.base);
            let what = format!("{mode:?} {}", names[gone]);
            if executed[gone] > 0 {
                let found = found.unwrap_or_else(|| panic!("{what} ran and is not named"));
                assert_eq!((&found.name, found.status), (&names[gone], FileStatus::Missing), "{what}");
                let key = format!("{:08X}{:x}", file.timestamp, file.size);
                assert_eq!(found.image_key.as_deref(), Some(&*key), "{what}");
                assert_ne!(found.reached_by, ReachedBy::ImportClosure, "{what}: {found:?}");
                // While a file is missing, errors are not blamed on the version of another one.
                assert!(report.errors.iter().all(|error| !error.likely.contains("version")), "{:?}", report.errors);
                let (_, summary) = recorded.flow(&recorded.options());
                let named: Vec<&str> = summary.missing.iter().map(|module| &*module.name).collect();
                assert_eq!(named, [&*names[gone]], "{what}");
            }
            assert!(report.modules.iter().all(|m| (m.status == FileStatus::Missing) == (m.base.0 == file.base)));
        }
    }
}

/// A system and a trace with these addresses in snapshots of (process, thread).
fn with_hits(hits: &[((u32, u32), &[u64])], names: bool) -> Recorded {
    let system = system((Optimization::On, false), 5);
    let mut trace = system.trace();
    if names {
        for (pid, name) in [(4, "System"), (1234, "demo.exe")] {
            let (name, command_line) = (name.to_owned(), String::new());
            let process =
                Payload::Process { opcode: 3, pid, directory_table_base: 0x1000, name, command_line, sid: None };
            trace.payload(0, 1_500_000, &process);
        }
        trace.payload(0, 1_500_000, &Payload::Thread { opcode: 3, pid: 1234, tid: 5000, name: "worker".into() });
    }
    for (number, (owner, addresses)) in hits.iter().enumerate() {
        trace.ipt(number as u16 % 2, 2_000_000 + 100_000 * number as i64, *owner, &packets(addresses), 0);
    }
    Recorded::new(system, &trace, |_| true)
}

/// Alternating packet kinds: TIP, FUP and TIP.PGD with TIP.PGE.
fn packets(addresses: &[u64]) -> Vec<u8> {
    let mut writer = PacketWriter::new();
    writer.psb().mode(0, 1).psbend();
    for (number, address) in addresses.iter().enumerate() {
        match number % 4 {
            0 => writer.tip(*address, Compression::Shortest),
            1 => writer.fup(*address, Compression::Shortest),
            2 => writer.pgd(*address, Compression::Shortest),
            _ => writer.pge(*address, Compression::Shortest),
        };
    }
    writer.finish()
}

#[test]
fn hits_are_told_by_module_and_thread_without_any_file() {
    let bases: Vec<u64> = system((Optimization::On, false), 5).files.iter().map(|file| file.base).collect();
    let (a, b, nowhere) = (bases[0] + 0x1000, bases[1] + 0x1004, bases[0] - 0x10_0000);
    let recorded = with_hits(
        &[((4, 8), &[a, a + 4, b, nowhere, nowhere + 8]), ((1234, 5000), &[b, b, a, b + 9, a]), ((4, 8), &[a])],
        true,
    );
    let report = recorded.report();
    let found: Vec<_> = report.modules.iter().map(|m| (m.base.0, m.hits, m.threads.clone(), m.status)).collect();
    let hits = |pid, tid, hits| ThreadHits { pid, tid, hits };
    assert_eq!(
        found,
        [
            (bases[0], 5, vec![hits(4, 8, 3), hits(1234, 5000, 2)], FileStatus::Missing),
            (bases[1], 4, vec![hits(4, 8, 1), hits(1234, 5000, 3)], FileStatus::Missing),
        ]
    );
    assert_eq!(
        report.unknown.iter().map(|page| (page.address.0, page.hits)).collect::<Vec<_>>(),
        [(nowhere & !0xfff, 2)]
    );
    let threads: Vec<_> =
        report.threads.iter().map(|t| (t.pid, t.tid, t.process.as_deref(), t.snapshots, t.hits)).collect();
    assert_eq!(threads, [(Some(4), Some(8), Some("System"), 2, 6), (Some(1234), Some(5000), Some("demo.exe"), 1, 5)]);
    assert_eq!(report.flow.instructions, 0);
    assert_eq!((report.verdict.import_optimization, report.verdict.retpoline), ("undecided", "undecided"));
    // By processor and time: the third was logged on the first processor.
    let listed: Vec<_> =
        report.snapshots.iter().map(|s| (s.facts.index, s.facts.cpu, s.facts.tid, s.facts.thread.as_deref())).collect();
    assert_eq!(
        listed,
        [(0, Some(0), Some(8), None), (1, Some(0), Some(8), None), (2, Some(1), Some(5000), Some("worker"))]
    );
    assert!(
        report.snapshots.iter().all(|s| s.facts.trigger.as_deref() == Some("CSwitch") && s.psb == 1 && s.gaps == 0)
    );
    let times: Vec<_> = report.snapshots.iter().map(|s| s.facts.time.unwrap()).collect();
    assert_eq!(times, [0.1, 0.12, 0.11]);
}

#[test]
fn a_choice_limits_everything() {
    let base = system((Optimization::On, false), 5).files[0].base + 0x1000;
    let recorded = with_hits(&[((4, 8), &[base]), ((1234, 5000), &[base; 3]), ((4, 12), &[base; 5])], true);
    let check = |change: &dyn Fn(&mut mkdump::ipt::choose::SnapshotChoice), indexes: &[usize], hits: u64| {
        let mut options = recorded.options();
        change(&mut options.choice);
        let report = recorded.try_report(&options).unwrap();
        assert_eq!(report.snapshots.iter().map(|s| s.facts.index).collect::<Vec<_>>(), indexes, "{:?}", options.choice);
        assert_eq!((report.snapshots_total, report.modules[0].hits), (3, hits), "{:?}", options.choice);
    };
    check(&|_| {}, &[0, 1, 2], 9);
    check(&|choice| choice.numbers = vec![1..=2], &[1, 2], 8);
    check(&|choice| choice.processes = vec!["Demo".into()], &[2], 3);
    check(&|choice| choice.processes = vec!["4".into()], &[0, 1], 6);
    check(&|choice| choice.threads = vec![12], &[1], 5);
    check(&|choice| (choice.from, choice.to) = (Some(0.105), Some(0.115)), &[2], 3);
    check(&|choice| choice.cpus = vec![0], &[0, 1], 6);
    let mut options = recorded.options();
    options.choice.processes = vec!["nobody".into()];
    let error = recorded.try_report(&options).unwrap_err().to_string();
    assert!(error.contains("System (4), demo.exe (1234)"), "{error}");
}

#[test]
fn data_saved_by_hand_counts_like_the_traces_own() {
    let mode = (Optimization::On, false);
    let runs = runs(&system(mode, 9), 2, 3000);
    let own = Recorded::new(system(mode, 9), &system(mode, 9).trace_of(&runs), |_| false).report();
    let recorded = Recorded::new(system(mode, 9), &system(mode, 9).trace(), |_| false);
    let empty = recorded.report();
    assert_eq!((empty.snapshots.len(), empty.snapshots_total, empty.modules.len()), (0, 0, 0));
    let hex: Vec<String> = runs[0].packets.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(recorded.path("saved.txt"), hex.join(" ")).unwrap();
    std::fs::write(recorded.path("saved.bin"), &runs[1].packets).unwrap();
    let mut options = recorded.options();
    options.inputs = Inputs { hex: vec![recorded.path("saved.txt")], bin: vec![recorded.path("saved.bin")] };
    let saved = recorded.try_report(&options).unwrap();
    let files: Vec<_> =
        saved.snapshots.iter().map(|s| (s.facts.file.as_deref(), s.facts.time, s.facts.bytes)).collect();
    let sizes = runs.iter().map(|run| run.packets.len() as u64).collect::<Vec<_>>();
    assert_eq!(files, [(Some("saved.txt"), None, sizes[0]), (Some("saved.bin"), None, sizes[1])]);
    let sums = |report: &IptReport| {
        let modules = report.modules.iter().map(|m| (m.base, m.hits, m.instructions)).collect::<Vec<_>>();
        (modules, report.verdict.votes_on, report.verdict.votes_off, report.flow.instructions)
    };
    assert_eq!(sums(&saved), sums(&own));
}

#[test]
fn evidence_names_sites_of_the_program() {
    let mode = (Optimization::Off, false);
    let runs = runs(&system(mode, 3), 4, 4000);
    let recorded = Recorded::new(system(mode, 3), &system_trace(&runs, mode, 3), |_| false);
    let mut options = recorded.options();
    options.evidence = true;
    let report = recorded.try_report(&options).unwrap();
    let votes: Vec<_> = report.verdict.per_module.iter().flat_map(|m| m.evidence.iter().flatten()).collect();
    assert!(votes.len() >= 16, "{} votes", votes.len());
    let sites: Vec<_> = recorded.system.program.modules.iter().flat_map(|module| &module.sites).collect();
    for vote in votes {
        let site = sites.iter().find(|site| site.va == vote.site.0).expect("a site of the program");
        assert_eq!((site.target, vote.says), (vote.expected.0, "off"));
        let snapshot = &report.snapshots[vote.snapshot];
        assert!((vote.offset as u64) < snapshot.facts.bytes, "offset {} of {}", vote.offset, snapshot.facts.bytes);
    }
    assert!(recorded.report().verdict.per_module.iter().all(|module| module.evidence.is_none()));
}

const GUID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

#[test]
fn the_flow_names_exports_where_there_is_no_pdb() {
    let mode = (Optimization::On, false);
    let runs = runs(&system(mode, 11), 1, 500);
    let recorded = Recorded::new(system(mode, 11), &system_trace(&runs, mode, 11), |_| false);
    let (reports, _) = recorded.flow(&recorded.options());
    let names: BTreeSet<&str> = reports[0]
        .flow
        .iter()
        .filter_map(|entry| match entry {
            FlowEntry::Executed { at, .. } => at.symbol.as_deref(),
            _ => None,
        })
        .collect();
    assert!(names.contains("M0Function0"), "the system call entry: {names:?}");
    assert!(names.iter().any(|name| name.contains("+0x")), "{names:?}");
}

#[test]
fn the_flow_names_symbols_of_pdbs_in_a_store() {
    let mode = (Optimization::On, false);
    let runs = runs(&system(mode, 11), 1, 500);
    let mut trace = system_trace(&runs, mode, 11);
    let file = &system(mode, 11).files[0];
    let module = testkit::trace::Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", file.base, file.size.into())
        .with_identity(file.timestamp, file.checksum)
        .with_pdb("ntkrnlmp.pdb", "04030201-0605-0807-090A-0B0C0D0E0F10", 3);
    // A merge writes them with the time of the image event that they belong to.
    trace.payload(0, 1_000_300, &Payload::ImageId(module.clone())).payload(0, 1_000_300, &Payload::DebugId(module));
    let recorded = Recorded::new(system(mode, 11), &trace, |_| false);
    let entry = (recorded.system.program.entry - recorded.system.files[0].base) as u32;
    let pdb = pdb_symbols::symbols(GUID, 3, &[0x1000], &[(1, entry - 0x1000, "KiSystemCall64")], &[]);
    let store = recorded.path("modules").join("ntkrnlmp.pdb").join("0403020106050807090A0B0C0D0E0F103");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("ntkrnlmp.pdb"), pdb).unwrap();
    let (reports, _) = recorded.flow(&recorded.options());
    let first = reports[0].flow.iter().find_map(|entry| match entry {
        FlowEntry::Executed { at, .. } => Some(at.clone()),
        _ => None,
    });
    assert_eq!(first.and_then(|at| at.symbol).as_deref(), Some("KiSystemCall64"));
}

/// Modules whose files have the right identity and other code.
fn with_other_code(mut system: System) -> System {
    for (module, file) in system.program.modules.iter().zip(&mut system.files) {
        let last = module.functions.last().unwrap() - module.base - 0x1000;
        // The code begins at 0x400 in the file. Moved by some bytes, it decodes as something else.
        file.bytes[0x400..0x400 + last as usize].rotate_left(5);
    }
    system
}

#[test]
fn how_well_the_packets_were_followed_is_a_number() {
    let good = system((Optimization::On, false), 60);
    let runs = runs(&good, 3, 20_000);
    let trace = good.trace_of(&runs);
    let report = Recorded::new(good, &trace, |_| false).report();
    assert_eq!(report.doubt(), None);
    let all = report.flow.quality.as_ref().expect("there is code");
    assert_eq!((all.share_followed, all.out_of_step, &all.doubt), (Some(1.0), 0, &None));
    assert_eq!(all.bytes, report.snapshots.iter().map(|one| one.facts.bytes - one.before_sync).sum::<u64>());
    for one in &report.snapshots {
        assert_eq!(one.quality.as_ref().and_then(|quality| quality.share_followed), Some(1.0));
    }

    let report = Recorded::new(with_other_code(system((Optimization::On, false), 60)), &trace, |_| false).report();
    let all = report.flow.quality.as_ref().expect("there is code");
    assert!(all.out_of_step >= 50 && all.out_of_step_per_mib > Some(5000.0), "{all:?}");
    let doubt = report.doubt().expect("nonsense");
    assert!(doubt.contains("the code is not what ran"), "{doubt}");

    // Without files there is nothing to follow, and nothing to doubt.
    let report = Recorded::new(system((Optimization::On, false), 60), &trace, |_| true).report();
    assert_eq!((report.doubt(), report.flow.quality), (None, None));
}
