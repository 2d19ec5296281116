//! Which bytes of a buffer are an event, where each event ends, and what is reported about other bytes.

use etl_file::{Error, ErrorKind, EventId, ExtendedType, HeaderKind, Scratch, SurveyOptions, Trace};
use testkit::Asm;
use testkit::trace::{BUFFER_HEADER, Compression, Event, Header, TraceFile};

const BUFFER: usize = 4096;

/// A file with one buffer behind the first, and this body in it.
fn file(body: &[u8], compression: Compression) -> Vec<u8> {
    let mut trace = TraceFile::new();
    (trace.buffer_size, trace.compression) = (BUFFER, compression);
    trace.buffer(3, None, body.to_vec());
    trace.finish()
}

/// Kind, size and position of each event of a body, and the error at its end if there is one; offsets of errors are
/// relative to the body.
fn walk(body: &[u8], compression: Compression) -> (Vec<(HeaderKind, usize, u32)>, Option<Error>) {
    let file = file(body, compression);
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let mut scratch = Scratch::default();
    let (mut found, mut error) = (Vec::new(), None);
    for event in buffer.events(&mut scratch).unwrap() {
        assert!(error.is_none(), "an error ends a buffer");
        match event {
            Ok(event) => found.push((event.kind, event.bytes.len(), event.position)),
            Err(damage) => error = Some(damage),
        }
    }
    (found, error)
}

/// A word at the start of 96 bytes of zeros: the marker of what may be an event of 96 bytes, wherever its size is.
fn marked(first: [u8; 4]) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.bytes(&first).u16(96).u16(0x0f2e).pad_to(96, 0);
    asm.finish()
}

/// TRACE_HEADER_FLAG 0x80, TRACE_HEADER_EVENT_TRACE 0x40, TRACE_MESSAGE 0x10 and TRACE_HEADER_ULONG32_TIME 0xB0 of
/// ntwmi.h, alone and with the bits that have no published meaning.
#[test]
fn the_marker_byte_says_what_begins() {
    let check = |marker: u8, expected: Option<HeaderKind>| {
        // Byte 2 is the type of an event; the size comes first in an EVENT_HEADER.
        let (found, error) = walk(&marked([96, 0, 19, marker]), Compression::None);
        let expected: Vec<_> = expected.into_iter().map(|kind| (kind, 96, 0)).collect();
        assert_eq!((found, error.is_none()), (expected.clone(), !expected.is_empty()), "{marker:#04x}: {error:?}");
        if let Some(error) = error {
            let what =
                format!("event marker is {:#x}, allowed: a trace marker", u32::from_le_bytes([96, 0, 19, marker]));
            assert!(error.to_string().contains(&what), "{error}");
        }
    };
    for marker in 0..=u8::MAX {
        check(
            marker,
            match marker {
                0x00..0x80 => None,
                0xc0..=0xff => Some(HeaderKind::EVENT_HEADER64),
                0x80..0x90 | 0xa0..0xb0 => None,
                0x90..0xa0 => Some(HeaderKind::WPP),
                0xb0..0xc0 => Some(HeaderKind::ULONG32_TIME),
            },
        );
    }
    // Marker bits without a meaning change neither type nor size: in a SYSTEM header the size comes second.
    for marker in [0xc0, 0xd0, 0xe5, 0xff] {
        let (found, error) = walk(&marked([0xff, 0xff, 2, marker]), Compression::None);
        assert_eq!((found, error), (vec![(HeaderKind::SYSTEM64, 96, 0)], None), "{marker:#x}");
    }
    // Only 32 ones are the unused tail of a buffer.
    let (found, error) = walk(&marked([0xff; 4]), Compression::None);
    assert_eq!((found, error), (vec![], None));
}

