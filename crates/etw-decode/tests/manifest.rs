//! Instrumentation manifests: fields, lengths and numbers that other fields hold, maps, messages; and files that are not manifests.

use etl_file::Trace;
use etw_decode::{Decoder, Manifest, ManifestErrorKind};
use testkit::Asm;
use testkit::trace::{Event, Header, TraceFile};

const PROVIDER: &str = "12345678-9abc-def0-1122-334455667788";

const MANIFEST: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<!-- A provider of a test. -->
<instrumentationManifest xmlns="http://schemas.microsoft.com/win/2004/08/events">
 <instrumentation xmlns:win="http://manifests.microsoft.com/win/2004/08/windows/events"><events>
  <provider name="Test-Provider" guid="{12345678-9abc-def0-1122-334455667788}" symbol="TEST" messageFileName="x">
   <tasks><task name="Reading" value="1"/></tasks>
   <maps>
    <valueMap name="Kinds"><map value="1" message="$(string.file)"/><map value="0x2" message="$(string.pipe)"/></valueMap>
    <bitMap name="Flags"><map value="1" message="$(string.r)"/><map value="2" message="$(string.w)"/></bitMap>
   </maps>
   <templates>
    <template tid="all">
     <data name="Kind" inType="win:UInt32" map="Kinds"/>
     <data name="Flags" inType="win:UInt16" map="Flags"/>
     <data name="Path" inType="win:UnicodeString"/>
     <data name="Size" inType="win:UInt8"/>
     <data name="Data" inType="win:Binary" length="Size"/>
     <data name="Count" inType="win:UInt16"/>
     <data name="Sids" inType="win:SID" count="Count"/>
     <struct name="Pair" count="2"><data name="A" inType="win:UInt8"/><data name="B" inType="win:Int8"/></struct>
     <data name="Fixed" inType="win:AnsiString" length="4"/>
     <data name="Where" inType="win:Pointer"/>
     <data name="Status" inType="win:UInt32" outType="win:NTSTATUS"/>
    </template>
    <template tid="odd"><data name="A" inType="win:UInt8"/><data name="B" inType="win:Unheard"/></template>
   </templates>
   <events>
    <event value="1" version="0" task="Reading" opcode="win:Start" template="all" message="$(string.read)"/>
    <event value="0x2" symbol="Odd" template="odd"/>
    <event value="3" task="Reading"/>
   </events>
  </provider>
 </events></instrumentation>
 <localization><resources culture="en-US"><stringTable>
  <string id="file" value="a &quot;file&quot;"/><string id="pipe" value="pipe"/><string id="r" value="read"/><string id="w" value="write"/>
  <string id="read" value="Read %3 (%1),%n%t %11 &amp; more."/>
 </stringTable></resources></localization>
</instrumentationManifest>"#;

fn decode(manifest: &[u8], event: Event) -> (String, Vec<String>, Option<String>, usize, bool) {
    let file = TraceFile::new().log(0, event).finish();
    let trace = Trace::parse(&file).unwrap();
    let mut decoder = Decoder::new();
    decoder.add(Manifest::read(manifest).unwrap());
    let mut events = trace.events_by_time();
    let mut found = None;
    while let Some(event) = events.next_event() {
        let event = event.unwrap();
        let decoded = decoder.decode(&event);
        let name = format!("{} {}", decoded.name.provider(), decoded.name.event());
        let fields = decoded.fields.iter().map(ToString::to_string).collect();
        found = Some((name, fields, decoded.message.clone(), decoded.rest.len(), decoded.cut));
    }
    found.unwrap()
}

fn event(id: u16, payload: Vec<u8>) -> Event {
    Event::class(Header::Event64, PROVIDER, id, 0, 1_000_001, payload)
}

fn payload() -> Vec<u8> {
    let mut asm = Asm::new();
    asm.u32(1).u16(3).bytes(b"a\0b\0\0\0").u8(2).bytes(&[0xca, 0xfe]).u16(1);
    asm.bytes(&[1, 1, 0, 0, 0, 0, 0, 5]).u32(18).bytes(&[1, 0xff, 2, 0xfe]).bytes(b"ab\0\0");
    asm.u64(0xffff_f800_0000_0000).u32(0xc000_0001);
    asm.finish()
}

