//! What is read, written and read again is equal: events, headers, records, buffers and whole files.

use etl_file::write::{Body, ErrorKind, EventHeader, Layout, Packing, Plan, RewriteOptions, Writer, payload};
use etl_file::{
    Buffer, BufferFlags, BufferHeader, LogFileMode, LogHeader, Losses, RawEvent, Record, Scratch, Survey,
    SurveyOptions, Trace,
};
use proptest::prelude::*;
use std::path::Path;
use testkit::trace::{Compression, Event, Header, Module, Payload, TraceFile, shaped_trace};

/// A change that makes another kind of file out of the ordinary one.
type Change = fn(&mut TraceFile);

const GUID: &str = "12345678-9abc-def0-1122-334455667788";

/// Writes a trace anew with every event as it is.
fn copy(trace: &Trace<'_>, packing: Packing) -> Vec<u8> {
    let mut options = RewriteOptions::of(trace);
    options.packing = packing;
    let keep = |event: &RawEvent<'_>, body: &mut Body| {
        body.raw(event);
        Ok(())
    };
    trace.rewrite(&options, &keep, Vec::new()).unwrap().0
}

/// What a buffer's header says, without how it is stored.
fn identity(buffer: &Buffer<'_>) -> BufferHeader {
    let mut header = *buffer.header();
    (header.size, header.filled) = (0, 0);
    header.flags = BufferFlags(header.flags.0 & !BufferFlags::COMPRESSED.0);
    header
}

/// The buffers with their events, but for the log-file header.
fn contents(trace: &Trace<'_>) -> Vec<(BufferHeader, Vec<Vec<u8>>)> {
    let mut scratch = Scratch::default();
    let mut read = |buffer: Buffer<'_>| {
        let skipped = usize::from(buffer.offset() == 0);
        let events = buffer.events(&mut scratch).unwrap().skip(skipped).map(|event| event.unwrap().bytes.to_vec());
        (identity(&buffer), events.collect())
    };
    trace.buffers().map(|buffer| read(buffer.unwrap())).collect()
}

/// Everything that a survey says, but for the sizes that follow from how the file is stored.
fn survey(trace: &Trace<'_>) -> String {
    let Survey { header, mut warnings, .. } = trace.survey(&SurveyOptions::default().user_modules(true));
    warnings.clear();
    let mut found = trace.survey(&SurveyOptions::default().user_modules(true));
    found.header = stored_elsewhere(header);
    found.warnings = warnings;
    format!("{found:?}")
}

fn stored_elsewhere(mut header: LogHeader) -> LogHeader {
    header.mode = LogFileMode(header.mode.0 & !LogFileMode::COMPRESSED.0);
    (header.buffers_written, header.buffer_size) = (0, 0);
    header
}

/// A sound file comes back, plain and compressed, and both forms as each other.
fn check(name: &str, file: &[u8]) {
    let trace = Trace::parse(file).unwrap();
    for packing in [Packing::Plain, Packing::Xpress] {
        let written = copy(&trace, packing);
        let again = Trace::parse(&written).unwrap();
        assert_eq!(stored_elsewhere(again.header().clone()), stored_elsewhere(trace.header().clone()), "{name}");
        assert_eq!(again.header().mode.has(LogFileMode::COMPRESSED), packing == Packing::Xpress, "{name}");
        assert_eq!(u64::from(again.header().buffers_written), again.buffers().count() as u64, "{name}");
        assert!(contents(&again) == contents(&trace), "{name}, {packing:?}");
        assert_eq!(survey(&again), survey(&trace), "{name}, {packing:?}");
        // What this writer wrote, it writes again to the byte.
        assert!(copy(&again, packing) == written, "{name}, {packing:?}");
    }
}

fn sample() -> TraceFile {
    const KERNEL: u64 = 0xffff_f800_0000_0000;
    let mut trace = TraceFile::new();
    trace.buffer_size = 4096;
    trace.system(1_000_001, "TESTBOX", 4652);
    trace.kernel_base(0, 1_000_002, KERNEL);
    let kernel = Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", KERNEL, 0x104_6000);
    trace.module(0, 1_000_003, &kernel.with_pdb("ntkrnlmp.pdb", GUID, 1));
    for index in 0..60u16 {
        let path = format!(r"\SystemRoot\System32\drivers\driver{index}.sys");
        let driver = Module::kernel(&path, KERNEL + 0x1000_0000 + u64::from(index) * 0x10_0000, 0x8000);
        trace.load(index % 2, 1_000_100 + i64::from(index), &driver);
    }
    trace.ipt(1, 1_000_700, (1234, 5678), &[0x99; 5000], 0);
    trace
}