/// The header size of each kind, from ntwmi.h and evntrace.h. An event is at least that long.
#[test]
fn an_event_is_as_long_as_its_header_at_least() {
    let shortest = |kind: u8| match kind {
        1 | 2 => 32,
        3 | 4 => 24,
        10 | 20 => 48,
        11 | 21 => 72,
        16 | 17 => 16,
        18 | 19 => 80,
        _ => 8,
    };
    let check = |first: [u8; 4], second: u16, expected: Option<usize>| {
        let mut body = marked(first);
        body[4..6].copy_from_slice(&second.to_le_bytes());
        // What follows is an event if the size was believed.
        body.truncate(expected.unwrap_or(8).next_multiple_of(8));
        body.extend(Event::hook(Header::Perfinfo64, 0x0f2e, 2, 5, vec![]).encode());
        let length = body.len() as u64;
        let (found, error) = walk(&body, Compression::None);
        let error = error.map(|error| (error.structure(), error.kind(), error.length()));
        match expected {
            Some(size) => {
                let sizes: Vec<_> = found.iter().map(|&(_, size, at)| (size, at as usize)).collect();
                let next = size.next_multiple_of(8);
                assert_eq!((sizes, error), (vec![(size, 0), (16, next)], None), "{first:x?} {size}");
            }
            None => assert_eq!((found, error), (vec![], Some(("event", ErrorKind::Field, length))), "{first:x?}"),
        }
    };
    for kind in 0..=u8::MAX {
        let size = shortest(kind);
        for (size, expected) in [(size, Some(size as usize)), (size + 1, Some(size as usize + 1)), (size - 1, None)] {
            let [low, high] = u16::to_le_bytes(size);
            if matches!(kind, 1..=4 | 16 | 17) {
                check([2, 0, kind, 0xc0], size, expected);
            } else {
                check([low, high, kind, 0xc0], 0xffff, expected);
            }
        }
    }
    // A WPP message and the obsolete header with a time of 32 bits have no type; theirs are 8 bytes.
    for marker in [0x90, 0xb0] {
        check([8, 0, 0xee, marker], 0, Some(8));
        check([7, 0, 0xee, marker], 0, None);
    }
}

/// An event that cannot be right ends its buffer: where it stood, and how much was lost with it.
#[test]
fn damage_tells_its_place_and_what_it_cost() {
    let good = Event::hook(Header::Perfinfo64, 0x0f2e, 2, 5, vec![1; 24]).encode();
    let bodies: [(&str, Vec<u8>); 3] = [
        ("marker", vec![0x11; 56]),
        ("size", marked([4, 0, 19, 0xc0])),
        // Longer than what is left of the buffer.
        ("length", [&[0, 1, 19, 0xc0][..], &[0; 76]].concat()),
    ];
    for (case, damaged) in bodies {
        let body = [&good[..], &good[..], &damaged[..]].concat();
        for compression in [Compression::None, Compression::Xpress] {
            let (found, error) = walk(&body, compression);
            assert_eq!(found.len(), 2, "{case}");
            let error = error.unwrap();
            // An event of a compressed buffer has no place of its own in the file.
            let place = if compression == Compression::None { BUFFER_HEADER + 2 * good.len() } else { 0 };
            let buffer = bounds(&file(&body, compression));
            assert_eq!(
                (error.offset() as usize, error.length() as usize),
                (buffer + place, damaged.len()),
                "{case}, {compression:?}: {error}"
            );
            // What came before it counts, and nothing after it does.
            let file = file(&body, compression);
            let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default());
            assert_eq!((found.counts.events, found.warnings.len()), (1 + 2, 1), "{case}");
        }
    }
}

fn bounds(file: &[u8]) -> usize {
    Trace::parse(file).unwrap().buffers().nth(1).unwrap().unwrap().offset() as usize
}

/// What the file's end cuts off an event is not reported a second time.
#[test]
fn an_event_that_the_file_ends_in_is_no_further_damage() {
    let good = Event::hook(Header::Perfinfo64, 0x0f2e, 2, 5, vec![1; 24]).encode();
    let body = good.repeat(3);
    let file = file(&body, Compression::None);
    for left in 0..body.len() {
        let file = &file[..BUFFER + BUFFER_HEADER + left];
        let found = Trace::parse(file).unwrap().survey(&SurveyOptions::default());
        assert_eq!((found.counts.events as usize, found.warnings.len()), (1 + left / good.len(), 1), "{left}");
    }
}

