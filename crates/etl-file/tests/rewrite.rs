//! A trace written anew: what is kept, what is reported about the rest, and what is counted on the way.

use etl_file::write::{Body, EventHeader, Folding, RewriteOptions};
use etl_file::{Diagnostic, EventId, Filter, HeaderKind, HookId, RawEvent, SurveyOptions, Tick, Trace};
use testkit::trace::{Compression, Event, Header, Payload, TraceFile};

const BUFFER: usize = 1024;

/// A buffer for each number, with one event at that tick and a few to be compressed.
fn trace(numbers: std::ops::Range<i64>, compression: Compression) -> TraceFile {
    let mut trace = TraceFile::new();
    (trace.buffer_size, trace.compression, trace.start_tick) = (BUFFER, compression, 0);
    for number in numbers {
        for _ in 0..10 {
            trace.kernel_base(0, 1000 + number, 0xffff_f800_0000_0000);
        }
        trace.flush(0);
    }
    trace
}

fn tick(event: &RawEvent<'_>) -> i64 {
    event.parse().unwrap().timestamp.unwrap().0
}

/// The times of all events but the log-file header's, in file order.
fn ticks(trace: &Trace<'_>) -> Vec<i64> {
    let (mut ticks, _) =
        trace.par_fold(Filter::all(), Vec::new, |ticks, event| ticks.push(tick(&event)), Extend::extend);
    ticks.remove(0);
    ticks
}

fn keep(event: &RawEvent<'_>, body: &mut Body) -> etl_file::write::Result<()> {
    body.raw(event);
    Ok(())
}

fn offsets(file: &[u8]) -> Vec<usize> {
    Trace::parse(file).unwrap().buffers().map(|buffer| buffer.unwrap().offset() as usize).collect()
}

#[test]
fn what_is_damaged_is_left_out_and_told() {
    for compression in [Compression::None, Compression::Xpress] {
        let mut file = trace(0..10, compression).finish();
        let at = offsets(&file);
        // No header, and a body that is not valid.
        file[at[8]..at[8] + 0x48].fill(0xa5);
        file[at[3] + 0x48..at[3] + 0x50].fill(if compression == Compression::None { 0x11 } else { 0xff });
        let source = Trace::parse(&file).unwrap();
        let (written, counts) = source.rewrite(&RewriteOptions::of(&source), &keep, Vec::new()).unwrap();
        let told: Vec<Diagnostic> = counts.damage.iter().cloned().map(Diagnostic::Damage).collect();
        assert_eq!((told.len(), &told), (2, &source.survey(&SurveyOptions::default()).warnings));
        let again = Trace::parse(&written).unwrap();
        assert_eq!(again.survey(&SurveyOptions::default()).warnings, []);
        let expected: Vec<i64> = (0..10).filter(|n| ![2, 7].contains(n)).flat_map(|n| [1000 + n; 10]).collect();
        assert_eq!(ticks(&again), expected, "{compression:?}");
        assert_eq!((counts.events, counts.bytes), (1 + 80, written.len() as u64));
    }
}

/// The new file begins with a log-file header, whatever became of the buffer that held the old one.
#[test]
fn a_lost_first_buffer_is_made_anew() {
    for compression in [Compression::None, Compression::Xpress] {
        let mut file = trace(0..10, compression).finish();
        // BufferType: none that there is.
        file[0x36] = 9;
        let source = Trace::parse(&file).unwrap();
        let (written, counts) = source.rewrite(&RewriteOptions::of(&source), &keep, Vec::new()).unwrap();
        assert_eq!((counts.events, counts.buffers, counts.damage.len()), (1 + 100, 11, 1), "{compression:?}");
        let again = Trace::parse(&written).unwrap();
        assert_eq!(ticks(&again), (0..10).flat_map(|n| [1000 + n; 10]).collect::<Vec<_>>());
        assert_eq!(again.header().start_time, source.header().start_time);
    }
}

/// What is folded is what a fold over the trace gives, in file order, and each event is in it once.
#[test]
fn events_are_folded_on_the_way() {
    // More buffers than a thread takes at a time.
    let file = trace(0..3000, Compression::None).finish();
    let source = Trace::parse(&file).unwrap();
    let folding = Folding { start: Vec::new, join: |all: &mut Vec<i64>, later: Vec<i64>| all.extend(later) };
    let keep_every_third = |event: &RawEvent<'_>, body: &mut Body, all: &mut Vec<i64>| {
        all.push(tick(event));
        if tick(event) % 3 == 0 {
            body.raw(event);
        }
        Ok(())
    };
    let (written, counts, all) =
        source.rewrite_and_fold(&RewriteOptions::of(&source), keep_every_third, folding, Vec::new()).unwrap();
    assert!(all == ticks(&source), "{} events", all.len());
    let expected: Vec<i64> = all.into_iter().filter(|tick| tick % 3 == 0).collect();
    assert!(ticks(&Trace::parse(&written).unwrap()) == expected);
    assert_eq!((counts.events, counts.buffers), (1 + expected.len() as u64, 3001));
}

/// An error of the caller's ends the rewriting, wherever it comes from.
#[test]
fn what_cannot_be_kept_is_an_error() {
    let file = trace(0..3000, Compression::None).finish();
    let source = Trace::parse(&file).unwrap();
    let header = EventHeader::new(HeaderKind::ERROR, EventId::Hook(HookId::IPT), Tick(1));
    for failing in [1000, 2500, 3999] {
        let keep = |event: &RawEvent<'_>, body: &mut Body| {
            if tick(event) == failing { body.event(&header, &[]) } else { Ok(()) }
        };
        let error = source.rewrite(&RewriteOptions::of(&source), &keep, Vec::new()).unwrap_err().to_string();
        assert!(error.contains("is not known"), "{error}");
    }
}

/// A filter says of an event by itself what it does of one in a buffer.
#[test]
fn a_filter_matches_what_it_lets_through() {
    const GUID: &str = "12345678-9abc-def0-1122-334455667788";
    let mut trace = TraceFile::new();
    let payload = Payload::ContextSwitch { new: 1, old: 2 };
    trace.log(0, payload.event(5, 8)).kernel_base(0, 5, 1);
    trace.log(0, Payload::Thread { opcode: 2, pid: 8, tid: 12, name: String::new() }.relogged(5, 8));
    trace.log(0, Event::class(Header::Full64, GUID, 9, 3, 5, vec![])).log(0, Event::wpp(0x2a, GUID, 9, 5, vec![]));
    let file = trace.finish();
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let hooks = |hook| Filter::none().hooks(&[HookId(hook)]);
    for (filter, expected) in [
        (Filter::none(), vec![]),
        (Filter::all().clone(), vec![0, 1, 2, 3, 4]),
        (hooks(0x0524), vec![0]),
        (hooks(0x1421), vec![1]),
        (hooks(0x0502), vec![2]),
        (hooks(0x0501), vec![]),
        (Filter::none().classes(&[GUID.parse().unwrap()]), vec![3]),
    ] {
        let events: Vec<RawEvent<'_>> = buffer.plain_events().unwrap().map(Result::unwrap).collect();
        let matching: Vec<usize> = (0..events.len()).filter(|&n| filter.matches(&events[n])).collect();
        let mut through = buffer.plain_events().unwrap();
        let positions: Vec<u32> =
            std::iter::from_fn(|| through.next_matching(&filter)).map(|e| e.unwrap().position).collect();
        assert_eq!(matching, expected);
        assert_eq!(positions, expected.iter().map(|&n| events[n].position).collect::<Vec<_>>());
    }
}
