//! Where the buffers of a file begin and end: what a header may say, and where reading resumes after something that is not a
//! buffer.

use etl_file::{SurveyOptions, Trace};
use testkit::trace::{BUFFER_HEADER, Compression, Event, Header, Module, TraceFile};

const BUFFER: usize = 1024;
const COUNT: usize = 10;
/// Nothing of the session is in its first buffer but the log-file header.
const FIRST: usize = 1;

// Fields of WMI_BUFFER_HEADER.
const SIZE: usize = 0x00;
const SAVED: usize = 0x04;
const CURRENT: usize = 0x08;
const REFERENCES: usize = 0x0c;
const LOGGER: usize = 0x2a;
const FILLED: usize = 0x30;
const FLAGS: usize = 0x34;
const TYPE: usize = 0x36;

/// Ten buffers behind the first one, each with a kernel module.
fn ten(compression: Compression) -> TraceFile {
    let mut trace = TraceFile::new();
    (trace.buffer_size, trace.compression) = (BUFFER, compression);
    for index in 0..COUNT as i64 {
        let path = format!(r"\SystemRoot\System32\drivers\driver{index}.sys");
        trace.module(
            0,
            2_000_000 + index,
            &Module::kernel(&path, 0xffff_f800_0000_0000 + (index << 24) as u64, 0x8000),
        );
        for _ in 0..20 {
            trace.kernel_base(0, 2_000_000 + index, 0xffff_f800_0000_0000);
        }
        trace.flush(0);
    }
    trace
}

/// A file whose buffers may begin anywhere, as its header says, although none of them is compressed.
fn unaligned() -> TraceFile {
    let mut trace = ten(Compression::Xpress);
    trace.plain_every = 1;
    trace
}

fn bounds(file: &[u8]) -> Vec<usize> {
    let trace = Trace::parse(file).unwrap();
    trace.buffers().map(|buffer| buffer.unwrap().offset() as usize).chain([file.len()]).collect()
}

fn put(file: &mut [u8], at: usize, value: u32) {
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// What was lost: file offset, length, and why in a few words.
type Loss<'t> = (usize, usize, &'t str);

const NO_HEADER: &str = "no buffer header where one is due";
const RESERVED: &str = "its tail was reserved and never written";

/// Modules that are left, and everything that a survey remarks.
fn check(case: &str, file: &[u8], modules: usize, losses: &[Loss<'_>]) {
    let found = Trace::parse(file).unwrap().survey(&SurveyOptions::default());
    let told: Vec<_> = found.warnings.iter().map(|one| (one.offset() as usize, one.length() as usize)).collect();
    let expected: Vec<_> = losses.iter().map(|&(offset, length, _)| (offset, length)).collect();
    assert_eq!((found.modules.len(), told), (modules, expected), "{case}: {:?}", found.warnings);
    for (warning, (.., why)) in found.warnings.iter().zip(losses) {
        assert!(warning.to_string().contains(why), "{case}: {warning}, not {why}");
    }
}

#[test]
fn a_header_with_a_value_that_none_has_is_no_header() {
    // A field of 16 bits of the fifth buffer, and why that buffer is lost, if it is.
    let field = |compression, field: usize, value: u16, lost: Option<&str>| {
        let mut file = ten(compression).finish();
        let bounds = bounds(&file);
        let (from, to) = (bounds[5], bounds[6]);
        file[from + field..from + field + 2].copy_from_slice(&value.to_le_bytes());
        let losses: Vec<Loss<'_>> = lost.into_iter().map(|why| (from, to - from, why)).collect();
        check(&format!("{compression:?}, {field:#x}: {value:#x}"), &file, COUNT - losses.len(), &losses);
    };
    let (plain, packed) = (Compression::None, Compression::Xpress);
    for kind in 0..8 {
        field(plain, TYPE, kind, None);
        field(packed, TYPE, kind, None);
    }
    for kind in [8, 9, 0x100, u16::MAX] {
        field(plain, TYPE, kind, Some(NO_HEADER));
        field(packed, TYPE, kind, Some(NO_HEADER));
    }
    // Every known flag but the one that says what the body is.
    field(plain, FLAGS, 0x3f, None);
    field(packed, FLAGS, 0x7f, None);
    field(plain, FLAGS, 0x60, Some("compression format unknown"));
    for flag in 7..16 {
        field(plain, FLAGS, 0x20 | 1 << flag, Some(NO_HEADER));
        field(packed, FLAGS, 0x60 | 1 << flag, Some(NO_HEADER));
    }
    // What a compressed buffer holds is at least its header and at most what the session's buffers do.
    field(packed, FILLED, BUFFER as u16 + 1, Some(NO_HEADER));
    field(packed, FILLED, BUFFER as u16, Some("compressed data ends early"));
    field(packed, FILLED, BUFFER_HEADER as u16 - 1, Some(NO_HEADER));
    field(packed, FILLED, BUFFER_HEADER as u16, Some("its data ends long before it does"));
    // For plain buffers there are two more fields that say where events end.
    for filled in [0, BUFFER_HEADER as u16 - 1, BUFFER as u16 + 1, u16::MAX] {
        field(plain, FILLED, filled, None);
    }
}

/// FilledBytes, else SavedOffset, else CurrentOffset, the first of them that can be right.
#[test]
fn three_fields_say_where_the_events_of_a_plain_buffer_end() {
    let file = ten(Compression::None).finish();
    let from = bounds(&file)[5];
    let end = u32::from_le_bytes(file[from + FILLED..][..4].try_into().unwrap());
    let all = Trace::parse(&file).unwrap().survey(&SurveyOptions::default()).counts.events;
    let (header, size) = (BUFFER_HEADER as u32, BUFFER as u32);
    // Filled, saved, current; events left of the buffer's 21, and of its padding nothing.
    for (fields, left) in [
        ([end, 0, 0], 21),
        ([0, end, u32::MAX], 21),
        ([0, 0, end], 21),
        ([header - 1, end, 0], 21),
        ([size + 1, end, 0], 21),
        ([size + 1, header - 1, end], 21),
        // The tail is sealed, so an end that comes too late does no harm, nor does one beyond the buffer.
        ([size, 0, 0], 21),
        ([0, size, 0], 21),
        ([0, u32::MAX, 0], 21),
        ([0, 0, u32::MAX], 21),
        ([header, end, end], 0),
        ([0, header, end], 0),
        ([0, 0, header], 0),
        ([0, 0, 0], 0),
        // The last event is one of 24 bytes.
        ([end - 24, end, end], 20),
    ] {
        let mut file = file.clone();
        for (at, value) in [FILLED, SAVED, CURRENT].into_iter().zip(fields) {
            put(&mut file, from + at, value);
        }
        let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default());
        assert_eq!((found.counts.events, found.warnings.len()), (all - 21 + left, 0), "{fields:x?}");
    }
}

