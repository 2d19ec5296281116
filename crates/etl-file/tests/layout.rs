//! What is written, where readers look: sizes, forms and limits of buffers and events, and outputs that fail.

use etl_file::write::{Body, ErrorKind, EventHeader, Packing, Plan, RewriteOptions, Writer, payload};
use etl_file::{
    BufferHeader, EventId, Guid, HeaderKind, HookId, LogHeader, RawEvent, Record, Scratch, Tick, Trace, WppMessage,
};
use std::io::{self, Write};
use testkit::trace::{Compression, Event, Header, Payload, TraceFile};

/// Bytes of a buffer's header, and of the log-file header's event in 64-bit form without names.
const HEADER: usize = 0x48;
const LOG: usize = 320;

fn hook(kind: HeaderKind) -> EventHeader {
    EventHeader::new(kind, EventId::Hook(HookId::IPT), Tick(1))
}

/// A body of so many bytes, a multiple of 8: one event with noise, or with zeros.
fn body(length: usize, noisy: bool) -> Body {
    let mut body = Body::default();
    let mut state = 0x9e37_79b9u32;
    let noise = (0..length - 16).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        if noisy { state as u8 } else { 0 }
    });
    body.event(&hook(HeaderKind::PERFINFO64), &noise.collect::<Vec<_>>()).unwrap();
    assert_eq!(body.len(), length);
    body
}

/// A file of these bodies, the first one in the buffer of the log-file header.
fn written(log: LogHeader, packing: Packing, bodies: &[Body]) -> Vec<u8> {
    let mut plan = Plan::new(log, packing);
    for (number, body) in bodies.iter().enumerate() {
        let header = if number == 0 { BufferHeader::first() } else { BufferHeader::new(0, number as i64) };
        plan.add(header, body.len()).unwrap();
    }
    let layout = plan.lay_out().unwrap();
    let mut writer = Writer::new(&layout, Vec::new());
    bodies.iter().for_each(|body| writer.buffer(body).unwrap());
    writer.finish().unwrap()
}

/// The size that the header states, as long as everything fits; else the next multiple of 1 KiB that does.
#[test]
fn buffers_are_as_large_as_stated_or_as_the_largest_needs() {
    let check = |stated: usize, lengths: &[usize], expected: usize| {
        let bodies: Vec<Body> =
            lengths.iter().map(|&length| if length == 0 { Body::default() } else { body(length, true) }).collect();
        let file = written(LogHeader::new(8, stated as u32), Packing::Plain, &bodies);
        let trace = Trace::parse(&file).unwrap();
        assert_eq!(trace.header().buffer_size as usize, expected, "{stated} for {lengths:?}");
        assert_eq!(file.len(), expected * bodies.len(), "{stated} for {lengths:?}");
        assert!(trace.buffers().all(|buffer| buffer.unwrap().header().size as usize == expected));
    };
    check(4096, &[0, 4096 - HEADER], 4096);
    check(4096, &[0, 4096 - HEADER + 8], 5120);
    // Sizes need not be multiples of anything.
    check(1072, &[0, 1000], 1072);
    check(1071, &[0, 1000], 2048);
    // The log-file header stands in the first buffer, and in no other.
    check(4096, &[4096 - HEADER - LOG], 4096);
    check(4096, &[4096 - HEADER - LOG + 8], 5120);
    check(4096, &[0, 4096 - HEADER, 4096 - HEADER], 4096);
    check(0x1_0000, &[60_000], 0x1_0000);
}

#[test]
fn a_buffer_has_up_to_16_mib() {
    let largest = (16 << 20) - HEADER;
    let mut plan = Plan::new(LogHeader::new(8, 4096), Packing::Plain);
    plan.add(BufferHeader::first(), 0).unwrap();
    plan.add(BufferHeader::new(0, 1), largest).unwrap();
    assert_eq!(plan.add(BufferHeader::new(0, 2), largest + 1).unwrap_err().kind(), ErrorKind::Size);
    assert_eq!(plan.lay_out().unwrap().file_length(), Some(2 << 24));
    // The first one has less room.
    for (length, fits) in [(largest - LOG, true), (largest - LOG + 1, false)] {
        let mut plan = Plan::new(LogHeader::new(8, 4096), Packing::Plain);
        plan.add(BufferHeader::first(), length).unwrap();
        let error = plan.lay_out().err().map(|error| error.to_string());
        let expected = "buffer: 16777217 bytes, allowed are up to 16777216".to_owned();
        assert_eq!(error, (!fits).then_some(expected), "{length}");
    }
}

