//! Kernel events in their two forms, under a hook id and under a class: one answer for both.

use etl_file::{EventId, Filter, Guid, HookId, ProviderGuid, Record, Trace};
use testkit::trace::{Event, Header, Module, Payload, TraceFile};

fn module() -> Module {
    Module::kernel(r"\SystemRoot\System32\drivers\tcpip.sys", 0x8123_4000, 0x2f_0000)
}

/// One event of each kind that has both forms, with its hook and its class.
fn kernel_events() -> Vec<(Payload, HookId, Guid)> {
    let image = |hook| Payload::Image { hook, version: 3, module: module() };
    let (name, command_line) = ("a.exe".to_owned(), "a".to_owned());
    vec![
        (image(0x030a), HookId::IMAGE_LOAD, ProviderGuid::IMAGE),
        (image(0x1402), HookId::IMAGE_UNLOAD, ProviderGuid::IMAGE),
        (image(0x1403), HookId::IMAGE_DC_START, ProviderGuid::IMAGE),
        (image(0x1404), HookId::IMAGE_DC_END, ProviderGuid::IMAGE),
        (Payload::KernelBase(0x8000_0000), HookId::KERNEL_BASE, ProviderGuid::IMAGE),
        (Payload::ConfigProcessor { index: 7 }, HookId::CONFIG_PROCESSOR, ProviderGuid::SYSTEM_CONFIG),
        (
            Payload::Process { opcode: 1, pid: 8, directory_table_base: 0x1000, name, command_line, sid: None },
            HookId::PROCESS_START,
            ProviderGuid::PROCESS,
        ),
        (Payload::Thread { opcode: 2, pid: 8, tid: 12, name: String::new() }, HookId::THREAD_END, ProviderGuid::THREAD),
    ]
}

/// The file with one event, and that event read back by `check`.
fn read(event: Event, check: impl FnOnce(&etl_file::Event<'_>)) {
    let mut trace = TraceFile::new();
    trace.log(0, event);
    let file = trace.finish();
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    check(&buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap());
}

/// How many of the events of `trace` the filter lets through, the log-file header left out.
fn admitted(events: &[Event], filter: &Filter) -> usize {
    let mut trace = TraceFile::new();
    for event in events {
        trace.log(0, event.clone());
    }
    let file = trace.finish();
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let mut found = buffer.plain_events().unwrap();
    std::iter::from_fn(|| found.next_matching(filter)).count()
}

/// A relogged event under an EVENT_HEADER, whose flag says that the GUID is a class.
fn under_event_header(relogged: &Event) -> Event {
    let mut event = relogged.clone();
    (event.header, event.flags, event.opcode, event.id) = (Header::Event64, 0x100, relogged.id as u8, 0);
    event
}

#[test]
fn hook_class_and_record_agree_in_every_form() {
    for (payload, hook, class) in kernel_events() {
        let (logged, relogged) = (payload.event(5, 8), payload.relogged(5, 8));
        let mut records = Vec::new();
        for event in [logged, relogged.clone(), under_event_header(&relogged)] {
            let header = event.header;
            read(event, |event| {
                assert_eq!((event.hook(), event.class()), (Some(hook), Some(class)), "{header:?}");
                let record = event.record().unwrap();
                assert_ne!(record, Record::Other, "{header:?}");
                records.push(format!("{record:?}"));
            });
        }
        assert!(records.windows(2).all(|pair| pair[0] == pair[1]), "{records:?}");
    }
}

#[test]
fn a_filter_of_hooks_finds_each_of_them_in_every_form() {
    for (payload, hook, _) in kernel_events() {
        let relogged = payload.relogged(5, 8);
        let forms = [payload.event(5, 8), relogged.clone(), under_event_header(&relogged)];
        assert_eq!(admitted(&forms, &Filter::none().hooks(&[hook])), 3, "{hook:?}");
        // Another kind of the same class is not asked for.
        let other = HookId(hook.0 ^ 0x80);
        assert_eq!(other.class(), HookId(hook.0 & 0xff00).class());
        assert_eq!(admitted(&forms, &Filter::none().hooks(&[other])), 0, "{hook:?}");
    }
}

#[test]
fn events_that_are_not_the_kernels_have_a_class_and_no_hook() {
    const GUID: &str = "12345678-9abc-def0-1122-334455667788";
    let guid = Guid::new(0x1234_5678, 0x9abc, 0xdef0, [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    let class = |header| Event::class(header, GUID, 9, 3, 77, vec![]);
    let check = |event: Event, expected: Option<Guid>| {
        let header = event.header;
        read(event, |event| assert_eq!((event.hook(), event.class()), (None, expected), "{header:?}"));
    };
    check(class(Header::Full64), Some(guid));
    check(class(Header::Instance32), Some(guid));
    check(class(Header::Event64), Some(guid));
    check(Event::wpp(0x2a, GUID, 9, 77, vec![]), Some(guid));
    check(Event::wpp(0x04, GUID, 9, 77, vec![]), None);
    check(Event { payload: vec![0; 8], ..class(Header::Error) }, None);
    // A manifest's event under the GUID of a kernel class: the GUID is a provider's there.
    let mut provider = Event::class(Header::Event64, "3d6fa8d0-fe05-11d0-9dda-00c04fd7ba7c", 1, 3, 77, vec![]);
    provider.opcode = 1;
    read(provider.clone(), |event| {
        assert!(matches!(event.id, EventId::Provider(_)));
        assert_eq!((event.hook(), event.class()), (None, Some(ProviderGuid::PROCESS)));
    });
    assert_eq!(admitted(&[provider], &Filter::none().hooks(&[HookId::PROCESS_START])), 0);
    // A hook of a group whose class is not published.
    read(Event::hook(Header::System64, 0x4001, 1, 5, vec![]), |event| {
        assert_eq!((event.hook(), event.class()), (Some(HookId(0x4001)), None));
    });
}