fn every_header() -> Vec<Event> {
    let hook = |header| Event::hook(header, 0x0f2e, 2, 1_000_100, vec![7; 20]);
    let class = |header| Event::class(header, GUID, 9, 0, 1_000_200, vec![7; 9]);
    let wpp = |options| Event::wpp(options, GUID, 9, 1_000_300, vec![1; 5]);
    vec![
        hook(Header::System32),
        hook(Header::System64),
        hook(Header::Compact32),
        hook(Header::Compact64),
        hook(Header::Perfinfo32),
        hook(Header::Perfinfo64),
        Event { pebs: Some(9), counters: vec![1, 2], ..hook(Header::Perfinfo64) },
        class(Header::Full32),
        class(Header::Full64),
        class(Header::Instance32),
        class(Header::Instance64),
        class(Header::Event32),
        class(Header::Event64),
        Event { extended: vec![(11, vec![1; 21]), (6, vec![2; 24])], ..class(Header::Event64) },
        Event { flags: 0x100, opcode: 3, id: 0, ..class(Header::Event64) },
        wpp(0x2a),
        wpp(0x03),
        wpp(0x0c),
        wpp(0x00),
    ]
}

#[test]
fn files_of_every_kind_come_back() {
    let kinds: &[(&str, Change)] = &[
        ("plain", |_| ()),
        ("XPRESS", |trace| trace.compression = Compression::Xpress),
        ("some plain", |trace| (trace.compression, trace.plain_every) = (Compression::Xpress, 2)),
        ("Huffman", |trace| trace.compression = Compression::XpressHuffman),
        ("LZNT1", |trace| trace.compression = Compression::Lznt1),
        ("32-bit", |trace| (trace.pointer_size, trace.windows) = (4, (10, 0, 19045))),
        ("wrapped", |trace| (trace.rotate, trace.mode) = (2, 2)),
        ("new-file", |trace| (trace.first_sequence, trace.mode) = (908, 8)),
        ("Windows 7", |trace| (trace.windows7, trace.windows) = (true, (6, 1, 7601))),
        ("system time", |trace| trace.clock = 2),
        ("cycles", |trace| trace.clock = 3),
        ("header events", |trace| trace.header_events = every_header()),
        ("not finalised", |trace| (trace.buffers_written, trace.end_time) = (Some(0), 0)),
        ("out of a dump", |trace| trace.unsealed = true),
        ("reserved", |trace| trace.preallocated = 3),
        ("lost", |trace| (trace.buffers_lost, trace.events_lost) = (3, 77)),
    ];
    for (name, change) in kinds {
        let mut trace = sample();
        change(&mut trace);
        check(name, &trace.finish());
    }
    let mut headers = sample();
    for (n, event) in every_header().into_iter().enumerate() {
        headers.log((n % 3) as u16, event);
    }
    check("headers", &headers.finish());
    check("shaped", &shaped_trace(20).finish());
    let mut unknown = sample();
    unknown
        .log(0, Event::hook(Header::Error, 0, 0, 0, vec![9; 12]))
        .log(0, Event::hook(Header::Unknown(30), 0, 0, 0, vec![9; 12]));
    check("unknown kinds", &unknown.finish());
}

#[test]
fn the_samples_come_back() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/traces");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        check(&path.to_string_lossy(), &std::fs::read(&path).unwrap());
    }
}