/// A buffer is stored compressed if that makes it smaller, and the first one never.
#[test]
fn a_buffer_is_compressed_where_that_makes_it_smaller() {
    let (mut shorter, mut longer) = (0, 0);
    // Noise with zeros behind it, from too few to gain anything by them to many.
    for (noisy, zeros) in (16..400).step_by(8).flat_map(|noisy| (0..64).step_by(8).map(move |zeros| (noisy, zeros))) {
        let mut two = body(noisy, true);
        two.event(&hook(HeaderKind::PERFINFO64), &vec![0; zeros]).unwrap();
        let file = written(LogHeader::new(8, 0x1_0000), Packing::Xpress, &[body(4000, false), two.clone()]);
        let buffers: Vec<_> = Trace::parse(&file).unwrap().buffers().map(Result::unwrap).collect();
        assert!(!buffers[0].is_compressed());
        assert_eq!(buffers[0].header().size as usize, (HEADER + LOG + 4000usize).next_multiple_of(512));
        let (size, plain) = (buffers[1].header().size as usize, HEADER + two.len());
        assert_eq!(buffers[1].is_compressed(), size < plain, "{noisy} and {zeros}: {size} of {plain} bytes");
        assert!(size <= plain, "{noisy} and {zeros}: {size} of {plain} bytes");
        *(if size < plain { &mut shorter } else { &mut longer }) += 1;
        let mut scratch = Scratch::default();
        assert_eq!(buffers[1].events(&mut scratch).unwrap().flatten().count(), 2);
    }
    assert!(shorter > 50 && longer > 50, "{shorter} {longer}");
}

/// Matches reach back 8 KiB.
#[test]
fn what_was_there_before_is_not_stored_again() {
    let noise = |length: usize| body(length + 16, true);
    for (distance, again) in [(64, true), (6000, true), (8192, true), (8200, false), (20_000, false)] {
        let once = noise(distance);
        let mut scratch = Scratch::default();
        let bytes = {
            let file = written(LogHeader::new(8, 0x1_0000), Packing::Plain, &[Body::default(), once.clone()]);
            let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
            buffer.events(&mut scratch).unwrap().next().unwrap().unwrap().bytes[16..][..distance].to_vec()
        };
        let mut twice = Body::default();
        twice.event(&hook(HeaderKind::PERFINFO64), &bytes.repeat(2)).unwrap();
        let file = written(LogHeader::new(8, 0x1_0000), Packing::Xpress, &[Body::default(), twice.clone()]);
        let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
        // Noise takes one bit more for each byte.
        let expected = distance + distance / 8 + 200;
        assert_eq!((buffer.header().size as usize) < expected, again, "{distance}: {}", buffer.header().size);
        let event = buffer.events(&mut scratch).unwrap().next().unwrap().unwrap();
        assert!(event.bytes[16..16 + 2 * distance] == bytes.repeat(2), "{distance}");
    }
}

#[test]
fn a_body_holds_several_events() {
    let mut body = Body::default();
    assert!(body.is_empty());
    for length in [5, 0, 16] {
        body.event(&hook(HeaderKind::SYSTEM64), &vec![7; length]).unwrap();
    }
    assert_eq!((body.is_empty(), body.events(), body.len()), (false, 3, 40 + 32 + 48));
    // One that is too long says how long it would be, and leaves the others.
    let error = body.event(&hook(HeaderKind::SYSTEM64), &[0; 0xffe0]).unwrap_err();
    assert_eq!(error.to_string(), "event: 65536 bytes, allowed are up to 65535");
    assert_eq!((body.events(), body.len()), (3, 40 + 32 + 48));
    let file = written(LogHeader::new(8, 4096), Packing::Plain, &[Body::default(), body]);
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let sizes: Vec<_> = buffer.plain_events().unwrap().map(|event| event.unwrap().bytes.len()).collect();
    assert_eq!(sizes, [37, 32, 48]);
}

