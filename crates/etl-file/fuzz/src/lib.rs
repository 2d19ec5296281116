//! The bodies of the fuzz targets: ordinary functions that panic when something is wrong.
#![forbid(unsafe_code)]

use etl_file::write::{Packing, RewriteOptions};
use etl_file::{Buffer, CompressionFormat, Scratch, SurveyOptions, Trace};
use testkit::trace::{Compression, Event, Header, Module, Payload, TraceFile, lznt1, xpress, xpress_huffman};

/// A small trace of everything; its kind is chosen by bits of `kind`.
fn sample(kind: u8) -> Vec<u8> {
    let mut trace = TraceFile::new();
    trace.buffer_size = 1536;
    trace.compression = match kind & 3 {
        0 => Compression::None,
        1 => Compression::Xpress,
        2 => Compression::XpressHuffman,
        _ => Compression::Lznt1,
    };
    trace.pointer_size = if kind & 4 == 0 { 8 } else { 4 };
    trace.windows7 = kind & 8 != 0;
    trace.unsealed = kind & 16 != 0;
    trace.preallocated = usize::from(kind & 32 != 0);
    trace.rotate = usize::from(kind & 64 != 0);
    trace.system(1_000_001, "BOX", 4652);
    trace.kernel_base(0, 1_000_002, 0xffff_f800_0000_0000);
    let module = Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", 0xffff_f800_0000_0000, 0x104_6000);
    trace.module(0, 1_000_003, &module.with_pdb("ntkrnlmp.pdb", "e4ff4c2b-3a0a-4a4b-9c9b-2d6a1fdd3eaf", 1));
    let driver = Module::kernel(r"\SystemRoot\a.sys", 0xffff_f801_0000_0000, 0x8000);
    trace.load(1, 1_000_004, &driver).unload(1, 1_000_005, &driver);
    trace.log(1, Event::wpp(0x2a, "12345678-9abc-def0-1122-334455667788", 9, 1_000_006, vec![1; 5]));
    let mut event = Event::class(Header::Event64, "12345678-9abc-def0-1122-334455667788", 9, 0, 1_000_007, vec![2; 9]);
    event.extended = vec![(11, vec![1; 21]), (6, vec![2; 24])];
    trace.log(0, event);
    let (name, command_line) = ("a.exe".to_owned(), "a b".to_owned());
    let sid = Some(5);
    trace.payload(
        1,
        1_000_008,
        &Payload::Process { opcode: 1, pid: 8, directory_table_base: 1, name, command_line, sid },
    );
    trace.payload(1, 1_000_009, &Payload::Thread { opcode: 3, pid: 8, tid: 12, name: "main".into() });
    trace.ipt(1, 1_000_010, (8, 12), &[2; 3000], 100);
    trace.finish()
}

/// The file that an input stands for. An even first byte: the rest is the file. An odd one: the second byte chooses a
/// sample, and the rest are edits of 4 bytes (offset, offset, kind, value) to it, so that the fuzzer need not learn the
/// format first.
fn file(input: &[u8]) -> Vec<u8> {
    let (&kind, rest) = input.split_first().unwrap_or((&0, &[]));
    if kind % 2 == 0 {
        return rest.to_vec();
    }
    let (&kind, rest) = rest.split_first().unwrap_or((&0, &[]));
    let mut file = sample(kind);
    for edit in rest.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % file.len();
        match edit[2] {
            0 => file.truncate(at.max(1)),
            1 => drop(file.drain(at.min(file.len() - 1)..(at + usize::from(edit[3])).min(file.len() - 1))),
            2 => file[at] ^= edit[3],
            _ => file[at] = edit[3],
        }
    }
    file
}

/// Walks every buffer and event, reads every record, in file order, in order of time and in none: all must agree.
pub fn walk(input: &[u8]) {
    let data = file(input);
    let Ok(trace) = Trace::parse(&data) else { return };
    let mut scratch = Scratch::default();
    let (mut events, mut buffers, mut lost, mut end) = (0, 0, 0, 0);
    for buffer in trace.buffers() {
        let buffer = match buffer {
            Ok(buffer) => buffer,
            Err(error) => {
                lost += 1;
                assert!(error.to_string().len() < 400);
                continue;
            }
        };
        assert!(buffer.offset() >= end, "buffers follow each other");
        end = buffer.offset() + 0x48;
        buffers += 1;
        let Ok(found) = buffer.events(&mut scratch) else {
            lost += 1;
            continue;
        };
        for raw in found {
            let Ok(raw) = raw else {
                lost += 1;
                continue;
            };
            events += 1;
            assert!(raw.offset < data.len() as u64 && raw.bytes.len() >= 8);
            let event = raw.parse();
            if let Ok(event) = &event {
                let _ = event.extended_items().map(|item| item.data.len()).sum::<usize>();
                let _ = format!("{:?}", event.record());
            }
        }
    }
    let (folded, walked) =
        trace.par_fold(etl_file::Filter::all(), || 0, |count, _| *count += 1, |count, later| *count += later);
    assert_eq!(folded, events);
    assert_eq!((walked.events, walked.buffers, walked.damage.len()), (events, buffers, lost));
    let (mut merged, mut damage) = (0, 0);
    let mut by_time = trace.events_by_time();
    while let Some(event) = by_time.next_event() {
        // An event whose header cannot be read is an event and an error.
        match event {
            Ok(_) => merged += 1,
            Err(_) => damage += 1,
        }
    }
    assert_eq!(merged + damage, events + lost as u64);
}

