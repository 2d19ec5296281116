//! Order of time, and what of it survives damage and odd clocks.

use etl_file::{Filter, HookId, Trace};
use proptest::prelude::*;
use testkit::trace::{Compression, Event, Header, Payload, TraceFile};

/// Processor and timestamp of every event, in merged order; the log-file header left out.
fn merged(file: &[u8]) -> Vec<(u16, i64)> {
    let trace = Trace::parse(file).unwrap();
    let mut events = trace.events_by_time();
    let mut order = Vec::new();
    while let Some(event) = events.next_event() {
        let event = event.unwrap();
        if event.hook() != Some(HookId::LOG_HEADER) {
            order.push((event.processor, event.timestamp.map_or(-1, |tick| tick.0)));
        }
    }
    order
}

#[test]
fn streams_of_processors_are_merged_by_time() {
    let mut trace = TraceFile::new();
    trace.start_tick = 0;
    let base = |trace: &mut TraceFile, processor, ticks: &[i64]| {
        for &tick in ticks {
            trace.kernel_base(processor, tick, 0);
        }
        trace.flush(processor);
    };
    base(&mut trace, 0, &[10, 20, 30]);
    base(&mut trace, 1, &[15, 25, 27]);
    base(&mut trace, 1, &[60]);
    base(&mut trace, 0, &[70, 80]);
    let expected = [(0, 10), (1, 15), (0, 20), (1, 25), (1, 27), (0, 30), (1, 60), (0, 70), (0, 80)];
    for compression in [Compression::None, Compression::Xpress, Compression::Lznt1, Compression::XpressHuffman] {
        for rotate in 0..4 {
            (trace.compression, trace.rotate) = (compression, rotate);
            assert_eq!(merged(&trace.finish()), expected, "{compression:?}, rotated by {rotate}");
        }
    }
}

/// A clock that starts below zero.
#[test]
fn times_before_zero_are_in_order() {
    let mut trace = TraceFile::new();
    trace.start_tick = -1000;
    for (processor, tick) in [(0, -50), (1, -60), (0, -40), (1, -45), (0, 10), (1, 5)] {
        trace.kernel_base(processor, tick, 0);
    }
    assert_eq!(merged(&trace.finish()), [(1, -60), (0, -50), (1, -45), (0, -40), (1, 5), (0, 10)]);
}

/// The index of a processor has eleven bits, in machines with more than 256 of them; before Windows 8 it was a byte.
#[test]
fn processors_beyond_256_are_told_apart() {
    let mut trace = TraceFile::new();
    (trace.start_tick, trace.processors) = (0, 2048);
    for (tick, processor) in [(10, 0), (20, 255), (30, 256), (40, 300), (50, 1023), (60, 2047)] {
        trace.kernel_base(processor, tick, 0);
    }
    assert_eq!(merged(&trace.finish()), [(0, 10), (255, 20), (256, 30), (300, 40), (1023, 50), (2047, 60)]);
}

#[test]
fn a_clock_that_steps_back_keeps_its_processors_order() {
    let mut trace = TraceFile::new();
    trace.start_tick = 0;
    for tick in [10, 50, 20, 60] {
        trace.kernel_base(0, tick, 0);
    }
    for tick in [30, 55] {
        trace.kernel_base(1, tick, 0);
    }
    // 20 comes right after 50, its predecessor.
    assert_eq!(merged(&trace.finish()), [(0, 10), (1, 30), (0, 50), (0, 20), (1, 55), (0, 60)]);
}

#[test]
fn an_event_without_a_time_stays_where_it_was_logged() {
    let mut trace = TraceFile::new();
    trace.start_tick = 0;
    trace.kernel_base(0, 10, 0);
    trace.log(0, Event::class(Header::Error, "00000000-0000-0000-0000-000000000000", 0, 0, 0, vec![0; 12]));
    trace.kernel_base(0, 30, 0).kernel_base(1, 20, 0);
    assert_eq!(merged(&trace.finish()), [(0, 10), (0, -1), (1, 20), (0, 30)]);
}

