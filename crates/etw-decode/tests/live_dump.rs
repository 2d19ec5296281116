//! Microsoft-Windows-Kernel-LiveDump: every layout, payloads of other lengths, and the lines of a published listing.

use etl_file::Trace;
use etw_decode::{Captures, Decoder, FieldType, Layout, Selection, live_dump, time_text};
use testkit::Asm;
use testkit::trace::{Event, Header, TraceFile};

const LIVE_DUMP: &str = "bef2aa8e-81cd-11e2-a7bb-5eac6188709b";
const WER_KERNEL: &str = "87a623f0-8db5-5c11-7c80-a2ebbcbe5189";

fn event(header: Header, id: u16, version: u16, tick: i64, payload: Vec<u8>) -> Event {
    Event::class(header, LIVE_DUMP, id, version, tick, payload)
}

/// The message of one event, whether it is cut, and how many bytes are in no field.
fn decode(event: Event) -> (String, bool, usize) {
    let file = TraceFile::new().log(0, event).finish();
    let trace = Trace::parse(&file).unwrap();
    let mut events = trace.events_by_time();
    let (decoder, mut last) = (Decoder::new(), None);
    while let Some(event) = events.next_event() {
        let event = event.unwrap();
        let decoded = decoder.decode(&event);
        last = Some((decoded.message.unwrap_or_default(), decoded.cut, decoded.rest.len()));
    }
    last.unwrap()
}