#[test]
fn a_header_that_is_none_is_refused() {
    let check = |header: &EventHeader, kind: ErrorKind, text: &str| {
        let error = Body::default().event(header, &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let unknown = |kind, id| check(&EventHeader::new(kind, id, Tick(1)), ErrorKind::UnknownLayout, "event header");
    let message = EventId::Message(WppMessage::new(9, 0));
    let class = EventId::Class { guid: Guid([1; 16]), opcode: 1, level: 0 };
    for kind in [HeaderKind::SYSTEM64, HeaderKind::FULL_HEADER64, HeaderKind::EVENT_HEADER64, HeaderKind::MESSAGE] {
        unknown(kind, message);
    }
    unknown(HeaderKind::SYSTEM64, class);
    unknown(HeaderKind::WPP, class);
    unknown(HeaderKind::FULL_HEADER64, EventId::Hook(HookId::IPT));
    unknown(HeaderKind::ERROR, EventId::Unknown);
    // A PERFINFO header counts its counters in three bits.
    let counted = |count| EventHeader { counters: vec![1; count], ..hook(HeaderKind::PERFINFO64) };
    Body::default().event(&counted(7), &[]).unwrap();
    check(&counted(8), ErrorKind::Size, "performance counters: 64 bytes, allowed are up to 56");
}

/// Only the type of its event decides which form the log-file header has.
#[test]
fn the_log_file_header_has_the_form_of_its_pointers() {
    for (pointer_size, kind) in [(4, HeaderKind::SYSTEM32), (8, HeaderKind::SYSTEM64), (0, HeaderKind::SYSTEM64)] {
        let file = written(LogHeader::new(pointer_size, 4096), Packing::Plain, &[Body::default()]);
        let trace = Trace::parse(&file).unwrap();
        let first = trace.buffers().next().unwrap().unwrap();
        let event = first.plain_events().unwrap().next().unwrap().unwrap();
        assert_eq!((event.kind, trace.header().pointer_size), (kind, pointer_size));
        let mut expected = LogHeader::new(pointer_size, 4096);
        expected.buffers_written = 1;
        assert_eq!(trace.header(), &expected);
    }
}

/// Text in a field of fixed size leaves room for its NUL.
#[test]
fn long_names_are_cut_to_their_fields() {
    let long = "x".repeat(600);
    let source = Payload::ConfigCpu { computer: "BOX".to_owned(), processors: 4 }.event(5, 8);
    let mut trace = TraceFile::new();
    trace.log(0, source);
    let file = trace.finish();
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let parsed = buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap();
    for (name, kept) in [(&long[..], 255), (&long[..256], 255), (&long[..255], 255), (&long[..254], 254), ("", 0)] {
        let Record::ConfigCpu(mut cpu) = parsed.record().unwrap() else { panic!("a CPU record") };
        name.clone_into(&mut cpu.computer_name);
        let header = EventHeader::of(&parsed);
        let bytes = payload(&Record::ConfigCpu(cpu.clone()), &header).unwrap().unwrap();
        let mut body = Body::default();
        body.event(&header, &bytes).unwrap();
        let file = written(LogHeader::new(8, 4096), Packing::Plain, &[Body::default(), body]);
        let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
        let again = buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap().record().unwrap();
        cpu.computer_name.truncate(kept);
        assert_eq!(again, Record::ConfigCpu(cpu), "{}", name.len());
    }
}

/// Version 0 of a process event has another layout, which nothing here reads.
#[test]
fn what_cannot_be_read_is_not_written() {
    let mut trace = TraceFile::new();
    let (name, command_line) = ("a.exe".to_owned(), String::new());
    let process = Payload::Process { opcode: 1, pid: 8, directory_table_base: 1, name, command_line, sid: None };
    trace.payload(0, 5, &process);
    let file = trace.finish();
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let parsed = buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap();
    let record = parsed.record().unwrap();
    for (version, written) in [(0, false), (1, true), (4, true)] {
        let header = EventHeader { version, ..EventHeader::of(&parsed) };
        assert_eq!(payload(&record, &header).unwrap().is_some(), written, "{version}");
    }
    assert_eq!(payload(&Record::Other, &EventHeader::of(&parsed)).unwrap(), None);
    // Version 4 is written as testkit has it, to its last byte, but for the key that it begins with.
    let written = payload(&record, &EventHeader::of(&parsed)).unwrap().unwrap();
    assert_eq!(written[8..], parsed.payload[8..]);
}

fn keep(event: &RawEvent<'_>, body: &mut Body) -> etl_file::write::Result<()> {
    body.raw(event);
    Ok(())
}

/// Only the event that is the log-file header gives way to the new one, not others of its kind.
#[test]
fn one_log_file_header_is_replaced() {
    let like = |tick| Event::hook(Header::System64, 0x0000, 2, tick, vec![9; 40]);
    let mut trace = TraceFile::new();
    trace.header_events = vec![like(1_000_001), Event::hook(Header::System64, 0x0005, 2, 1_000_002, vec![1; 36])];
    trace.log(0, like(1_000_003)).kernel_base(0, 1_000_004, 1);
    for compression in [Compression::None, Compression::Xpress] {
        trace.compression = compression;
        let file = trace.finish();
        let source = Trace::parse(&file).unwrap();
        let (again, counts) = source.rewrite(&RewriteOptions::of(&source), &keep, Vec::new()).unwrap();
        let times = |trace: &Trace<'_>| {
            let (times, _) = trace.par_fold(
                etl_file::Filter::all(),
                Vec::new,
                |times, raw| times.push(raw.parse().unwrap().timestamp.unwrap().0),
                Extend::extend,
            );
            times
        };
        let expected = [1_000_000, 1_000_001, 1_000_002, 1_000_003, 1_000_004];
        assert_eq!(times(&Trace::parse(&again).unwrap()), expected, "{compression:?}");
        assert_eq!((counts.events, counts.buffers, counts.bytes), (5, 2, again.len() as u64));
    }
}

/// A buffer without events is dropped only if the buffers before and after it in sequence are there. The first buffer of the file
/// does not count as one of them.
#[test]
fn the_first_buffer_is_no_neighbour() {
    let left = |full: &[bool]| {
        let mut trace = TraceFile::new();
        for &full in full {
            let event = Event::hook(Header::Perfinfo64, if full { 0x0f2e } else { 0x0f2f }, 2, 1_000_100, vec![7; 8]);
            trace.buffer(0, None, event.encode());
        }
        let file = trace.finish();
        let source = Trace::parse(&file).unwrap();
        let mut options = RewriteOptions::of(&source);
        options.drop_empty = true;
        let keep = |event: &RawEvent<'_>, body: &mut Body| {
            if event.parse().unwrap().hook() == Some(HookId(0x0f2e)) {
                body.raw(event);
            }
            Ok(())
        };
        source.rewrite(&options, &keep, Vec::new()).unwrap().1.buffers
    };
    assert_eq!(left(&[false, true]), 3);
    assert_eq!(left(&[true, false, true]), 3);
    assert_eq!(left(&[true, false]), 2);
    assert_eq!(left(&[false]), 2);
}

