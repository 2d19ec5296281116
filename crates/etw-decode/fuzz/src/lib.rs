//! The bodies of the fuzz targets: ordinary functions that panic when something is wrong.
#![forbid(unsafe_code)]

use etl_file::Trace;
use etw_decode::{Captures, Decoder, EventChoice, Manifest, Selection};
use testkit::trace::{Event, Header, SelfDescribing, TraceFile};

/// A manifest that describes the events of [`PROVIDERS`] which no provider of the crate's own has.
const MANIFEST: &str = r#"<provider name="P" guid="{12345678-9abc-def0-1122-334455667788}"><events>
<event value="0" template="t" message="$(string.m)"/><event value="1" template="u"/></events><templates><template tid="t">
<data name="n" inType="win:UInt16"/><data name="a" inType="win:UInt8" count="n"/><data name="b" inType="win:Binary" length="n"/>
<struct name="s" count="n"><data name="x" inType="win:UnicodeString"/></struct></template><template tid="u">
<data name="s" inType="win:SID"/><data name="t" inType="win:SYSTEMTIME"/><data name="r" inType="win:Binary"/></template>
</templates></provider><string id="m" value="%1 %2 %4%n%9"/>"#;

const PROVIDERS: [&str; 4] = [
    "bef2aa8e-81cd-11e2-a7bb-5eac6188709b",
    "87a623f0-8db5-5c11-7c80-a2ebbcbe5189",
    "12345678-9abc-def0-1122-334455667788",
    "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716",
];

/// One event out of bytes: a byte for its form, two for its id or hook, one for its version, the rest is the payload; of an
/// event that describes itself half of the rest is its schema.
fn event(input: &[u8]) -> Option<Event> {
    let [form, low, high, version, rest @ ..] = input else { return None };
    let (id, version, wide) = (u16::from_le_bytes([*low, *high]), u16::from(*version), form & 0x80 == 0);
    let header = if wide { Header::Event64 } else { Header::Event32 };
    let rest = &rest[..rest.len().min(20_000)];
    Some(match form & 7 {
        0..=3 => Event::class(header, PROVIDERS[usize::from(form & 3)], id, version, 1_000_001, rest.to_vec()),
        4 => Event::hook(if wide { Header::System64 } else { Header::System32 }, id, version, 1_000_001, rest.to_vec()),
        5 => {
            Event::class(Header::Full64, "b3e675d7-2554-4f18-830b-2762732560de", id, version, 1_000_001, rest.to_vec())
        }
        _ => {
            let (schema, payload) = rest.split_at(rest.len() / 2);
            SelfDescribing::new("e").raw_schema(schema).bytes(payload).event("P", 1_000_001)
        }
    })
}

/// Decodes an event in every way. The fields and what is left never say more than the payload holds.
pub fn decode(input: &[u8]) {
    let Some(event) = event(input) else { return };
    let file = TraceFile::new().log(0, event).finish();
    let trace = Trace::parse(&file).expect("testkit's file is sound");
    let mut decoder = Decoder::new();
    decoder.add(Manifest::read(MANIFEST.as_bytes()).expect("it is one"));
    let mut captures = Captures::new(trace.clock());
    let mut events = trace.events_by_time();
    let mut count = 0;
    while let Some(event) = events.next_event() {
        let Ok(event) = event else { continue };
        count += 1;
        let decoded = decoder.decode(&event);
        captures.add(&event, &decoded);
        assert!(event.payload.ends_with(decoded.rest), "what is left is the payload's end");
        assert_eq!(decoded.name, decoder.name(&event));
        let text: usize = decoded.fields.iter().map(|field| field.to_string().len()).sum();
        assert!(text + decoded.message.as_deref().unwrap_or_default().len() < 8 << 20);
        let by_name =
            Selection { events: vec![EventChoice::Name(decoded.name.event().into_owned())], ..Selection::default() };
        assert!(by_name.admits(&decoder, &event));
    }
    let all = Selection::default();
    assert_eq!((all.count(&trace, &decoder), all.count_kinds(&trace, &decoder).events()), (count, count));
    for capture in captures.finish() {
        let _ = capture.to_string();
    }
}

/// Reads a manifest.
pub fn manifest(input: &[u8]) {
    match Manifest::read(input) {
        Ok(manifest) => assert!(manifest.providers().count() > 0),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