#[track_caller]
fn check(id: u16, version: u16, payload: &[u8], expected: &str) {
    assert_eq!(decode(event(Header::Event64, id, version, 1_000_001, payload.to_vec())).0, expected, "{id} {version}");
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A trace of the events, with a clock of `kind` that counts `per_unit` ticks in 100 ns.
fn trace(clock: u32, per_unit: i64, events: &[(i64, u32, u16, Vec<u8>)]) -> Vec<u8> {
    let mut file = TraceFile::new();
    file.clock = clock;
    file.cpu_mhz = 10 * per_unit as u32;
    file.perf_frequency = 10_000_000 * per_unit;
    for (units, process, id, payload) in events {
        let mut event = event(Header::Event64, *id, 0, file.start_tick + units * per_unit, payload.clone());
        event.process = *process;
        file.log((*id % 3).min(1), event);
    }
    file.finish()
}

/// The lines and the closing remarks of a trace.
fn lines(file: &[u8]) -> (Vec<String>, Vec<String>) {
    let trace = Trace::parse(file).unwrap();
    let decoder = Decoder::new();
    let mut selection = Selection::default();
    selection.providers.push(decoder.provider("microsoft-windows-kernel-livedump"));
    assert!(selection.is_about_live_dumps());
    let mut captures = Captures::new(trace.clock());
    let mut lines = Vec::new();
    let mut events = selection.in_order(&trace).unwrap();
    while let Some(event) = events.next_event() {
        let event = event.unwrap();
        if selection.admits(&decoder, &event) {
            let decoded = decoder.decode(&event);
            captures.add(&event, &decoded);
            lines.push(format!("{} {}", time_text(&trace.clock(), event.timestamp.unwrap()), decoded.message.unwrap()));
        }
    }
    (lines, captures.finish().iter().map(ToString::to_string).collect())
}

/// The published listing: times in units of 100 ns, ids, payloads.
fn listing(process: u32, later: i64) -> Vec<(i64, u32, u16, Vec<u8>)> {
    let mut events: Vec<(i64, u16, Vec<u8>)> = [
        (68_533_715, 1),
        (68_535_649, 108),
        (68_535_652, 109),
        (68_535_979, 101),
        (68_586_117, 102),
        (68_586_136, 104),
        (70_432_997, 103),
        (70_556_710, 105),
        (72_512_920, 151),
        (72_568_896, 152),
        (72_609_501, 154),
        (74_204_586, 153),
        (74_346_195, 156),
        (77_354_418, 157),
        (77_354_793, 155),
        (77_356_464, 3),
    ]
    .map(|(time, id)| (time, id, Vec::new()))
    .into();
    events.push((70_560_841, 106, numbers(&[37_429_248, 1_675_096_064, 0, 0])));
    events.push((72_512_462, 107, numbers(&[1_675_100_160, 0, 0])));
    let written = [&0u32.to_le_bytes()[..], &numbers(&[1_571_217_408, 286_720, 1_570_930_688, 0])].concat();
    events.push((418_362_706, 4, written));
    events.push((418_362_725, 2, vec![0; 4]));
    events.sort();
    events.into_iter().map(|(time, id, payload)| (time + later, process, id, payload)).collect()
}

const LISTING: &str = "\
06.8533715 Live Dump Capture Dump Data API started.
06.8535649 Sizing Workflow: RemovePages Callbacks started.
06.8535652 Sizing Workflow: RemovePages Callbacks ended.
06.8535979 Sizing Workflow: Mirroring started.
06.8586117 Sizing Workflow: Mirroring Phase 0 ended.
06.8586136 Sizing Workflow: System Quiesce started.
07.0432997 Sizing Workflow: Mirroring Phase 1 ended.
07.0556710 Sizing Workflow: System Quiesce ended.
07.0560841 Sizing Workflow: Estimation. NT: 1675096064 bytes (Minimum 37429248 bytes). Hypervisor: Primary 0 bytes. Secondary 0 bytes.
07.2512462 Sizing Workflow: Allocation. NT: 1675100160 bytes. Hypervisor: Primary 0 bytes. Secondary 0 bytes.
07.2512920 Capture Pages Workflow: Mirroring started.
07.2568896 Capture Pages Workflow: Mirroring Phase 0 ended.
07.2609501 Capture Pages Workflow: System Quiesce started.
07.4204586 Capture Pages Workflow: Mirroring Phase 1 ended.
07.4346195 Capture Pages Workflow: Copy memory pages started.
07.7354418 Capture Pages Workflow: Copy memory pages ended.
07.7354793 Capture Pages Workflow: System Quiesce ended.
07.7356464 Writing dump file started.
41.8362706 Writing dump file ended. NT Status: 0x0. Total 1571217408 bytes (Header|Primary|Secondary: 286720|1570930688|0 bytes).
41.8362725 Live Dump Capture Dump Data API ended. NT Status: 0x0.";

const REMARK: &str =
    "preparing 0.8822749 s, writing 34.1006242 s (46075913 bytes/s), quiesced 0.1970574 s and 0.4745292 s";

#[test]
fn a_published_listing_comes_out_to_the_letter_whatever_the_clock() {
    for (clock, per_unit) in [(1, 1), (2, 1), (3, 300), (1, 7)] {
        let (lines, remarks) = lines(&trace(clock, per_unit, &listing(4, 0)));
        assert_eq!(lines.join("\n"), LISTING, "clock {clock}");
        assert_eq!(remarks, [REMARK], "clock {clock}");
    }
}

#[test]
fn captures_are_paired_by_process() {
    let mut both = listing(4, 0);
    both.extend(listing(88, 1_000_000));
    both.sort();
    assert_eq!(lines(&trace(1, 1, &both)).1, [REMARK, REMARK]);
    // One that never ended, and then another of the same process.
    let mut twice: Vec<_> = listing(4, 0).into_iter().filter(|(.., id, _)| ![2, 4, 155].contains(id)).collect();
    twice.extend(listing(4, 500_000_000));
    assert_eq!(lines(&trace(1, 1, &twice)).1, ["preparing 0.8822749 s, quiesced 0.1970574 s", REMARK]);
    // A dump that was put off: the same events in the two hundreds.
    let written = |id: u16, time| (time, 4, id, [&[0; 4][..], &numbers(&[20_000_000, 0, 0, 0])].concat());
    let put_off =
        [(0, 4, 201, vec![]), (5_000_000, 4, 203, vec![]), written(204, 25_000_000), (26_000_000, 4, 202, vec![0; 4])];
    assert_eq!(lines(&trace(1, 1, &put_off)).1, ["preparing 0.5000000 s, writing 2.0000000 s (10000000 bytes/s)"]);
    assert_eq!(lines(&trace(1, 1, &[(0, 4, 4, vec![0; 36])])).1, [""; 0], "no part has both ends");
}

/// A payload of a layout: numbers from 1 on, and texts.
fn payload(layout: &Layout, width: u8) -> Vec<u8> {
    let mut asm = Asm::new();
    for (number, (_, kind)) in (1..).zip(&layout.fields) {
        match (kind, width) {
            (FieldType::U32 | FieldType::Bool32, _) | (FieldType::Pointer, 4) => asm.u32(number),
            (FieldType::Ansi, _) => asm.bytes(b"text\0"),
            (FieldType::Utf16, _) => asm.bytes(b"t\0e\0x\0t\0\0\0"),
            _ => asm.u64(number.into()),
        };
    }
    asm.finish()
}

#[test]
fn every_layout_is_read_at_its_size_and_only_there() {
    for layout in live_dump::layouts() {
        for (header, width) in [(Header::Event32, 4), (Header::Event64, 8)] {
            let exact = payload(layout, width);
            let of = |bytes: Vec<u8>| decode(event(header, layout.id, layout.version, 1_000_001, bytes));
            let what = format!("{} version {} of {width} bytes a pointer", layout.id, layout.version);
            let (line, is_cut, rest) = of(exact.clone());
            assert!(!is_cut && rest == 0 && !line.ends_with("bytes"), "{what}: {line}");
            for (at, (name, _)) in layout.fields.iter().enumerate().filter(|_| layout.bytes(8).is_some()) {
                let number = at + 1;
                let (status, hex) = (format!("NT Status: 0x{number:X}."), format!("{name}: {number:#x}"));
                let shown = [
                    format!("{name}: {number}"),
                    format!("{name}: 0x{number:X}"),
                    format!("{name}: true"),
                    format!("{number} bytes"),
                ];
                let in_total = format!("{number}|");
                let is_there = shown.iter().chain([&status, &hex, &in_total]).any(|text| line.contains(text.as_str()));
                assert!(is_there, "{what}: {name} is {number} in {line}");
            }
            for more in [1, 200] {
                let (line, is_cut, rest) = of([&exact[..], &vec![7; more]].concat());
                assert!(!is_cut && rest > 0 && line.contains("byte"), "{what}, {more} more: {line}");
            }
            if let Some(cut) = exact.len().checked_sub(1) {
                let (line, is_cut, rest) = of(exact[..cut].to_vec());
                // A text may end with the payload; layouts that begin like a shorter one are read as that one.
                let is_told = is_cut || rest > 0 && line.contains("byte") || line.contains("text");
                assert!(is_told, "{what}, cut: {line}");
                assert!(!of(Vec::new()).0.contains(':') || of(Vec::new()).1 || layout.id > 100, "{what}, nothing");
            }
        }
    }
}

#[test]
fn payloads_of_other_lengths() {
    let u32s = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let started = "Live Dump Capture Dump Data API started.";
    check(1, 1, &numbers(&[4, 1]), &format!("{started} ControlFlags: 0x4, AddPagesControl: 0x1"));
    check(1, 1, &[0; 15], &format!("{started} +15 bytes"));
    check(1, 1, &[], &format!("{started} cut"));
    check(1, 9, &numbers(&[4, 1, 7]), &format!("{started} ControlFlags: 0x4, AddPagesControl: 0x1, +8 bytes"));
    check(1, 0, &[], started);
    let ended = "Live Dump Capture Dump Data API ended.";
    check(2, 0, &u32s(&[0xc000_007f]), &format!("{ended} NT Status: 0xC000007F."));
    check(2, 0, &[1, 2, 3], &format!("{ended} cut"));
    check(2, 0, &[], &format!("{ended} cut"));
    // A version that nobody has seen is read as far as it is like the others.
    let v3 = [&u32s(&[0, 0x161])[..], &numbers(&[1, 2, 3, 4]), &u32s(&[1]), &numbers(&[250])].concat();
    let told = "BugcheckCode: 0x161, BugCheckParameter1: 0x1, BugCheckParameter2: 0x2, BugCheckParameter3: 0x3, \
                BugCheckParameter4: 0x4, AbortIfMemoryPressure: 1, DumpCaptureDuration_ms: 250";
    check(2, 3, &v3, &format!("{ended} NT Status: 0x0. {told}"));
    check(2, 9, &[&v3[..], &[0; 3]].concat(), &format!("{ended} NT Status: 0x0. {told}, +3 bytes"));
    check(2, 3, &v3[..51], &format!("{ended} NT Status: 0x0. +47 bytes"));
    check(
        4,
        0,
        &[&u32s(&[0])[..], &numbers(&[9, 8, 7])].concat(),
        "Writing dump file ended. NTStatus: 0x0, TotalBytes: 9, HeaderBytes: 8, PrimaryDataBytes: 7, cut",
    );
    check(
        4,
        1,
        &[&u32s(&[0])[..], &numbers(&[24, 8, 9, 7, 55])].concat(),
        "Writing dump file ended. NT Status: 0x0. Total 24 bytes (Header|Primary|Secondary: 8|9|7 bytes). DumpWriteDuration_ms: 55",
    );
    // The pages: three layouts of a version and a half.
    let pages = "Sizing Workflow: Pages estimated and allocated. EstimatedPageCount: 5, AllocatedPageCount: 6";
    check(113, 0, &numbers(&[5, 6]), pages);
    check(
        113,
        1,
        &numbers(&[5, 6, 1, 2, 1]),
        &format!("{pages}, LimitDumpFileSize: 1, DumpFileSizeLimitInBytes: 2, DumpFileSizeLimitReached: 1"),
    );
    check(
        113,
        1,
        &[&numbers(&[5, 6])[..], &u32s(&[1]), &numbers(&[2]), &u32s(&[1])].concat(),
        &format!("{pages}, LimitDumpFileSize: 1, DumpFileSizeLimitInBytes: 2, DumpFileSizeLimitReached: 1"),
    );
    check(113, 2, &numbers(&[5, 6, 0, 0, 0, 0]), &format!("{pages}, +32 bytes"));
    check(113, 1, &numbers(&[5, 6, 1, 2, 1])[..39], &format!("{pages}, +23 bytes"));
    check(113, 0, &numbers(&[5]), "Sizing Workflow: Pages estimated and allocated. EstimatedPageCount: 5, cut");
    // Others are not guessed at.
    check(120, 0, &[0; 40], "Sizing Workflow: Bitmap populated. 40 bytes");
    check(120, 0, &numbers(&[5]), "Sizing Workflow: Bitmap populated. PopulateBitmapForDumpDuration_ms: 5, cut");
    check(117, 0, &[0; 9], "Sizing Workflow: Context of the processors collected. 9 bytes");
    check(104, 0, &[1], "Sizing Workflow: System Quiesce started. 1 byte");
    check(104, 7, &[], "Sizing Workflow: System Quiesce started.");
}

#[test]
fn texts_of_payloads() {
    let callback = "Sizing Workflow: RemovePages Callback";
    check(110, 0, b"vmbus\0", &format!("{callback} started. CallbackIdentifier: vmbus"));
    check(110, 0, b"vmbus", &format!("{callback} started. CallbackIdentifier: vmbus"));
    check(110, 0, b"\0", &format!("{callback} started. CallbackIdentifier: "));
    check(110, 0, b"", &format!("{callback} started. cut"));
    check(110, 0, b"vmbus\0x", &format!("{callback} started. 7 bytes"));
    check(
        112,
        0,
        b"vmbus\0\x01\0\0\xc0",
        &format!("{callback} failed. CallbackIdentifier: vmbus, NTStatus: 0xC0000001"),
    );
    check(112, 0, b"vmbus", &format!("{callback} failed. CallbackIdentifier: vmbus, cut"));
    check(112, 0, b"vmbus\0\x01\0\0", &format!("{callback} failed. CallbackIdentifier: vmbus, cut"));
    let utf16 = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let mut six = utf16("Sized");
    for (name, value) in [("Pages", 7u64), ("", 9), ("Flags", 1), ("", 0), ("", 0), ("", 0), ("", 0), ("", 0)] {
        six.extend(utf16(name));
        six.extend(value.to_le_bytes());
    }
    check(6, 0, &six, "Live Dump: Sized. Pages: 7, Flags: 1");
    check(300, 0, &[0; 12], "event 300 version 0, 12 bytes");
    let (line, ..) = decode(event(Header::Event64, 110, 0, 1_000_001, vec![b'x'; 5000]));
    assert_eq!(line.chars().count(), format!("{callback} started. CallbackIdentifier: ").len() + 1025);
}

#[test]
fn who_asked_for_a_dump() {
    let utf16 = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let wer = |id, payload| decode(Event::class(Header::Event64, WER_KERNEL, id, 0, 1_000_001, payload)).0;
    let payload = [utf16("storport"), [1u32, 2, 0xc000_0001, 3].map(u32::to_le_bytes).concat()].concat();
    let line = "A driver asked for a live report. ComponentName: storport, RequestedPolicy: 1, GrantedPolicy: 2, \
                Status: 0xC0000001, ThrottleCheckResult: 3";
    assert_eq!(wer(1001, payload.clone()), line);
    let line = "A driver asked for a live report. ComponentName: storport, RequestedPolicy: 1, cut";
    assert_eq!(wer(1001, payload[..payload.len() - 9].to_vec()), line);
    let payload = [utf16("x"), vec![1, 0, 0, 0], utf16("id"), vec![0; 4]].concat();
    assert_eq!(wer(1002, payload), "A live report was made. ComponentName: x, Policy: 1, ReportId: id, Status: 0x0");
}
