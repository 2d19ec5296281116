//! Every kind of file and of event header, written by testkit and read back.

use etl_file::{EventId, HeaderKind, HookId, Scratch, Survey, SurveyOptions, Trace};
use testkit::trace::{Compression, Event, Header, Module, Payload, TraceFile};

const KERNEL: u64 = 0xffff_f800_0000_0000;

fn surveyed(file: &[u8]) -> Survey<'_> {
    let options = SurveyOptions::default().user_modules(true);
    Trace::parse(file).unwrap().survey(&options)
}

/// A small trace of everything a survey collects, over two processors.
fn sample() -> TraceFile {
    let mut trace = TraceFile::new();
    trace.buffer_size = 4096;
    trace.system(1_000_001, "TESTBOX", 4652);
    trace.kernel_base(0, 1_000_002, KERNEL);
    let pdb = "e4ff4c2b-3a0a-4a4b-9c9b-2d6a1fdd3eaf";
    trace.module(
        0,
        1_000_003,
        &Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", KERNEL, 0x104_6000).with_pdb("ntkrnlmp.pdb", pdb, 1),
    );
    for index in 0..40 {
        let path = format!(r"\SystemRoot\System32\drivers\driver{index}.sys");
        trace.module(
            index % 2,
            1_000_100 + i64::from(index),
            &Module::kernel(&path, KERNEL + 0x1000_0000 + u64::from(index) * 0x10_0000, 0x8000),
        );
    }
    trace.load(1, 1_000_500, &Module::kernel(r"\Windows\notepad.exe", 0x7ff6_0000_0000, 0x38000).in_process(1234));
    trace.payload(
        1,
        1_000_600,
        &Payload::Process {
            opcode: 1,
            pid: 1234,
            directory_table_base: 0x1_aa00_0002,
            name: "notepad.exe".into(),
            command_line: "notepad a.txt".into(),
            sid: Some(5),
        },
    );
    trace.payload(1, 1_000_601, &Payload::Thread { opcode: 1, pid: 1234, tid: 5678, name: "main".into() });
    trace.ipt(1, 1_000_700, (1234, 5678), &[0x02, 0x82, 0x02, 0x82, 0x99], 0);
    trace
}