const FIELDS: [&str; 11] = [
    "Kind: a \"file\"",
    "Flags: read | write",
    "Path: ab",
    "Size: 2",
    "Data: cafe",
    "Count: 1",
    "Sids: [S-1-5-18]",
    "Pair: [{A: 1, B: -1}, {A: 2, B: -2}]",
    "Fixed: ab",
    "Where: 0xfffff80000000000",
    "Status: 0xC0000001",
];

#[test]
fn fields_and_sentences() {
    let (name, fields, message, rest, cut) = decode(MANIFEST.as_bytes(), event(1, payload()));
    assert_eq!(name, "Test-Provider Reading/Start");
    assert_eq!(fields, FIELDS);
    assert_eq!(message.as_deref(), Some("Read ab (a \"file\"), 0xC0000001 & more."));
    assert_eq!((rest, cut), (0, false));
    // UTF-16, as the Windows SDK writes them too.
    let wide: Vec<u8> = "\u{feff}"
        .chars()
        .chain(MANIFEST.chars())
        .collect::<String>()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(decode(&wide, event(1, payload())).1, FIELDS);
    assert_eq!(Manifest::read(MANIFEST.as_bytes()).unwrap().events(), 3);
}

#[test]
fn payloads_that_are_cut_keep_their_whole_fields() {
    let whole = payload();
    for length in 0..whole.len() {
        let (_, fields, _, rest, cut) = decode(MANIFEST.as_bytes(), event(1, whole[..length].to_vec()));
        assert!(fields.len() < FIELDS.len(), "{length}");
        // A text without its NUL ends with the payload.
        let same = fields.iter().zip(FIELDS).filter(|(found, known)| *found == known).count();
        assert!(same + 1 >= fields.len() && cut, "{length}: {fields:?}, {rest} left");
    }
    let longer = [whole, vec![1, 2]].concat();
    assert_eq!(decode(MANIFEST.as_bytes(), event(1, longer)).3, 2);
    // Behind a type that is not known nothing can be read.
    let (name, fields, _, rest, _) = decode(MANIFEST.as_bytes(), event(2, vec![7, 8, 9]));
    assert_eq!((name.as_str(), fields, rest), ("Test-Provider Odd", vec!["A: 7".to_owned()], 2));
    assert_eq!(decode(MANIFEST.as_bytes(), event(3, vec![1])).0, "Test-Provider Reading");
    let (name, fields, _, rest, _) = decode(MANIFEST.as_bytes(), event(77, vec![1]));
    assert_eq!((name.as_str(), fields.len(), rest), ("Test-Provider event 77", 0, 1));
}

#[test]
fn files_that_are_no_manifest() {
    let check = |text: &[u8], expected: fn(&ManifestErrorKind) -> bool| {
        let error = Manifest::read(text).unwrap_err();
        assert!(expected(error.kind()) && error.to_string().len() < 200, "{error}");
    };
    check(b"", |kind| *kind == ManifestErrorKind::NoProvider);
    check(b"<provider name='a'/>", |kind| *kind == ManifestErrorKind::NoProvider);
    check(b"\xff\xfe\x00\xd8", |kind| *kind == ManifestErrorKind::NotText);
    check(b"\x80", |kind| *kind == ManifestErrorKind::NotText);
    check(b"<a><b></a>", |kind| matches!(kind, ManifestErrorKind::NotXml(_)));
    check(b"<a>", |kind| matches!(kind, ManifestErrorKind::NotXml(_)));
    check(b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", |kind| *kind == ManifestErrorKind::DocumentType);
    check("<a>".repeat(1000).as_bytes(), |kind| *kind == ManifestErrorKind::TooMany);
    check("<a/>".repeat(600_000).as_bytes(), |kind| *kind == ManifestErrorKind::TooMany);
    check(&vec![b' '; 20 << 20], |kind| matches!(kind, ManifestErrorKind::TooLarge { .. }));
    // A million attributes are passed in time.
    let attributes: String = (0..500_000).map(|number| format!(" a{number}=''")).collect();
    check(format!("<a{attributes}/>").as_bytes(), |kind| *kind == ManifestErrorKind::NoProvider);
}
