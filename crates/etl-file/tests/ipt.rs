//! Intel PT snapshots: put together, turned the right way round, and tied to what triggered them.

use etl_file::{HookId, RingOrder, Survey, SurveyOptions, Trace};
use testkit::trace::{Compression, Event, Header, Payload, TraceFile};

const PSB: [u8; 16] = [2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82, 2, 0x82];

fn scan(file: &[u8]) -> Survey<'_> {
    Trace::parse(file).unwrap().survey(&SurveyOptions::default())
}

fn ipt(trigger: i64, owner: (u32, u32), data: &[u8]) -> Payload {
    Payload::Ipt { trigger, owner, options: 0x0106_0011, ring_offset: 0, data: data.to_vec() }
}

#[test]
fn both_forms_of_the_event_are_found() {
    let payload = ipt(2_000_000, (4, 8), &[1, 2, 3]);
    let mut forms = vec![payload.relogged(2_000_001, 8), payload.relogged(2_000_001, 4)];
    for header in [Header::Perfinfo64, Header::System64, Header::Compact64, Header::Perfinfo32, Header::System32] {
        forms.push(Event { header, ..payload.event(2_000_001, 8) });
    }
    for form in forms {
        let mut trace = TraceFile::new();
        trace.log(3, form.clone());
        let file = trace.finish();
        let found = scan(&file);
        assert_eq!((found.counts.ipt_events, found.ipt.len()), (1, 1), "{form:?}");
        let snapshot = &found.ipt[0];
        assert_eq!((snapshot.processor, snapshot.pid, snapshot.tid), (3, 4, 8));
        assert_eq!((*snapshot.stored()).to_vec(), [1, 2, 3]);
        assert_eq!((snapshot.trigger, found.warnings.len()), (None, 0));
    }
}

#[test]
fn snapshots_are_told_apart_by_trigger_thread_and_processor() {
    let mut trace = TraceFile::new();
    let log = |trace: &mut TraceFile, processor, trigger, tid, byte: u8| {
        trace.payload(processor, trigger + 1, &ipt(trigger, (4, tid), &[byte]));
    };
    log(&mut trace, 0, 2_000_000, 8, 1);
    log(&mut trace, 1, 2_000_000, 8, 2);
    log(&mut trace, 0, 2_000_000, 12, 3);
    log(&mut trace, 0, 2_000_500, 8, 4);
    log(&mut trace, 0, 2_000_500, 8, 5);
    let file = trace.finish();
    let found = scan(&file);
    let all: Vec<(u16, u32, i64, Vec<u8>)> = found
        .ipt
        .iter()
        .map(|snapshot| (snapshot.processor, snapshot.tid, snapshot.trigger_time.0, snapshot.stored().into_owned()))
        .collect();
    assert_eq!(
        all,
        [
            (0, 8, 2_000_000, vec![1]),
            (0, 12, 2_000_000, vec![3]),
            (0, 8, 2_000_500, vec![4, 5]),
            (1, 8, 2_000_000, vec![2]),
        ]
    );
}

#[test]
fn the_trigger_is_the_event_of_that_time_processor_and_thread() {
    for compression in [Compression::None, Compression::Xpress] {
        for far in [false, true] {
            let mut trace = TraceFile::new();
            trace.compression = compression;
            let tick = 2_000_000;
            // Same time, but another processor; a stack, which triggers nothing; and a sample of another thread.
            trace.payload(1, tick, &Payload::SampledProfile { address: 1, tid: 8 });
            trace.payload(0, tick, &Payload::StackWalk { tick, owner: (4, 8), frames: vec![1] });
            trace.payload(0, tick, &Payload::SampledProfile { address: 1, tid: 999 });
            trace.payload(0, tick, &Payload::ContextSwitch { new: 8, old: 12 });
            if far {
                trace.flush(0);
            }
            trace.payload(0, tick + 1, &ipt(tick, (4, 8), &[1]));
            let file = trace.finish();
            let trigger = scan(&file).ipt[0].trigger.unwrap();
            assert_eq!((trigger.hook, trigger.name), (HookId::CONTEXT_SWITCH, Some("CSwitch")), "far: {far}");
        }
    }
}

/// Of several events at the time of the trigger, the one about the traced thread is it. Who an event is about a switch and
/// a sample say themselves, others by the thread in their header.
#[test]
fn the_trigger_is_about_the_traced_thread() {
    const TICK: i64 = 2_000_000;
    let switch = |new, old| Payload::ContextSwitch { new, old }.event(TICK, 8);
    let sample = |tid| Payload::SampledProfile { address: 1, tid }.event(TICK, 8);
    let by = |hook, thread| Event { thread, ..Event::hook(Header::System64, hook, 2, TICK, vec![0; 64]) };
    let (load, disk, dpc) = (0x0320, 0x010a, 0x0f44);
    let check = |events: &[Event], expected: Option<u16>| {
        let turned: Vec<Event> = events.iter().rev().cloned().collect();
        for events in [events, &turned] {
            for far in [false, true] {
                let mut trace = TraceFile::new();
                events.iter().for_each(|event| {
                    trace.log(0, event.clone());
                });
                if far {
                    trace.flush(0);
                }
                trace.payload(0, TICK + 1, &ipt(TICK, (4, 8), &[1]));
                let file = trace.finish();
                let trigger = scan(&file).ipt[0].trigger.map(|trigger| trigger.hook.0);
                assert_eq!(trigger, expected, "far: {far}, {events:?}");
            }
        }
    };
    check(&[switch(8, 12), sample(999), by(dpc, 999)], Some(0x0524));
    check(&[switch(12, 8), sample(999), by(dpc, 999)], Some(0x0524));
    check(&[sample(8), switch(12, 16), by(dpc, 999)], Some(0x0f2e));
    check(&[by(disk, 8), switch(12, 16), sample(999)], Some(disk));
    check(&[by(load, 8), by(dpc, 999), by(disk, 999)], Some(load));
    // None is about the thread: one of them it must have been.
    check(&[switch(12, 16)], Some(0x0524));
    // A stack is another event's, and Intel PT data what is to be explained.
    check(&[Payload::StackWalk { tick: TICK, owner: (4, 8), frames: vec![1] }.event(TICK, 8)], None);
    check(&[Event { thread: 8, header: Header::System64, ..ipt(TICK, (4, 8), &[1]).event(TICK, 8) }], None);
    check(&[], None);
}

