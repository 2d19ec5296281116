//! TraceLogging: every type, arrays and structures, and schemas that are damaged.

use etl_file::Trace;
use etw_decode::{Decoder, Selection};
use testkit::trace::{Event, SelfDescribing, TraceFile};

/// Provider, event, fields as text, bytes that are left.
fn decode(event: Event) -> (String, String, String, usize) {
    let file = TraceFile::new().log(0, event).finish();
    let trace = Trace::parse(&file).unwrap();
    let mut events = trace.events_by_time();
    let decoder = Decoder::new();
    let mut found = None;
    while let Some(event) = events.next_event() {
        let event = event.unwrap();
        let decoded = decoder.decode(&event);
        let fields: Vec<String> = decoded.fields.iter().map(ToString::to_string).collect();
        let cut = if decoded.cut { ", cut" } else { "" };
        let names = (decoded.name.provider().into_owned(), decoded.name.event().into_owned());
        found = Some((names.0, names.1, fields.join(", ") + cut, decoded.rest.len()));
    }
    found.unwrap()
}

#[track_caller]
fn check(event: &SelfDescribing, fields: &str, rest: usize) {
    let found = decode(event.event("Demo.Provider", 1_000_001));
    assert_eq!(found, ("Demo.Provider".into(), "Started".into(), fields.into(), rest));
}

fn event() -> SelfDescribing {
    SelfDescribing::new("Started")
}

#[test]
fn every_type() {
    check(&event(), "", 0);
    check(&event().field("text", 1, 0, b"a\0b\0\0\0").field("narrow", 2, 0, b"cd\0"), "text: ab, narrow: cd", 0);
    check(
        &event().field("a", 3, 0, &[0xff]).field("b", 4, 0, &[0xff]).field("c", 5, 0, &[0xfe, 0xff]).field(
            "d",
            6,
            0,
            &[1, 2],
        ),
        "a: -1, b: 255, c: -2, d: 513",
        0,
    );
    check(
        &event()
            .field("a", 7, 0, &[0xff; 4])
            .field("b", 8, 4, &[0xff; 4])
            .field("c", 9, 0, &[0xff; 8])
            .field("d", 10, 0, &[1; 8]),
        "a: -1, b: 0xffffffff, c: -1, d: 72340172838076673",
        0,
    );
    check(
        &event().field("a", 11, 0, &1.5f32.to_le_bytes()).field("b", 12, 0, &(-2.5f64).to_le_bytes()).field(
            "c",
            13,
            0,
            &[0, 0, 1, 0],
        ),
        "a: 1.5, b: -2.5, c: true",
        0,
    );
    let guid = [0xdb, 0xeb, 0xef, 0x5e, 0x0c, 0xe9, 0x3a, 0x42, 0x8a, 0xbf, 0x02, 0x41, 0xe7, 0xc5, 0xb8, 0x7d];
    check(&event().field("a", 15, 0, &guid), "a: {5EEFEBDB-E90C-423A-8ABF-0241E7C5B87D}", 0);
    check(&event().field("a", 14, 0, &[2, 0, 0xab, 0xcd]).field("b", 25, 0, &[1, 0, 7]), "a: abcd, b: 07", 0);
    check(&event().field("a", 22, 0, &[2, 0, b'x', 0]).field("b", 23, 0, &[2, 0, b'y', b'z']), "a: x, b: yz", 0);
    check(&event().field("a", 20, 0, &[1, 0, 0, 0]).field("b", 21, 0, &[2, 0, 0, 0, 0, 0, 0, 0]), "a: 0x1, b: 0x2", 0);
    check(
        &event().field("status", 7, 14, &[0x7f, 0, 0, 0xc0]).field("b", 4, 3, &[1]),
        "status: 0xC000007F, b: true",
        0,
    );
    check(&event().custom("a", &[1, 2]).field("b", 4, 0, &[9]), "a: 0102, b: 9", 0);
    // The width of a pointer is the header's.
    let mut narrow = event().field("p", 16, 0, &[1, 0, 0, 0]);
    narrow.pointer_size = 4;
    check(&narrow, "p: 0x1", 0);
}