/// What every form of the sample has in common.
fn check_sample(file: &[u8], warnings: usize) {
    let found = surveyed(file);
    assert_eq!(found.warnings.len(), warnings, "{:?}", found.warnings);
    assert_eq!(found.kernel_base, Some(KERNEL));
    let kernel: Vec<_> = found.modules.iter().filter(|module| module.kernel).collect();
    assert_eq!(kernel.len(), 41);
    assert_eq!(kernel[0].name, "ntoskrnl.exe");
    let pdb = kernel[0].pdb.as_ref().unwrap();
    assert_eq!((pdb.name.as_str(), pdb.age), ("ntkrnlmp.pdb", 1));
    assert_eq!(pdb.guid.to_string(), "E4FF4C2B-3A0A-4A4B-9C9B-2D6A1FDD3EAF");
    assert!(kernel.iter().all(|module| module.timestamp.is_some() && module.process == 0));
    let user = found.modules.last().unwrap();
    assert_eq!((user.process, user.kernel, user.loaded.map(|tick| tick.0)), (1234, false, Some(1_000_500)));
    assert_eq!((found.system.revision, found.system.processors), (Some(4652), 4));
    assert_eq!(found.system.computer_name.as_deref(), Some("TESTBOX"));
    assert_eq!(found.system.cpu.as_ref().unwrap().vendor.as_deref(), Some("GenuineIntel"));
    assert_eq!(found.volumes[0].dos, r"C:\");
    let process = &found.processes[0];
    assert_eq!(
        (process.pid, process.name.as_str(), process.command_line.as_str()),
        (1234, "notepad.exe", "notepad a.txt")
    );
    assert_eq!(found.threads[0].name, "main");
    assert_eq!(found.ipt.len(), 1);
    let snapshot = &found.ipt[0];
    assert_eq!((snapshot.processor, snapshot.pid, snapshot.tid, snapshot.trigger_time.0), (1, 1234, 5678, 1_000_700));
    assert_eq!(*snapshot.stored(), [0x02, 0x82, 0x02, 0x82, 0x99]);
    assert_eq!(snapshot.trigger.unwrap().hook, HookId::CONTEXT_SWITCH);
    let trace = Trace::parse(file).unwrap();
    let mut scratch = Scratch::default();
    let mut events = 0;
    for buffer in trace.buffers().flatten() {
        events += buffer.events(&mut scratch).unwrap().flatten().count();
    }
    assert_eq!(events as u64, found.counts.events);
}

#[test]
fn every_kind_of_file_says_the_same() {
    let check = |change: fn(&mut TraceFile), warnings| {
        let mut trace = sample();
        change(&mut trace);
        check_sample(&trace.finish(), warnings);
    };
    check(|_| (), 0);
    check(|trace| trace.compression = Compression::Xpress, 0);
    check(|trace| trace.compression = Compression::XpressHuffman, 0);
    check(|trace| trace.compression = Compression::Lznt1, 0);
    check(|trace| (trace.compression, trace.plain_every) = (Compression::Xpress, 2), 0);
    check(|trace| trace.first_sequence = 908, 0);
    check(|trace| (trace.rotate, trace.mode) = (2, 2), 0);
    check(|trace| (trace.buffers_written, trace.end_time) = (Some(0), 0), 0);
    check(|trace| trace.windows7 = true, 0);
    check(|trace| trace.unsealed = true, 0);
    // A reserved tail is worth a remark.
    check(|trace| trace.preallocated = 5, 1);
}

#[test]
fn circular_files_come_back_in_order() {
    for rotate in 0..8 {
        let mut trace = TraceFile::new();
        trace.buffer_size = 4096;
        trace.rotate = rotate;
        let data: Vec<u8> = (0..20_000u32).map(|i| (i / 7) as u8).collect();
        trace.ipt(3, 5_000, (1, 2), &data, 0);
        let file = trace.finish();
        let found = surveyed(&file);
        assert_eq!(found.ipt.len(), 1);
        assert_eq!(*found.ipt[0].stored(), data, "split snapshots are joined in sequence order, rotated by {rotate}");
        assert_eq!(found.counts.ipt_events, found.ipt[0].pieces.len() as u64);
        assert_eq!(found.ipt[0].trigger.map(|trigger| trigger.hook), Some(HookId::CONTEXT_SWITCH));
    }
}

#[test]
fn every_kind_of_header_is_read() {
    const GUID: &str = "12345678-9abc-def0-1122-334455667788";
    let payload = || b"payload!".to_vec();
    let hook = |header| Event::hook(header, 0x1234, 3, 77, payload());
    let class = |header| Event::class(header, GUID, 9, 3, 77, payload());
    let mut counted = hook(Header::Perfinfo64);
    (counted.counters, counted.pebs) = (vec![5, 6, 7], Some(99));
    let mut extended = class(Header::Event64);
    extended.extended = vec![(11, vec![1; 21]), (6, vec![2; 24])];

    let check = |event: Event, kind: HeaderKind, tick: Option<i64>, thread: Option<u32>| {
        let mut trace = TraceFile::new();
        trace.log(2, event.clone());
        // What follows shows that the size was right.
        trace.kernel_base(2, 88, 1);
        let file = trace.finish();
        let trace = Trace::parse(&file).unwrap();
        let buffer = trace.buffers().nth(1).unwrap().unwrap();
        let mut events = buffer.plain_events().unwrap();
        let read = events.next().unwrap().unwrap().parse().unwrap();
        assert_eq!(read.kind, kind);
        assert_eq!((read.timestamp.map(|tick| tick.0), read.thread), (tick, thread), "{kind:?}");
        // The same headers say the process.
        assert_eq!((read.processor, read.process), (2, thread.map(|_| 4)), "{kind:?}");
        assert!(read.payload.ends_with(b"payload!"), "{kind:?}: {:?}", read.payload);
        match read.id {
            EventId::Hook(hook) => assert_eq!((hook.0, read.version), (0x1234, 3)),
            EventId::Class { guid, opcode, .. } => {
                assert_eq!((guid.to_string().to_lowercase().as_str(), opcode, read.version), (GUID, 9, 3));
            }
            EventId::Provider(provider) => {
                assert_eq!((provider.provider.data1(), provider.id, read.version), (0x1234_5678, 9, 3));
            }
            EventId::Message(message) => {
                let has = |option| event.options & option != 0;
                assert_eq!((message.number, message.options), (9, event.options));
                assert_eq!(message.sequence, has(1).then_some(99));
                assert_eq!(message.guid.map(|guid| guid.to_string().to_lowercase()), has(2).then(|| GUID.to_owned()));
                // A class leaves no room for a component.
                assert_eq!(message.component, (has(4) && !has(2)).then_some(0xc0de), "{:#x}", event.options);
            }
            _ => {}
        }
        let counters: Vec<u8> = event.counters.iter().flat_map(|counter| counter.to_le_bytes()).collect();
        assert_eq!(read.counters, counters);
        assert_eq!(read.pebs_index, event.pebs);
        let items: Vec<_> = read.extended_items().map(|item| (item.kind.0, item.data.to_vec())).collect();
        assert_eq!(items, event.extended);
        if !matches!(kind.0, 13 | 99) {
            assert_eq!(read.payload, b"payload!", "{kind:?}");
        }
        let after = events.next().unwrap().unwrap().parse().unwrap();
        assert_eq!(after.hook(), Some(HookId::KERNEL_BASE));
        assert!(events.next().is_none());
    };
    let some = Some(0x1c);
    check(hook(Header::System32), HeaderKind::SYSTEM32, Some(77), some);
    check(hook(Header::System64), HeaderKind::SYSTEM64, Some(77), some);
    check(hook(Header::Compact32), HeaderKind::COMPACT32, Some(77), some);
    check(hook(Header::Compact64), HeaderKind::COMPACT64, Some(77), some);
    check(hook(Header::Perfinfo32), HeaderKind::PERFINFO32, Some(77), None);
    check(hook(Header::Perfinfo64), HeaderKind::PERFINFO64, Some(77), None);
    check(counted, HeaderKind::PERFINFO64, Some(77), None);
    check(class(Header::Full32), HeaderKind::FULL_HEADER32, Some(77), some);
    check(class(Header::Full64), HeaderKind::FULL_HEADER64, Some(77), some);
    check(class(Header::Instance32), HeaderKind::INSTANCE32, Some(77), some);
    check(class(Header::Instance64), HeaderKind::INSTANCE64, Some(77), some);
    check(class(Header::Event32), HeaderKind::EVENT_HEADER32, Some(77), some);
    check(class(Header::Event64), HeaderKind::EVENT_HEADER64, Some(77), some);
    check(extended, HeaderKind::EVENT_HEADER64, Some(77), some);
    check(class(Header::Error), HeaderKind::ERROR, None, None);
    check(class(Header::Unknown(99)), HeaderKind(99), None, None);
    check(Event::wpp(0x2a, GUID, 9, 77, payload()), HeaderKind::WPP, Some(77), some);
    // Every choice of what a message may say of itself.
    for options in (0..0x40).filter(|options| options & 0x10 == 0) {
        let (time, by) = ((options & 8 != 0).then_some(77), (options & 0x20 != 0).then_some(0x1c));
        check(Event::wpp(options, GUID, 9, 77, payload()), HeaderKind::WPP, time, by);
    }
}