#[test]
fn a_wrapped_ring_is_turned_where_its_boundaries_say_so() {
    // A stream with packet stream boundaries, and where the writer stood.
    let stream: Vec<u8> = (0..4).flat_map(|index: u8| [&PSB[..], &[index; 60]].concat()).collect();
    let check = |data: &[u8], offset: u32, order: RingOrder, bytes: &[u8]| {
        let mut trace = TraceFile::new();
        trace.ipt(0, 2_000_000, (4, 8), data, offset);
        let file = trace.finish();
        let snapshot = &scan(&file).ipt[0];
        assert_eq!(snapshot.likely_order(), order, "offset {offset}");
        assert_eq!(&*snapshot.bytes(order), bytes, "offset {offset}");
        assert_eq!(&*snapshot.bytes(RingOrder::Stored), data);
    };
    for turn in 0..stream.len() {
        let mut ring = stream.clone();
        ring.rotate_right(turn);
        let expected = if turn == 0 { RingOrder::Stored } else { RingOrder::Unwrapped };
        check(&ring, turn as u32, expected, &stream);
    }
    // Values that cannot be offsets leave the data as it is.
    check(&stream, stream.len() as u32, RingOrder::Stored, &stream);
    check(&stream, u32::MAX, RingOrder::Stored, &stream);
    // The word is not a ring offset: a boundary lies across it, and no boundary across the ends.
    check(&stream, 8, RingOrder::Stored, &stream);
}

#[test]
fn a_snapshot_that_was_cut_keeps_what_is_there() {
    let mut trace = TraceFile::new();
    let mut event = ipt(2_000_000, (4, 8), &[7; 100]).event(2_000_001, 8);
    event.payload.truncate(32 + 60);
    trace.log(0, event);
    let file = trace.finish();
    let found = scan(&file);
    assert_eq!((found.ipt[0].declared, found.ipt[0].stored().len()), (100, 60));
    assert_eq!(found.warnings.len(), 1);
    assert!(found.warnings[0].damage().is_some_and(etl_file::Error::is_truncation), "{}", found.warnings[0]);
    assert_eq!(found.warnings[0].length(), 40, "what is missing");
    assert!(found.warnings[0].to_string().contains("60 bytes there, 100 needed"), "{}", found.warnings[0]);
}

#[test]
fn data_of_plain_buffers_is_borrowed_from_the_file() {
    for (compression, borrowed) in [(Compression::None, true), (Compression::Xpress, false)] {
        let mut trace = TraceFile::new();
        trace.compression = compression;
        trace.ipt(0, 2_000_000, (4, 8), &[9; 50], 0);
        let file = trace.finish();
        let found = scan(&file);
        assert_eq!(matches!(found.ipt[0].pieces[0], std::borrow::Cow::Borrowed(_)), borrowed);
    }
}

#[test]
fn each_piece_keeps_its_event() {
    let piece = |options, ring_offset, data: &[u8]| Payload::Ipt {
        trigger: 2_000_000,
        owner: (4, 8),
        options,
        ring_offset,
        data: data.to_vec(),
    };
    let mut trace = TraceFile::new();
    trace.log(0, piece(0x11, 7, &[1, 2]).event(2_000_001, 8));
    trace.log(0, Event { header: Header::System64, ..piece(0x11, 9, &[3]).event(2_000_002, 8) });
    // Another session's options: another snapshot.
    trace.log(0, piece(0x21, 0, &[4]).event(2_000_003, 8));
    let file = trace.finish();
    let found = scan(&file);
    let told = |snapshot: &etl_file::IptSnapshot<'_>| {
        let events =
            snapshot.events.iter().map(|event| (event.header, event.header_length, event.declared, event.word28));
        (snapshot.options, snapshot.stored().to_vec(), events.collect::<Vec<_>>())
    };
    let (perfinfo, system) = (etl_file::HeaderKind::PERFINFO64, etl_file::HeaderKind::SYSTEM64);
    assert_eq!(
        found.ipt.iter().map(told).collect::<Vec<_>>(),
        [
            (0x11, vec![1, 2, 3], vec![(perfinfo, 16, 2, 7), (system, 32, 1, 9)]),
            (0x21, vec![4], vec![(perfinfo, 16, 1, 0)]),
        ]
    );
}