/// An output that takes so many bytes, and says whether it was flushed.
struct Limited {
    left: usize,
    flushed: bool,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.left);
        self.left -= taken;
        if taken == 0 { Err(io::Error::new(io::ErrorKind::StorageFull, "the disk is full")) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = true;
        Ok(())
    }
}

/// What the operating system says comes through, and everything that was written is flushed.
#[test]
fn an_output_that_fails_is_told() {
    let mut trace = TraceFile::new();
    trace.kernel_base(0, 1_000_004, 1);
    let file = trace.finish();
    let source = Trace::parse(&file).unwrap();
    let options = RewriteOptions::of(&source);
    let rewrite = |left| source.rewrite(&options, &keep, Limited { left, flushed: false });
    let (out, counts) = rewrite(1 << 20).unwrap();
    assert!(out.flushed);
    assert_eq!(out.left, (1 << 20) - counts.bytes as usize);
    for left in [0, 1, counts.bytes as usize - 1] {
        let Err(error) = rewrite(left) else { panic!("{left} bytes are enough") };
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Io, "the trace cannot be written"));
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("the disk is full"));
        assert_eq!(error.into_io().kind(), io::ErrorKind::StorageFull);
    }
    let other = Body::default().event(&hook(HeaderKind::ERROR), &[]).unwrap_err();
    assert!(std::error::Error::source(&other).is_none());
    assert_eq!(other.into_io().kind(), io::ErrorKind::InvalidData);
}