/// The log-file header and the first buffer both say how large buffers are.
#[test]
fn one_of_two_sizes_is_enough_and_none_will_do() {
    const DECLARED: usize = BUFFER_HEADER + 0x20;
    let wrong = [0, 0x47, 2 * BUFFER as u32, 16 << 20, (16 << 20) + 1, u32::MAX];
    for value in wrong {
        let mut file = ten(Compression::None).finish();
        put(&mut file, DECLARED, value);
        check(&format!("declared {value:#x}"), &file, COUNT, &[]);
        put(&mut file, DECLARED, BUFFER as u32);
        put(&mut file, SIZE, value);
        check(&format!("first {value:#x}"), &file, COUNT, &[(0, BUFFER, NO_HEADER)]);
    }
    // Neither is a size: what remains is that each buffer leads to the next.
    for value in [0, 0x47, u32::MAX] {
        let mut file = ten(Compression::None).finish();
        put(&mut file, DECLARED, value);
        put(&mut file, SIZE, value);
        check(&format!("both {value:#x}"), &file, COUNT, &[(0, BUFFER, NO_HEADER)]);
    }
}

/// Nothing but zeros up to the end is space that was reserved; anything else was a buffer.
#[test]
fn the_end_of_a_file_is_damage_unless_it_is_zero() {
    for trace in [ten(Compression::None), ten(Compression::Xpress), unaligned()] {
        let case = |name: &str| format!("{:?}, {name}", trace.compression);
        let sound = trace.finish();
        let (bounds, end) = (bounds(&sound), sound.len());
        // What follows the last buffer: parts of buffers, and lengths that are no multiple of anything.
        for length in [BUFFER / 2, BUFFER - 1, BUFFER, BUFFER + 5, 2 * BUFFER, 2 * BUFFER + 33] {
            let mut file = sound.clone();
            file.resize(end + length, 0);
            check(&case("zeros"), &file, COUNT, &[(end, length, RESERVED)]);
            file[end + length - 1] = 1;
            check(&case("zeros but for the last byte"), &file, COUNT, &[(end, length, NO_HEADER)]);
            file[end + BUFFER / 2 - 1..].fill(0xa5);
            check(&case("zeros and garbage"), &file, COUNT, &[(end, length, NO_HEADER)]);
            file[end..].fill(0xa5);
            check(&case("garbage"), &file, COUNT, &[(end, length, NO_HEADER)]);
        }
        // The last buffers without their headers, and with zeros behind them.
        for lost in 1..4 {
            for zeros in 0..3 {
                let from = bounds[FIRST + COUNT - lost];
                let mut file = sound.clone();
                file.resize(end + zeros * BUFFER, 0);
                bounds[FIRST + COUNT - lost..FIRST + COUNT].iter().for_each(|&at| file[at..at + 0x48].fill(0xa5));
                check(&case("headers"), &file, COUNT - lost, &[(from, file.len() - from, NO_HEADER)]);
            }
        }
        // Zeros with a buffer behind them.
        for count in 1..4 {
            let mut file = sound.clone();
            let (from, to) = (bounds[4], bounds[4 + count]);
            file[from..to].fill(0);
            check(&case("a hole"), &file, COUNT - count, &[(from, to - from, NO_HEADER)]);
        }
    }
}