#[test]
fn the_rest_of_a_buffer_is_counted() {
    let body = Event::hook(Header::Perfinfo64, 0x0f2e, 2, 5, vec![1; 24]).encode().repeat(5);
    let file = file(&body, Compression::None);
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    for taken in 0..=5 {
        let mut events = buffer.plain_events().unwrap();
        assert_eq!(events.by_ref().take(taken).flatten().count(), taken);
        assert_eq!((events.seen(), events.count_rest(), events.seen()), (taken as u64, 5 - taken as u64, 5));
        // At its end a buffer stays.
        assert!(events.next().is_none() && events.count_rest() == 0);
    }
}

/// The first item of the type that is asked for.
#[test]
fn an_extended_item_is_found_by_its_type() {
    let mut event = Event::class(Header::Event64, "12345678-9abc-def0-1122-334455667788", 9, 3, 77, vec![0xaa; 5]);
    event.extended = vec![(11, vec![1; 21]), (6, vec![2; 24]), (12, vec![]), (6, vec![3; 16])];
    let body = event.encode();
    let file = file(&body, Compression::None);
    let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
    let event = buffer.plain_events().unwrap().next().unwrap().unwrap().parse().unwrap();
    for (kind, expected) in [
        (ExtendedType::EVENT_SCHEMA_TL, Some(&[1; 21][..])),
        (ExtendedType::STACK_TRACE64, Some(&[2; 24][..])),
        (ExtendedType::PROV_TRAITS, Some(&[][..])),
        (ExtendedType::SID, None),
    ] {
        assert_eq!(event.extended_item(kind), expected, "{kind:?}");
    }
    assert_eq!(event.payload, [0xaa; 5]);
}

/// Extended items are counted by their own sizes, and one that is not there as a whole makes the event unreadable: what
/// is its payload cannot be known then.
#[test]
fn extended_items_end_where_they_say() {
    let read = |items: &[u8], check: &dyn Fn(Result<etl_file::Event<'_>, Error>)| {
        let mut event = Event::class(Header::Event64, "12345678-9abc-def0-1122-334455667788", 9, 3, 77, items.to_vec());
        event.flags = 1;
        let file = file(&event.encode(), Compression::None);
        let buffer = Trace::parse(&file).unwrap().buffers().nth(1).unwrap().unwrap();
        check(buffer.plain_events().unwrap().next().unwrap().unwrap().parse());
    };
    // Total size, type, linkage, data size, and data.
    let item = |total: u16, more: u16, size: u16| {
        let mut asm = Asm::new();
        asm.u16(total).u16(6).u16(more).u16(size).fill(7, usize::from(total.saturating_sub(8)));
        asm.finish()
    };
    let good: [(&[Vec<u8>], &[usize]); 4] = [
        (&[item(16, 0, 8)], &[8]),
        (&[item(16, 0, 5)], &[5]),
        (&[item(8, 0, 0)], &[0]),
        // Only the lowest bit of the linkage says that another follows.
        (&[item(16, 3, 8), item(24, 2, 16)], &[8, 16]),
    ];
    for (items, sizes) in good {
        let mut bytes = items.concat();
        bytes.extend([9; 6]);
        read(&bytes, &|event| {
            let event = event.unwrap();
            let found: Vec<_> = event.extended_items().map(|item| item.data.len()).collect();
            assert_eq!((found.as_slice(), event.payload), (sizes, &[9; 6][..]), "{items:x?}");
            assert!(matches!(event.id, EventId::Provider(_)));
        });
    }
    // Data beyond its item, an item shorter than its header, one cut by the event's end, and one that is announced only.
    for bad in [item(16, 0, 9), item(7, 0, 0), item(16, 0, 8)[..15].to_vec(), item(16, 1, 8), vec![]] {
        read(&bad, &|event| {
            let error = event.unwrap_err();
            assert_eq!((error.kind(), error.length() as usize), (ErrorKind::Lost, 80 + bad.len()), "{bad:x?}: {error}");
            assert!(error.to_string().contains("its extended items run past its end"), "{error}");
        });
    }
}
