//! Who had an id, and which module an address, at a moment: held against the history that was logged.

use etl_file::{Survey, SurveyOptions, Tick, Trace};
use proptest::prelude::*;
use testkit::trace::{Module, Payload, TraceFile};

const KERNEL: u64 = 0xffff_f800_0000_0000;
/// When recording starts and ends: rundown events tell what lives then.
const RECORDED: (i64, i64) = (100, 200);

/// One owner of an id or base, over time: its number is its name.
#[derive(Clone, Copy, Debug)]
struct Life {
    id: usize,
    number: usize,
    start: i64,
    end: i64,
}

/// Successive lives of each of a few ids. A gap of 0 hands the id on at the tick at which it becomes free.
fn histories() -> impl Strategy<Value = Vec<Life>> {
    let spans = proptest::collection::vec((0i64..40, 1i64..60), 0..6);
    proptest::collection::vec(spans, 1..4).prop_map(|ids| {
        let mut lives = Vec::new();
        for (id, spans) in ids.into_iter().enumerate() {
            let mut now = 60;
            for (gap, length) in spans {
                let start = now + gap;
                now = start + length;
                lives.push(Life { id, number: lives.len(), start, end: now });
            }
        }
        lives
    })
}

/// The events by which a session tells of a life: start, rundowns, end, as opcodes 1, 3, 4 and 2.
fn told(life: Life) -> Vec<(i64, u8)> {
    let (from, to) = RECORDED;
    let mut events = Vec::new();
    if (from..=to).contains(&life.start) {
        events.push((life.start, 1));
    } else if life.start < from && life.end > from {
        events.push((from, 3));
    }
    if (from..=to).contains(&life.end) && life.end > from {
        events.push((life.end, 2));
    } else if life.start <= to && life.end > to {
        events.push((to, 4));
    }
    events
}

/// The life that had `id` at `tick`, by definition.
fn owner(lives: &[Life], id: usize, tick: i64, end_included: bool) -> Option<usize> {
    let told_of = lives.iter().filter(|life| life.id == id && !told(**life).is_empty());
    let mut alive = told_of.filter(|life| life.start <= tick && (tick < life.end || end_included && tick == life.end));
    alive.next_back().map(|life| life.number)
}

fn survey(file: &[u8], check: impl FnOnce(Survey<'_>)) {
    check(Trace::parse(file).unwrap().survey(&SurveyOptions::default().user_modules(true)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn processes_and_threads_have_their_ids_for_their_lives(lives in histories()) {
        let mut trace = TraceFile::new();
        trace.start_tick = 0;
        for &life in &lives {
            for (tick, opcode) in told(life) {
                let (pid, name) = (life.id as u32 + 8, life.number.to_string());
                let command_line = String::new();
                let process = Payload::Process {
                    opcode, pid, directory_table_base: 1, name: name.clone(), command_line, sid: None
                };
                trace.payload(0, tick, &process);
                // Each life's thread belongs to another process: the id alone is looked for.
                trace.payload(1, tick, &Payload::Thread { opcode, pid: 1000 - life.number as u32, tid: pid, name });
            }
        }
        survey(&trace.finish(), |found| {
            for tick in RECORDED.0..=RECORDED.1 {
                for id in 0..4 {
                    let expected = owner(&lives, id, tick, true).map(|number| number.to_string());
                    let process = found.process_at(id as u32 + 8, Tick(tick)).map(|process| process.name.clone());
                    assert_eq!(process, expected, "process {id} at {tick}");
                    let thread = found.thread_at(id as u32 + 8, Tick(tick)).map(|thread| thread.name.clone());
                    assert_eq!(thread, expected, "thread {id} at {tick}");
                }
            }
        });
    }

    #[test]
    fn modules_hold_their_addresses_for_their_lives(lives in histories(), kernel: bool) {
        let (base, pid) = if kernel { (KERNEL, 0) } else { (0x7ff6_0000_0000, 77) };
        let mut trace = TraceFile::new();
        trace.start_tick = 0;
        for &life in &lives {
            let path = format!(r"\SystemRoot\{}.sys", life.number);
            let mut module = Module::kernel(&path, base + life.id as u64 * 0x1_0000, 0x8000).in_process(pid);
            module.timestamp = 1 + life.number as u32;
            for (tick, opcode) in told(life) {
                let hook = match opcode { 1 => 0x030a, 2 => 0x1402, 3 => 0x1403, _ => 0x1404 };
                trace.payload(0, tick, &Payload::Image { hook, version: 3, module: module.clone() });
            }
        }
        survey(&trace.finish(), |found| {
            for tick in RECORDED.0..=RECORDED.1 {
                for id in 0..4 {
                    let first = base + id as u64 * 0x1_0000;
                    let expected = owner(&lives, id, tick, false).map(|number| format!("{number}.sys"));
                    for address in [first, first + 0x7fff] {
                        let module = found.module_at(77, address, Tick(tick)).map(|module| module.name.clone());
                        assert_eq!(module, expected, "{address:#x} at {tick}");
                    }
                    assert!(found.module_at(77, first + 0x8000, Tick(tick)).is_none());
                    assert_eq!(found.module_at(78, first, Tick(tick)).is_some(), kernel && expected.is_some());
                }
            }
        });
    }
}

#[test]
fn of_two_that_may_be_there_the_one_last_mentioned_counts() {
    let mut trace = TraceFile::new();
    trace.start_tick = 0;
    // The unload of the first was lost; the second is known from the rundown at the end alone.
    let module = |path: &str, timestamp| {
        let mut module = Module::kernel(path, KERNEL, 0x8000);
        module.timestamp = timestamp;
        module
    };
    trace.load(0, 10, &module("a.sys", 1));
    trace.payload(0, 100, &Payload::Image { hook: 0x1404, version: 3, module: module("b.sys", 2) });
    survey(&trace.finish(), |found| {
        for (tick, expected) in [(9, Some("b.sys")), (10, Some("a.sys")), (99, Some("a.sys")), (100, Some("b.sys"))] {
            let module = found.module_at(4, KERNEL + 5, Tick(tick)).map(|module| &*module.name);
            assert_eq!(module, expected, "{tick}");
        }
        assert_eq!(found.module_at(4, KERNEL - 1, Tick(50)), None);
        assert_eq!(found.module_at(4, 0, Tick(50)), None);
    });
}