#[test]
fn a_cut_says_what_it_cut() {
    let sound = ten(Compression::None).finish();
    let last = sound.len() - BUFFER;
    let filled = u32::from_le_bytes(sound[last + FILLED..][..4].try_into().unwrap()) as usize;
    let check = |available: usize, modules: usize, why: &str| {
        let end = last + available;
        check(&format!("{available:#x}"), &sound[..end], modules, &[(end, BUFFER - available, why)]);
    };
    check(BUFFER - 1, COUNT, "the file ends in its unused tail");
    check(filled, COUNT, "the file ends in its unused tail");
    check(filled - 1, COUNT, "the file ends inside it");
    check(BUFFER_HEADER, COUNT - 1, "the file ends inside it");

    // Nothing of a compressed buffer can be read when its end is missing.
    let sound = ten(Compression::Xpress).finish();
    let last = bounds(&sound)[COUNT];
    for available in [BUFFER_HEADER, BUFFER_HEADER + 1, sound.len() - last - 1] {
        let loss = (last, available, "the file ends inside it");
        self::check(&format!("XPRESS, {available:#x}"), &sound[..last + available], COUNT - 1, &[loss]);
    }
}

/// Where buffers may begin anywhere, the next one is found wherever it is.
#[test]
fn a_buffer_is_found_behind_a_gap_of_any_length() {
    for compression in [Compression::Xpress, Compression::None] {
        let mut trace = ten(Compression::Xpress);
        trace.plain_every = usize::from(compression == Compression::None);
        let sound = trace.finish();
        let at = bounds(&sound)[5];
        for length in (1..4).chain(0x46..0x4a).chain(4085..4110).chain(8175..8205) {
            for byte in [0, 0xa5] {
                let mut file = sound.clone();
                file.splice(at..at, vec![byte; length]);
                check(&format!("{length} times {byte:#x}"), &file, COUNT, &[(at, length, NO_HEADER)]);
            }
        }
    }
}

/// Bytes in a buffer that look like a header, in a file whose buffers may begin anywhere.
#[test]
fn a_header_inside_a_lost_buffer_is_believed_only_if_everything_fits() {
    /// Bytes before the fake header, in the payload of the buffer's only event.
    const BEFORE: usize = 96;
    const FAKE: usize = BUFFER_HEADER + 16 + BEFORE;
    let check = |case: &str, field: usize, value: u32, believed: bool| {
        let mut trace = unaligned();
        trace.mode = 1;
        trace.log(0, Event::hook(Header::Perfinfo64, 0x0f2e, 2, 2_000_000, vec![0x33; BUFFER - BUFFER_HEADER - 16]));
        trace.flush(0);
        // Something that it may lead to.
        trace.kernel_base(0, 2_000_001, 0);
        let mut file = trace.finish();
        let (from, to) = (file.len() - 2 * BUFFER, file.len() - BUFFER);
        // The next buffer's header, with a size that leads to it, and no events.
        file.copy_within(to..to + BUFFER_HEADER, from + FAKE);
        put(&mut file, from + FAKE + SIZE, (BUFFER - FAKE) as u32);
        put(&mut file, from + FAKE + FILLED, BUFFER_HEADER as u32);
        put(&mut file, from + FAKE + SAVED, 0);
        put(&mut file, from + FAKE + CURRENT, 0);
        if field != usize::MAX {
            put(&mut file, from + FAKE + field, value);
        }
        file[from..from + BUFFER_HEADER].fill(0xa5);
        let lost = if believed { FAKE } else { BUFFER };
        check(case, &file, COUNT, &[(from, lost, NO_HEADER)]);
    };
    check("as good as a buffer", usize::MAX, 0, true);
    check("referenced", REFERENCES, 1, false);
    check("of another session", LOGGER, 0x1d, false);
    check("of an unknown end", FILLED, 0, false);
    check("leads nowhere", SIZE, (BUFFER - FAKE) as u32 - 8, false);
    check("of an unknown type", TYPE, 9, false);
}

