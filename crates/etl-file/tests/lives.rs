//! Processes and threads over time: which events give which lives.

use etl_file::{Survey, SurveyOptions, Tick, Trace};
use testkit::trace::{Payload, TraceFile};

/// What happens: opcode (1 start, 2 end, 3 and 4 rundown) and time.
type Step = (u8, i64);
const START: u8 = 1;
const END: u8 = 2;
const RUNDOWN: u8 = 3;
const LAST_RUNDOWN: u8 = 4;

fn surveyed(log: impl Fn(&mut TraceFile), check: impl FnOnce(Survey<'_>)) {
    let mut trace = TraceFile::new();
    trace.start_tick = 0;
    log(&mut trace);
    let file = trace.finish();
    check(Trace::parse(&file).unwrap().survey(&SurveyOptions::default()));
}

fn process(opcode: u8, pid: u32, name: &str, command_line: &str, directory_table_base: u64) -> Payload {
    let (name, command_line) = (name.to_owned(), command_line.to_owned());
    Payload::Process { opcode, pid, directory_table_base, name, command_line, sid: None }
}

fn thread(opcode: u8, pid: u32, tid: u32, name: &str) -> Payload {
    Payload::Thread { opcode, pid, tid, name: name.to_owned() }
}

/// First mention, start and end of each life of one id, the same for a process and for a thread.
fn check(steps: &[Step], expected: &[(i64, Option<i64>, Option<i64>)]) {
    let forwards: Vec<Step> = steps.to_vec();
    let backwards: Vec<Step> = steps.iter().rev().copied().collect();
    for steps in [forwards, backwards] {
        let log = |trace: &mut TraceFile| {
            for &(opcode, tick) in &steps {
                trace.payload(0, tick, &process(opcode, 8, "a.exe", "", 1));
                trace.payload(0, tick, &thread(opcode, 8, 12, "main"));
                // Others with ids beside these, which have lives of their own.
                trace.payload(0, tick, &process(RUNDOWN, 4, "System", "", 1));
                trace.payload(0, tick, &thread(RUNDOWN, 4, 12, "other"));
                trace.payload(0, tick, &thread(RUNDOWN, 8, 16, "other"));
            }
        };
        surveyed(log, |survey| {
            let found: Vec<_> = survey
                .processes
                .iter()
                .filter(|one| one.pid == 8)
                .map(|one| (one.first_seen.0, one.started.map(|tick| tick.0), one.ended.map(|tick| tick.0)))
                .collect();
            assert_eq!(found, expected, "processes, {steps:?}");
            let found: Vec<_> = survey
                .threads
                .iter()
                .filter(|one| (one.pid, one.tid) == (8, 12))
                .map(|one| (one.first_seen.0, one.started.map(|tick| tick.0), one.ended.map(|tick| tick.0)))
                .collect();
            assert_eq!(found, expected, "threads, {steps:?}");
            let others = survey.threads.len() - found.len();
            assert_eq!((survey.processes.len() - found.len(), others), (1, 2), "{steps:?}");
        });
    }
}

#[test]
fn events_merge_into_lives() {
    check(&[(RUNDOWN, 10)], &[(10, None, None)]);
    check(&[(RUNDOWN, 10), (LAST_RUNDOWN, 90)], &[(10, None, None)]);
    check(&[(START, 20), (END, 60)], &[(20, Some(20), Some(60))]);
    check(&[(START, 20), (LAST_RUNDOWN, 90)], &[(20, Some(20), None)]);
    check(&[(RUNDOWN, 10), (END, 60)], &[(10, None, Some(60))]);
    check(&[(END, 60)], &[(60, None, Some(60))]);
    // An event that was logged twice.
    check(&[(START, 20), (END, 60), (END, 60)], &[(20, Some(20), Some(60))]);
}

#[test]
fn an_id_is_used_again_after_its_owners_end() {
    check(&[(START, 20), (END, 40), (START, 50), (END, 60)], &[(20, Some(20), Some(40)), (50, Some(50), Some(60))]);
    // At the very tick of it.
    check(&[(START, 20), (END, 40), (START, 40), (END, 60)], &[(20, Some(20), Some(40)), (40, Some(40), Some(60))]);
    check(&[(RUNDOWN, 10), (END, 40), (START, 40)], &[(10, None, Some(40)), (40, Some(40), None)]);
    // A process that ends in the tick in which it starts: the first with its id, and a later one.
    check(&[(START, 40), (END, 40)], &[(40, Some(40), Some(40))]);
    // The end was not logged.
    check(&[(START, 20), (START, 50)], &[(20, Some(20), None), (50, Some(50), None)]);
    check(&[(START, 20), (END, 40), (LAST_RUNDOWN, 90)], &[(20, Some(20), Some(40)), (90, None, None)]);
    check(&[(START, 20), (END, 40), (END, 60)], &[(20, Some(20), Some(40)), (60, None, Some(60))]);
}

/// Where no start was seen, each of an id's owners may have been there before all of them were: the first is the answer.
#[test]
fn before_the_first_mention_the_next_one_counts() {
    let log = |trace: &mut TraceFile| {
        for (tick, opcode) in [(50, RUNDOWN), (60, END), (70, RUNDOWN), (80, END), (90, LAST_RUNDOWN)] {
            trace.payload(0, tick, &process(opcode, 8, "", "", 1));
            trace.payload(0, tick, &thread(opcode, 8, 12, ""));
        }
    };
    surveyed(log, |survey| {
        for (tick, seen) in [(-5, 50), (40, 50), (50, 50), (60, 50), (65, 70), (75, 70), (80, 70), (85, 90), (99, 90)] {
            let process = survey.process_at(8, Tick(tick)).unwrap();
            let thread = survey.thread_at(12, Tick(tick)).unwrap();
            assert_eq!((process.first_seen, thread.first_seen), (Tick(seen), Tick(seen)), "at {tick}");
        }
    });
}

/// What one event leaves empty another one says; what is said first stands.
#[test]
fn names_and_page_tables_come_from_any_event_of_a_life() {
    let processes = |events: &[Payload], expected: (&str, &str, Option<u64>)| {
        let log = |trace: &mut TraceFile| {
            for (tick, event) in (10..).zip(events) {
                trace.payload(0, tick, event);
            }
        };
        surveyed(log, |survey| {
            let [one] = survey.processes.as_slice() else { panic!("{:?}", survey.processes) };
            assert_eq!((&*one.name, &*one.command_line, one.directory_table_base), expected, "{events:?}");
            assert_eq!((one.parent, one.session), (4, 1));
        });
    };
    let full = process(LAST_RUNDOWN, 8, "a.exe", "a -b", 0x1000);
    processes(&[process(START, 8, "", "", 0), full.clone()], ("a.exe", "a -b", Some(0x1000)));
    processes(&[process(START, 8, "a.exe", "", 0x2000), full.clone()], ("a.exe", "a -b", Some(0x2000)));
    processes(&[process(START, 8, "b.exe", "b", 0), full], ("b.exe", "b", Some(0x1000)));
    processes(&[process(START, 8, "a.exe", "a", 7), process(END, 8, "", "", 0)], ("a.exe", "a", Some(7)));
    processes(&[process(START, 8, "a.exe", "a", 0)], ("a.exe", "a", None));

    for (first, second, expected) in [("", "main", "main"), ("main", "", "main"), ("main", "other", "main")] {
        let log = |trace: &mut TraceFile| {
            trace.payload(0, 10, &thread(START, 8, 12, first)).payload(0, 20, &thread(END, 8, 12, second));
        };
        surveyed(log, |survey| assert_eq!(survey.threads[0].name, expected, "{first} {second}"));
    }
}

/// Processes by id and first mention, threads too, whatever processes those are of.
#[test]
fn lists_are_in_the_order_of_ids_and_time() {
    let log = |trace: &mut TraceFile| {
        for (tick, pid, tid) in [(50, 8, 12), (10, 16, 12), (30, 12, 4), (20, 4, 20)] {
            trace.payload(0, tick, &process(START, pid, "", "", 0));
            trace.payload(0, tick, &thread(START, pid, tid, ""));
        }
    };
    surveyed(log, |survey| {
        assert_eq!(survey.processes.iter().map(|one| one.pid).collect::<Vec<_>>(), [4, 8, 12, 16]);
        let threads: Vec<_> = survey.threads.iter().map(|one| (one.tid, one.pid)).collect();
        assert_eq!(threads, [(4, 12), (12, 16), (12, 8), (20, 4)]);
    });
}