#[test]
fn arrays_and_structures() {
    check(&event().fixed_array("a", 4, 3, &[1, 2, 3]), "a: [1, 2, 3]", 0);
    check(&event().array("a", 2, 2, b"x\0y\0").array("b", 8, 0, &[]), "a: [x, y], b: []", 0);
    let inner = event().structure("s", 2, None).field("a", 4, 0, &[1]).structure("t", 1, None).field("b", 4, 0, &[2]);
    check(&inner.field("c", 4, 0, &[3]), "s: {a: 1, t: {b: 2}}, c: 3", 0);
    let list = event().structure("s", 2, Some(2)).field("a", 4, 0, &[1]).field("b", 4, 0, &[2]).bytes(&[3, 4]);
    check(&list, "s: [{a: 1, b: 2}, {a: 3, b: 4}]", 0);
}

#[test]
fn what_is_not_whole_is_left() {
    check(&event().field("a", 4, 0, &[1]).field("b", 8, 0, &[1, 2, 3]), "a: 1, cut", 3);
    check(&event().array("a", 8, 2, &[1, 0, 0, 0, 2]), ", cut", 7);
    check(&event().field("a", 4, 0, &[1]).bytes(&[9, 9]), "a: 1", 2);
    // An unknown type ends what can be read.
    check(&event().field("a", 4, 0, &[1]).field("b", 31, 0, &[1, 2]), "a: 1", 2);
    // A schema that ends inside a field says nothing.
    check(&event().raw_schema(b"name without type").bytes(&[1]), "", 1);
    check(&event().raw_schema(b"a\0\x78\x05").bytes(&[1]), "", 1);
    // A hundred structures inside each other are no event's.
    let deep = (0..100).fold(event(), |event, _| event.structure("s", 1, None)).field("a", 4, 0, &[1]);
    check(&deep, "", 1);
    // Elements without bytes cost nothing and are not believed.
    let empty = event().structure("s", 0, Some(60_000));
    let (.., fields, rest) = decode(empty.event("Demo.Provider", 1_000_001));
    assert_eq!((fields.as_str(), rest), ("", 2));
}

#[test]
fn they_are_found_by_their_names() {
    let mut file = TraceFile::new();
    let other = SelfDescribing::new("Stopped");
    file.log(0, event().event("Demo.Provider", 1_000_001)).log(1, other.event("Demo.Provider", 1_000_002));
    file.log(0, event().event("Other.Provider", 1_000_003)).kernel_base(0, 1_000_004, 0);
    let file = file.finish();
    let trace = Trace::parse(&file).unwrap();
    let decoder = Decoder::new();
    let check = |providers: &[&str], events: &[&str], expected: u64| {
        let selection = Selection {
            providers: providers.iter().map(|name| decoder.provider(name)).collect(),
            events: events.iter().map(|name| name.parse().unwrap()).collect(),
            ..Selection::default()
        };
        assert_eq!(selection.count(&trace, &decoder), expected, "{providers:?} {events:?}");
        assert_eq!(selection.count_kinds(&trace, &decoder).events(), expected);
    };
    check(&["demo.provider"], &[], 2);
    check(&["demo.provider"], &["STARTED"], 1);
    check(&[], &["started"], 2);
    // Those that describe themselves, and the log-file header.
    check(&[], &["0"], 4);
    check(&["{5eefebdb-e90c-423a-8abf-0241e7c5b87d}"], &[], 3);
    check(&["Image", "Other.Provider"], &[], 2);
    check(&["nobody"], &[], 0);
    let counts = Selection::default().count_kinds(&trace, &decoder);
    let named: Vec<_> = counts.kinds.iter().map(|kind| (&*kind.provider_name, &*kind.event, kind.events)).collect();
    assert_eq!(
        named,
        [
            ("Demo.Provider", "Started", 2),
            ("Demo.Provider", "Stopped", 1),
            ("EventTrace", "Header", 1),
            ("Image", "KernelBase", 1)
        ]
    );
}
