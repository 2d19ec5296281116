//! Files of one recording, read one by one and joined.

use etl_file::{Part, Survey, SurveyOptions, Tick, Trace};
use testkit::trace::{Module, RecordingSet, TraceFile};

fn part(file: &[u8]) -> Part<'_> {
    Part::read(&Trace::parse(file).unwrap(), &SurveyOptions::default().user_modules(true), &|_| ())
}

/// The survey of both files, the first one given first.
fn joined<'a>(first: &'a [u8], second: &'a [u8]) -> Survey<'a> {
    part(first).with(vec![part(second)])
}

#[test]
fn a_set_is_one_recording_in_either_order() {
    let set = RecordingSet::new();
    let (kernel, user) = (set.kernel.finish(), set.user.finish());
    let alone = |file| part(file).alone();
    for survey in [joined(&kernel, &user), joined(&user, &kernel)] {
        // The kernel's session began earlier and saw more processors.
        assert_eq!((survey.clock.start(), survey.header.processors), (Tick(set.kernel.start_tick), 4));
        assert_eq!(survey.header.logger_name, "NT Kernel Logger");
        let (a, b) = (alone(&kernel), alone(&user));
        assert_eq!(survey.counts.events, a.counts.events + b.counts.events);
        assert_eq!(survey.counts.buffers, a.counts.buffers + b.counts.buffers);
        assert_eq!(survey.counts.ipt_events, 2);
        let snapshots: Vec<_> = survey.ipt.iter().map(|snapshot| (snapshot.processor, snapshot.tid)).collect();
        assert_eq!(snapshots, [(1, 8), (2, 12)]);
        assert_eq!((a.ipt.len(), b.ipt.len()), (1, 1));
    }
}

#[test]
fn what_two_files_hold_is_there_once() {
    let mut trace = TraceFile::new();
    let driver = Module::kernel(r"\SystemRoot\System32\drivers\a.sys", 0xffff_f800_1000_0000, 0x8000);
    let start = trace.start_tick;
    trace.module(0, start + 1, &driver).ipt(1, start + 10, (4, 8), &[1, 2, 3], 0);
    let same = trace.finish();
    let survey = joined(&same, &same);
    assert_eq!((survey.modules.len(), survey.ipt.len()), (1, 1));
    // Another thread's snapshot of the same moment, and other bytes of the same, are further ones.
    for (owner, data) in [((4, 12), [1, 2, 3]), ((4, 8), [1, 2, 4])] {
        let mut other = TraceFile::new();
        other.ipt(1, start + 10, owner, &data, 0);
        assert_eq!(joined(&same, &other.finish()).ipt.len(), 2, "{owner:?} {data:?}");
    }
}

#[test]
fn losses_and_warnings_of_all_files_count() {
    let file = |lost: u32, sequences: &[i64]| {
        let mut trace = TraceFile::new();
        (trace.mode, trace.buffer_size, trace.events_lost, trace.buffers_lost) = (1, 1024, lost, lost + 1);
        for &sequence in sequences {
            trace.buffer(0, Some(sequence), Vec::new());
        }
        trace.finish()
    };
    let (mut first, second) = (file(3, &[1, 3]), file(5, &[2, 3, 6]));
    let survey = joined(&first, &second);
    assert_eq!((survey.losses.events, survey.losses.buffers, survey.losses.missing), (8, 10, 1 + 3));
    assert_eq!((survey.counts.events_lost, survey.counts.buffers_lost), (8, 10));
    assert!(!survey.losses.is_none());
    // A circular file that wrapped.
    let mut circular = TraceFile::new();
    (circular.mode, circular.buffer_size) = (2, 1024);
    circular.buffer(0, Some(7), Vec::new()).buffer(0, Some(8), Vec::new());
    let circular = circular.finish();
    assert_eq!(joined(&circular, &circular).losses.overwritten, 12);
    // A damaged buffer: a warning of either file is one of the recording.
    first[1024 + 0x48..1024 + 0x50].fill(0x11);
    let damaged = part(&first).alone().warnings.len();
    assert_eq!(joined(&first, &second).warnings.len(), damaged + part(&second).alone().warnings.len());
}

/// Buffers that are marked, and warnings that were not kept, of both files.
#[test]
fn marks_and_what_was_not_kept_add_up() {
    let file = |damaged: usize| {
        let mut trace = TraceFile::new();
        trace.buffer_size = 1024;
        (0..damaged).for_each(|_| {
            trace.buffer(0, None, vec![0x11; 16]);
        });
        let mut file = trace.finish();
        // BufferFlag of the second buffer: events were lost before it.
        file[1024 + 0x34] |= 2;
        file
    };
    let (first, second) = (file(1003), file(1002));
    let survey = joined(&first, &second);
    assert_eq!((survey.losses.marked, survey.warnings_dropped), (2, 3 + 2));
    assert_eq!((survey.warnings.len(), survey.counts.buffers), (2000, 1004 + 1003));
}

/// Of two files that are alike in what decides, the first one given counts.
#[test]
fn of_equal_files_the_first_one_speaks() {
    let file = |name: &str, start_time: i64| {
        let mut trace = TraceFile::new();
        (trace.logger_name, trace.start_time) = (name.to_owned(), start_time);
        trace.finish()
    };
    let (first, second) = (file("first", 133_536_383_990_000_000), file("second", 133_536_383_990_000_007));
    for (survey, name) in [(joined(&first, &second), "first"), (joined(&second, &first), "second")] {
        assert_eq!(survey.header.logger_name, name);
        assert_eq!(survey.clock.start_time(), survey.header.start_time);
    }
}

#[test]
fn a_part_says_whose_computer_it_is_from() {
    let named = |name: &str| {
        let mut trace = TraceFile::new();
        trace.system(trace.start_tick + 1, name, 4652);
        trace.finish()
    };
    for (name, expected) in [("TESTBOX", Some("TESTBOX")), ("", None)] {
        assert_eq!(part(&named(name)).computer_name(), expected);
    }
    assert_eq!(part(&TraceFile::new().finish()).computer_name(), None);
}