/// The largest size that a header may state is that of a session's buffer and what compression may add to it.
#[test]
fn a_size_that_no_buffer_has_swallows_nothing() {
    let sound = ten(Compression::Xpress).finish();
    let bounds = bounds(&sound);
    let limit = BUFFER + BUFFER / 8 + 0x100;
    let next = (2..COUNT).find(|&next| bounds[next] - bounds[2] > limit).expect("ten buffers are more than one");
    let mut file = sound.clone();
    put(&mut file, bounds[2], (bounds[next] - bounds[2]) as u32);
    check("too large", &file, COUNT - 1, &[(bounds[2], bounds[3] - bounds[2], NO_HEADER)]);
    // One that is allowed is believed, because it leads to a buffer; what it holds ends early.
    let mut file = sound;
    let swallowed = next - 1 - 2;
    put(&mut file, bounds[2], (bounds[next - 1] - bounds[2]) as u32);
    let loss = (bounds[2], bounds[next - 1] - bounds[2], "its data ends long before it does");
    check("large", &file, COUNT - swallowed, &[loss]);
}

/// A size that is slightly wrong points into a buffer, its own or the next one. That costs one buffer and one warning.
#[test]
fn a_size_that_leads_into_a_buffer_costs_one() {
    let sound = ten(Compression::Xpress).finish();
    let bounds = bounds(&sound);
    for index in [2, 5, FIRST + COUNT - 2] {
        let (from, to) = (bounds[index], bounds[index + 1]);
        for wrong in [-16, -8, -1, 1, 8, 16, 0x48] {
            let mut file = sound.clone();
            put(&mut file, from, (to - from).wrapping_add_signed(wrong) as u32);
            check(&format!("buffer {index}, {wrong} bytes"), &file, COUNT - 1, &[(from, to - from, NO_HEADER)]);
        }
    }
}

/// A body that does not become smaller comes out larger than it went in, and is still a buffer.
#[test]
fn a_body_that_does_not_compress_is_read() {
    let mut noise = 0x9e37_79b9u32;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise as u8
    };
    // (testkit's Huffman codes are not the shortest ones.)
    for compression in [Compression::Xpress, Compression::Lznt1] {
        let mut trace = ten(compression);
        trace.buffer_size = 4096;
        let payload: Vec<u8> = (0..4096 - BUFFER_HEADER - 16).map(|_| next()).collect();
        for _ in 0..2 {
            trace.log(0, Event::hook(Header::Perfinfo64, 0x0f2e, 2, 2_000_000, payload.clone()));
        }
        let file = trace.finish();
        let grown =
            compression != Compression::Xpress || bounds(&file)[12] - bounds(&file)[11] > 4096 + 4096 / 8 - 0x100;
        assert!(grown, "{compression:?}: the noise compresses");
        let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default());
        assert_eq!((found.modules.len(), found.warnings.len()), (COUNT, 0), "{compression:?}: {:?}", found.warnings);
        assert_eq!(found.counts.events, 1 + 21 * COUNT as u64 + 2, "{compression:?}");
    }
}

/// What follows a stream inside its buffer: real ones have up to four bytes there.
#[test]
fn a_stream_may_end_a_little_before_its_buffer_does() {
    let sound = ten(Compression::Xpress).finish();
    let (from, to) = (bounds(&sound)[5], bounds(&sound)[6]);
    let check = |added: usize, lost: &[Loss<'_>]| {
        let mut file = sound.clone();
        file.splice(to..to, vec![0xff; added]);
        put(&mut file, from + SIZE, (to - from + added) as u32);
        check(&format!("{added} bytes"), &file, COUNT - lost.len(), lost);
    };
    check(4, &[]);
    check(BUFFER_HEADER - 1 - 4, &[]);
    check(BUFFER_HEADER, &[(from, to - from + BUFFER_HEADER, "its data ends long before it does")]);

    // A buffer of nothing but its header.
    let mut file = sound.clone();
    let mut empty = sound[from..from + BUFFER_HEADER].to_vec();
    put(&mut empty, SIZE, BUFFER_HEADER as u32);
    put(&mut empty, FILLED, BUFFER_HEADER as u32);
    file.splice(to..to, empty);
    self::check("empty", &file, COUNT, &[]);
}
