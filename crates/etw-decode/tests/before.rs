//! The last events of a thread and of a processor before a moment.

use etl_file::{Tick, Trace};
use etw_decode::{Decoder, Moment};
use testkit::trace::{Event, Header, Payload, TraceFile};

const PROVIDER: &str = "12345678-9abc-def0-1122-334455667788";

/// A trace in which thread 12 runs on processor 0 and then on 1.
fn trace() -> Vec<u8> {
    let mut file = TraceFile::new();
    let event = |id, tick, thread| {
        let mut event = Event::class(Header::Event64, PROVIDER, id, 0, tick, Vec::new());
        event.thread = thread;
        event
    };
    file.payload(0, 1_000_010, &Payload::ContextSwitch { new: 12, old: 0 });
    file.log(0, event(1, 1_000_020, 12)).log(1, event(2, 1_000_030, 99));
    // A header without a thread: that of the running one counts.
    file.kernel_base(0, 1_000_040, 7).kernel_base(1, 1_000_050, 8);
    file.payload(0, 1_000_060, &Payload::ContextSwitch { new: 0, old: 12 });
    file.log(0, event(3, 1_000_070, 55));
    file.ipt(1, 1_000_080, (8, 12), &[2; 50], 0);
    file.log(1, event(4, 1_000_090, 12)).log(0, event(5, 1_000_100, 55));
    file.finish()
}

#[test]
fn events_of_thread_or_processor() {
    let file = trace();
    let trace = Trace::parse(&file).unwrap();
    let check = |processor: u16, thread: u32, tick: i64, most: usize, expected: &[i64]| {
        let moments = [
            // Another moment, so that each is told from the other.
            Moment { processor: 7, thread: 77, tick: Tick(1_000_500) },
            Moment { processor, thread, tick: Tick(1_000_000 + tick) },
        ];
        let mut found = Vec::new();
        let mut others = 0;
        let take = |place: usize, event: &etw_decode::Listed<'_>| match place {
            1 => found.push(event.tick.unwrap().0 - 1_000_000),
            _ => others += 1,
        };
        Decoder::new().before(&trace, &moments, most, take).unwrap();
        assert_eq!((found.as_slice(), others), (expected, 0), "{processor} {thread} {tick} {most}");
    };
    // On processor 1, with what thread 12 did on processor 0 before; not thread 55.
    check(1, 12, 80, 100, &[10, 20, 30, 40, 50, 60]);
    check(1, 12, 80, 2, &[50, 60]);
    check(1, 12, 81, 100, &[10, 20, 30, 40, 50, 60, 80]);
    check(1, 12, 1000, 1, &[90]);
    check(0, 55, 90, 3, &[40, 60, 70]);
    check(9, 55, 1000, 9, &[70, 100]);
    check(1, 12, 80, 0, &[]);
    check(1, 12, 5, 10, &[]);
}