/// Reads one event, out of a file that holds it alone.
fn with_event<T>(event: &Event, read: impl FnOnce(&RawEvent<'_>) -> T) -> T {
    let mut trace = TraceFile::new();
    trace.log(0, event.clone());
    let file = trace.finish();
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    read(&buffer.plain_events().unwrap().next().unwrap().unwrap())
}

/// A file with one event after the log-file header.
fn one_event(body: &Body) -> Vec<u8> {
    let mut plan = Plan::new(LogHeader::new(8, 0x1_0000), Packing::Plain);
    plan.add(BufferHeader::first(), 0).unwrap();
    plan.add(BufferHeader::new(0, 1), body.len()).unwrap();
    let layout = plan.lay_out().unwrap();
    assert_eq!(layout.file_length(), Some(0x2_0000));
    let mut writer = Writer::new(&layout, Vec::new());
    writer.buffer(&Body::default()).unwrap();
    writer.buffer(body).unwrap();
    writer.finish().unwrap()
}

/// Readers on Windows look for the log-file header in a buffer of type 4, ETW_BUFFER_TYPE_HEADER of ntwmi.h.
#[test]
fn the_first_buffer_is_one_of_headers() {
    let file = one_event(&Body::default());
    let kinds: Vec<_> = Trace::parse(&file).unwrap().buffers().map(|buffer| buffer.unwrap().header().kind.0).collect();
    assert_eq!(kinds, [4, 0]);
}

fn reread<T>(body: &Body, read: impl FnOnce(&etl_file::Event<'_>) -> T) -> T {
    let file = one_event(body);
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    read(&buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap())
}

/// What a header says, for comparison.
fn said(event: &etl_file::Event<'_>) -> String {
    let items: Vec<_> = event.extended_items().collect();
    let mut event = *event;
    (event.offset, event.position) = (0, 0);
    format!("{event:?} {items:?}")
}

#[test]
fn every_kind_of_header_comes_back() {
    for event in every_header() {
        with_event(&event, |raw| {
            let parsed = raw.parse().unwrap();
            let mut body = Body::default();
            body.event(&EventHeader::of(&parsed).with_extensions(&parsed), parsed.payload).unwrap();
            reread(&body, |again| assert_eq!(said(again), said(&parsed), "{:?}", event.header));
        });
    }
    // No layout is published.
    for header in [Header::Error, Header::Unknown(30)] {
        with_event(&Event::hook(header, 0, 0, 0, vec![1; 9]), |raw| {
            let parsed = raw.parse().unwrap();
            let error = Body::default().event(&EventHeader::of(&parsed), &[]).unwrap_err().to_string();
            assert!(error.contains("the layout of") && error.contains("is not known"), "{error}");
        });
    }
}

fn every_payload() -> Vec<Payload> {
    let module = Module::kernel(r"\SystemRoot\a.sys", 0x8123_4000, 0x8000).with_pdb("a.pdb", GUID, 2);
    let image = |hook, version| Payload::Image { hook, version, module: module.clone() };
    let (name, command_line) = ("a.exe".to_owned(), "a b".to_owned());
    let process = |sid| Payload::Process {
        opcode: 1,
        pid: 8,
        directory_table_base: 0x1000,
        name: name.clone(),
        command_line: command_line.clone(),
        sid,
    };
    vec![
        image(0x030a, 0),
        image(0x1402, 1),
        image(0x1403, 2),
        image(0x1404, 3),
        Payload::KernelBase(0x8000_0000),
        Payload::ImageId(module.clone()),
        Payload::DebugId(module.clone()),
        Payload::FileVersion { module, strings: (0..10).map(|n| format!("text {n}")).collect() },
        Payload::ConfigCpu { computer: "BOX".into(), processors: 4 },
        Payload::ConfigProcessor { index: 3 },
        Payload::DeviceFamily { version: [10, 0, 26100, 4652] },
        Payload::BuildInfo { lab: "26100.1".into(), product: "Windows".into() },
        Payload::Volume { nt: r"\Device\HarddiskVolume3\".into(), dos: r"C:\".into() },
        process(None),
        process(Some(5)),
        Payload::Thread { opcode: 3, pid: 8, tid: 12, name: "main".into() },
        Payload::ContextSwitch { new: 1, old: 2 },
        Payload::SampledProfile { address: 0x8123_4567, tid: 9 },
        Payload::StackWalk { tick: 5, owner: (1, 2), frames: vec![0x8000_0001, 0x8000_0002] },
        Payload::LastBranches { tick: 5, owner: (1, 2), branches: vec![(0x8000_0001, 0x8000_0002)] },
        Payload::Ipt { trigger: 5, owner: (1, 2), options: 0x0106_0011, ring_offset: 7, data: vec![2, 0x82, 0] },
    ]
}

#[test]
fn every_record_comes_back_in_every_form() {
    for payload_kind in every_payload() {
        for width in [4, 8] {
            for event in [payload_kind.event(5, width), payload_kind.relogged(5, width)] {
                with_event(&event, |raw| {
                    let parsed = raw.parse().unwrap();
                    let record = parsed.record().unwrap();
                    assert_ne!(record, Record::Other, "{payload_kind:?}");
                    let header = EventHeader::of(&parsed);
                    let mut body = Body::default();
                    body.event(&header, &payload(&record, &header).unwrap().unwrap()).unwrap();
                    reread(&body, |again| assert_eq!(again.record().unwrap(), record));
                });
            }
        }
    }
}

#[test]
fn versions_and_providers_come_back() {
    let image = Payload::Image { hook: 0x030a, version: 2, module: Module::kernel(r"\a.sys", 0x8123_4000, 0x8000) };
    let template = image.event(5, 8);
    // Microsoft-Windows-Kernel-Process: base, size, process, checksum, stamp, default base, name.
    let mut packed = Vec::new();
    [0x8123_4000u64, 0x8000].iter().for_each(|word| packed.extend(word.to_le_bytes()));
    [4u32, 11, 12].iter().for_each(|word| packed.extend(word.to_le_bytes()));
    packed.extend(0x8123_4000u64.to_le_bytes());
    packed.extend([b'a', 0, b'.', 0, 0, 0]);
    let provider = Event::class(Header::Event64, "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716", 5, 0, 5, packed);
    let process = |version| Event::hook(Header::System64, 0x0301, version, 5, vec![1; 120]);
    let thread = |version| Event::hook(Header::System64, 0x0501, version, 5, vec![1; 90]);
    let sample = Event::hook(Header::Perfinfo64, 0x0f2e, 1, 5, vec![3; 20]);
    let lab = Event::hook(Header::System64, 0x0042, 2, 5, b"26100.1.amd64fre\0".to_vec());
    let versions = [process(1), process(2), process(3), process(5), thread(0), thread(2), thread(4)];
    for event in versions.into_iter().chain([provider, sample, lab, template]) {
        with_event(&event, |raw| {
            let parsed = raw.parse().unwrap();
            let (record, header) = (parsed.record().unwrap(), EventHeader::of(&parsed));
            let mut body = Body::default();
            body.event(&header, &payload(&record, &header).unwrap().unwrap()).unwrap();
            reread(&body, |again| assert_eq!(again.record().unwrap(), record, "{event:?}"));
        });
    }
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is() {
    let header =
        |kind| EventHeader::new(kind, etl_file::EventId::Hook(etl_file::HookId::KERNEL_BASE), etl_file::Tick(1));
    let narrow = header(etl_file::HeaderKind::PERFINFO32);
    let error = payload(&Record::KernelBase(0xffff_f800_0000_0000), &narrow).unwrap_err();
    assert_eq!(error.to_string(), "KernelBase is 0xfffff80000000000, which a pointer of 32 bits cannot hold");
    assert_eq!(error.kind(), ErrorKind::Value);
    let mut body = Body::default();
    let error = body.event(&narrow, &[0; 0x1_0000]).unwrap_err();
    assert_eq!(error.to_string(), "event: 65552 bytes, allowed are up to 65535");
    assert_eq!(error.kind(), ErrorKind::Size);
    assert!(body.is_empty(), "nothing is left of it");
    let mut plan = Plan::new(LogHeader::new(8, 4096), Packing::Plain);
    let error = plan.add(BufferHeader::first(), 17 << 20).unwrap_err();
    assert_eq!(error.to_string(), "buffer: 17825864 bytes, allowed are up to 16777216");
    plan.add(BufferHeader::first(), 8).unwrap();
    let layout: Layout = plan.lay_out().unwrap();
    let mut writer = Writer::new(&layout, Vec::new());
    let error = writer.buffer(&Body::default()).unwrap_err();
    assert_eq!(error.to_string(), "buffer 0: the length of its events is 0, and 8 was planned");
    assert_eq!(error.kind(), ErrorKind::Plan);
    assert!(writer.finish().is_err(), "a buffer is missing");
}

#[test]
fn a_larger_body_than_the_header_states_makes_buffers_larger() {
    let mut body = Body::default();
    let header = EventHeader::new(
        etl_file::HeaderKind::PERFINFO64,
        etl_file::EventId::Hook(etl_file::HookId::IPT),
        etl_file::Tick(1),
    );
    body.event(&header, &[1; 60_000]).unwrap();
    for stated in [0, 4096, u32::MAX] {
        let mut plan = Plan::new(LogHeader::new(8, stated), Packing::Plain);
        plan.add(BufferHeader::first(), 0).unwrap();
        plan.add(BufferHeader::new(3, 1), body.len()).unwrap();
        let layout = plan.lay_out().unwrap();
        assert!(layout.header().buffer_size >= 60_000 && layout.header().buffer_size <= 0x1_0000);
    }
}

/// Losses of a file whose buffers hold events (or not) and have these numbers, before and after all empty ones that can
/// go are gone.
fn losses(buffers: &[(u8, bool)], circular: bool) -> (Losses, Losses, usize) {
    let mut trace = TraceFile::new();
    (trace.buffer_size, trace.mode) = (4096, if circular { 2 } else { 1 });
    let event = Event::hook(Header::System64, 0x0f2e, 2, 1_000_100, vec![7; 20]).encode();
    for &(sequence, full) in buffers {
        let mut body = event.clone();
        body[8] = u8::from(full);
        body.resize(56, 0);
        trace.buffer(0, Some(i64::from(sequence)), body);
    }
    let file = trace.finish();
    let trace = Trace::parse(&file).unwrap();
    let mut options = RewriteOptions::of(&trace);
    options.drop_empty = true;
    let keep = |event: &RawEvent<'_>, body: &mut Body| {
        if event.bytes[8] == 1 {
            body.raw(event);
        }
        Ok(())
    };
    let (written, _) = trace.rewrite(&options, &keep, Vec::new()).unwrap();
    let again = Trace::parse(&written).unwrap();
    let options = SurveyOptions::default();
    (trace.survey(&options).losses, again.survey(&options).losses, again.buffers().count())
}

#[test]
fn buffers_without_events_go_and_losses_stay() {
    let (before, after, left) = losses(&[(1, true), (2, false), (3, false), (4, true), (5, false)], false);
    assert_eq!((before, left), (after, 3), "the first of the file, 1, and 4 as 2");
    let (before, after, left) = losses(&[(1, true), (2, false), (5, false), (6, false), (7, true)], false);
    assert_eq!((before.missing, after.missing, left), (2, 2, 5), "beside a gap they stay: 1, 2, 5 and 7, which is 6");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses_stay_whatever_is_dropped(
        buffers in proptest::collection::vec((1u8..30, any::<bool>()), 1..30),
        circular in any::<bool>(),
    ) {
        let (before, after, _) = losses(&buffers, circular);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn any_body_comes_back_compressed(
        pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), 1usize..400), 0..20),
    ) {
        let mut data: Vec<u8> = Vec::new();
        for (piece, repeated) in pieces {
            data.extend(piece.repeat(repeated));
        }
        data.truncate(60_000);
        let header = EventHeader::new(
            etl_file::HeaderKind::PERFINFO64,
            etl_file::EventId::Hook(etl_file::HookId::IPT),
            etl_file::Tick(1),
        );
        let mut body = Body::default();
        body.event(&header, &data).unwrap();
        let mut plan = Plan::new(LogHeader::new(8, 0x1_0000), Packing::Xpress);
        plan.add(BufferHeader::first(), 0).unwrap();
        plan.add(BufferHeader::new(0, 1), body.len()).unwrap();
        let layout = plan.lay_out().unwrap();
        let mut writer = Writer::new(&layout, Vec::new());
        writer.buffer(&Body::default()).unwrap();
        writer.buffer(&body).unwrap();
        let file = writer.finish().unwrap();
        let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
        let mut scratch = Scratch::default();
        let event = buffer.events(&mut scratch).unwrap().next().unwrap().unwrap();
        prop_assert_eq!(&event.bytes[16..], &data[..]);
        // A decoder that shares nothing with this one agrees. It does not know that a full last group of flags is
        // followed by an empty one, which the specification asks for.
        if buffer.is_compressed() {
            let stored = buffer.stored();
            let other = lzxpress::data::decompress(stored);
            let other = other.or_else(|_| lzxpress::data::decompress(&stored[..stored.len() - 4])).unwrap();
            prop_assert_eq!(&other[16..16 + data.len()], &data[..]);
        }
    }
}