#[test]
fn a_filtered_walk_is_the_whole_one_without_the_rest() {
    let mut trace = TraceFile::new();
    trace.start_tick = 0;
    for tick in 0..40 {
        let processor = (tick % 3) as u16;
        match tick % 4 {
            0 => trace.payload(processor, tick, &Payload::Volume { nt: "N".into(), dos: "D".into() }),
            _ => trace.kernel_base(processor, tick, 0),
        };
        if tick % 7 == 0 {
            trace.flush(processor);
        }
    }
    let wanted = [(Filter::none().hooks(&[HookId::KERNEL_BASE]), 30), (Filter::none(), 0)];
    for compression in [Compression::None, Compression::Xpress] {
        trace.compression = compression;
        let file = trace.finish();
        for (filter, expected) in &wanted {
            let trace = Trace::parse(&file).unwrap();
            let mut all = trace.events_by_time();
            let mut whole = Vec::new();
            while let Some(event) = all.next_event() {
                let event = event.unwrap();
                if event.hook() == Some(HookId::KERNEL_BASE) && *expected > 0 {
                    whole.push((event.processor, event.timestamp));
                }
            }
            let mut some = trace.events_by_time().filter(filter.clone());
            let mut filtered = Vec::new();
            while let Some(event) = some.next_event() {
                let event = event.unwrap();
                filtered.push((event.processor, event.timestamp));
            }
            assert_eq!(filtered.len(), *expected);
            assert_eq!(filtered, whole);
        }
    }
}

#[test]
fn a_fold_joins_the_parts_of_a_file_in_its_order() {
    let mut trace = TraceFile::new();
    // More than one batch of buffers.
    trace.buffer_size = 1024;
    for tick in 0..3000 {
        trace.kernel_base(0, 2_000_000 + tick, 0).flush(0);
    }
    let file = trace.finish();
    let (ticks, walked) = Trace::parse(&file).unwrap().par_fold(
        &Filter::none().hooks(&[HookId::KERNEL_BASE]),
        Vec::new,
        |ticks, raw| ticks.extend(raw.parse().unwrap().timestamp),
        Extend::extend,
    );
    assert_eq!((ticks.len(), walked.events, walked.buffers), (3000, 3001, 3001));
    assert!(ticks.is_sorted());
}

#[test]
fn damage_comes_between_the_events_and_costs_one_buffer() {
    let mut trace = TraceFile::new();
    trace.buffer_size = 4096;
    for tick in 0..10 {
        trace.kernel_base(0, 2_000_000 + tick, 0).flush(0);
    }
    let mut file = trace.finish();
    // The marker of the only event of the third buffer.
    file[3 * 4096 + 0x48 + 3] = 0x40;
    let trace = Trace::parse(&file).unwrap();
    let (mut whole, mut lost) = (0, Vec::new());
    let mut events = trace.events_by_time();
    while let Some(event) = events.next_event() {
        match event {
            Ok(_) => whole += 1,
            Err(error) => lost.push((error.offset(), error.length())),
        }
    }
    assert_eq!((whole, lost), (10, vec![(3 * 4096 + 0x48, 24)]));
    let ((), walked) = trace.par_fold(Filter::all(), || (), |(), _| (), |(), ()| ());
    assert_eq!((walked.events, walked.buffers, walked.damage.len()), (10, 11, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merged_and_unordered_walks_see_every_event_once(
        ticks in proptest::collection::vec((0u16..4, 1i64..1000), 0..400),
        compressed: bool,
        rotate in 0usize..9,
    ) {
        let mut trace = TraceFile::new();
        trace.buffer_size = 1024;
        trace.start_tick = 0;
        trace.rotate = rotate;
        trace.compression = if compressed { Compression::Xpress } else { Compression::None };
        let mut sorted = ticks.clone();
        // Each processor's clock runs forward.
        sorted.sort_by_key(|&(_, tick)| tick);
        for &(processor, tick) in &sorted {
            trace.payload(processor, tick, &Payload::KernelBase(tick as u64));
        }
        let file = trace.finish();
        let order = merged(&file);
        prop_assert!(order.is_sorted_by_key(|&(processor, tick)| (tick, processor)));
        prop_assert_eq!(order.len(), ticks.len());

        let filter = Filter::none().hooks(&[HookId::KERNEL_BASE]);
        let (sum, walked) = Trace::parse(&file).unwrap().par_fold(
            &filter,
            || 0,
            |sum, raw| *sum += raw.parse().unwrap().timestamp.unwrap().0,
            |sum, later| *sum += later,
        );
        prop_assert_eq!(walked.events, ticks.len() as u64 + 1);
        prop_assert_eq!(sum, ticks.iter().map(|&(_, tick)| tick).sum::<i64>());
    }
}