/// Writes a hostile trace anew, plain and compressed: all that could be read of it must be there again.
pub fn rewrite(input: &[u8]) {
    let data = file(input);
    let Ok(trace) = Trace::parse(&data) else { return };
    for packing in [Packing::Plain, Packing::Xpress] {
        let mut options = RewriteOptions::of(&trace);
        options.packing = packing;
        let keep = |event: &etl_file::RawEvent<'_>, body: &mut etl_file::write::Body| {
            body.raw(event);
            Ok(())
        };
        let (file, written) =
            trace.rewrite(&options, &keep, Vec::new()).expect("what was in buffers fits into buffers");
        assert_eq!(written.bytes, file.len() as u64);
        let again = Trace::parse(&file).expect("the first buffer is sound");
        // The size of buffers, their number and the mode follow from what is written.
        let mut expected = trace.header().clone();
        let header = again.header();
        (expected.buffer_size, expected.buffers_written) = (header.buffer_size, header.buffers_written);
        expected.mode = header.mode;
        assert_eq!(*header, expected);
        let (before, after) = (events(&trace), events(&again));
        assert!(after.first().is_some_and(|event| event.2[6..8] == [0, 0]), "the log-file header comes first");
        assert_eq!(after.len() as u64, written.events);
        // A damaged first buffer may have no log-file header of its own.
        let own = before.len() + 1 - after.len();
        assert!(own <= 1 && before[own..] == after[1..], "{packing:?}");
        let (_, walked) = again.par_fold(etl_file::Filter::all(), || (), |(), _| (), |(), ()| ());
        assert!(walked.damage.is_empty(), "{:?}", walked.damage);
    }
}

/// Every event that can be read: its buffer's number in the session, its processor and its bytes.
fn events(trace: &Trace<'_>) -> Vec<(i64, u16, Vec<u8>)> {
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    for buffer in trace.buffers().flatten() {
        let sequence = Buffer::header(&buffer).sequence;
        let Ok(events) = buffer.events(&mut scratch) else { continue };
        out.extend(events.flatten().map(|event| (sequence, event.processor, event.bytes.to_vec())));
    }
    out
}

/// Surveys a hostile trace: modules are in order and covered by what the file says.
pub fn survey(input: &[u8]) {
    let data = file(input);
    let Ok(trace) = Trace::parse(&data) else { return };
    let options = SurveyOptions::default().user_modules(true);
    let found = trace.survey_with_progress(&options, &|done| assert!(done <= data.len() as u64));
    for module in &found.modules {
        assert!(module.first_seen <= module.last_seen);
        let _ = (found.clock.seconds(module.first_seen), found.clock.utc(module.last_seen).to_string());
    }
    for snapshot in &found.ipt {
        let order = snapshot.likely_order();
        assert_eq!(snapshot.bytes(order).len(), snapshot.stored().len());
        assert!(snapshot.stored().len() as u64 <= snapshot.declared);
    }
    assert!(found.warnings.len() <= etl_file::WARNINGS_KEPT);
}

/// Reads a hostile payload as every kind of record: the first bytes choose header, kind and version.
pub fn records(input: &[u8]) {
    let Some((choice, payload)) = input.split_at_checked(4) else { return };
    const HEADERS: [Header; 8] = [
        Header::System64,
        Header::System32,
        Header::Perfinfo64,
        Header::Compact32,
        Header::Full64,
        Header::Full32,
        Header::Event64,
        Header::Instance32,
    ];
    const GUIDS: [&str; 6] = [
        "b3e675d7-2554-4f18-830b-2762732560de",
        "9b79ee91-b5fd-41c0-a243-4248e266e9d0",
        "2cb15d1d-5fc1-11d2-abe1-00a0c911f518",
        "ff1fd2fd-6008-42bb-9e75-00a20051f3be",
        "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716",
        "3d6fa8d0-fe05-11d0-9dda-00c04fd7ba7c",
    ];
    let header = HEADERS[usize::from(choice[0]) % HEADERS.len()];
    let version = u16::from(choice[3]) % 6;
    let payload = payload[..payload.len().min(4000)].to_vec();
    let event = if matches!(header, Header::Full64 | Header::Full32 | Header::Event64 | Header::Instance32) {
        Event::class(header, GUIDS[usize::from(choice[1]) % GUIDS.len()], choice[2].into(), version, 5, payload)
    } else {
        Event::hook(header, u16::from_le_bytes([choice[1], choice[2]]), version, 5, payload)
    };
    let mut trace = TraceFile::new();
    trace.log(0, event);
    let data = trace.finish();
    let trace = Trace::parse(&data).expect("the header is sound");
    let buffer = trace.buffers().nth(1).expect("there are two buffers").expect("it is sound");
    for event in buffer.plain_events().expect("it is plain") {
        let event = event.expect("its size is right").parse().expect("its header is whole");
        let _ = format!("{:?}", event.record());
    }
}

/// One of testkit's encoders.
type Packer = fn(&[u8]) -> Vec<u8>;

/// Decompresses hostile input, and brings back what was compressed from it.
pub fn decompress(input: &[u8]) {
    let Some((choice, rest)) = input.split_at_checked(3) else { return };
    let mut scratch = Scratch::default();
    let expected = usize::from(u16::from_le_bytes([choice[1], choice[2]]));
    if let Ok(out) = etl_file::decompress(CompressionFormat(u16::from(choice[0]) % 6), rest, expected, &mut scratch) {
        assert_eq!(out.len(), expected);
    }
    let packers: [(CompressionFormat, Packer); 3] = [
        (CompressionFormat::XPRESS, xpress),
        (CompressionFormat::XPRESS_HUFFMAN, xpress_huffman),
        (CompressionFormat::LZNT1, lznt1),
    ];
    for (format, pack) in packers {
        let out = etl_file::decompress(format, &pack(rest), rest.len(), &mut scratch);
        assert!(out == Ok(rest), "{format}");
    }
}
