//! Input of every kind: what is read, and what is refused with its place.

use std::fmt::Write;

use proptest::prelude::*;
use testkit::Asm;
use testkit::pt::{PacketWriter, mixed_trace};

use super::{IptData, from_bytes, from_events, from_hex, learn_prefix};

/// The last `size` bytes of a longer stream, in order, and the ring that holds them with its write offset.
fn ring(seed: u64, size: usize) -> (Vec<u8>, Vec<u8>, usize) {
    let (stream, _) = mixed_trace(seed, 3 * size);
    let end = 2 * size + (seed as usize * 7919) % size;
    let mut ring = vec![0; size];
    for (at, byte) in stream[..end].iter().enumerate() {
        ring[at % size] = *byte;
    }
    (stream[end - size..end].to_vec(), ring, end % size)
}

fn trace_data(records: &[(u64, u32, &[u8])]) -> Vec<u8> {
    let mut asm = Asm::new();
    let size: usize = records.iter().map(|record| 28 + record.2.len()).sum();
    asm.u16(1).u16(1).u32(size as u32);
    for (thread, offset, bytes) in records {
        asm.u64(*thread).u32(2).u32(3).u32(84).u32(*offset).u32(bytes.len() as u32).bytes(bytes);
    }
    asm.finish()
}

#[test]
fn records_of_ipt_sys_come_out_per_thread_and_in_order() {
    let (first, first_ring, first_offset) = ring(1, 20_000);
    let (second, second_ring, second_offset) = ring(2, 16_384);
    let file = trace_data(&[
        (0x1234, first_offset as u32, &first_ring),
        (0x99, second_offset as u32, &second_ring),
        (7, 0, &[]),
    ]);
    let found = from_bytes(&file);
    assert_eq!(found.len(), 3);
    assert!(found[0].bytes == first && found[1].bytes == second && found[2].bytes.is_empty());
    let origin = &found[0].origin;
    assert_eq!((origin.thread, origin.ring_offset), (Some(0x1234), Some(first_offset as u32)));
    assert!(found.iter().all(|data| data.origin.remarks.is_empty()));
}

#[test]
fn cut_records_keep_what_is_there_and_say_so() {
    let (trace, _) = mixed_trace(3, 9000);
    let file = trace_data(&[(1, 0, &trace)]);
    let found = from_bytes(&file[..file.len() - 100]);
    assert_eq!(*found[0].bytes, trace[..trace.len() - 100]);
    assert_eq!(
        found[0].origin.remarks,
        [
            format!("IPT_TRACE_DATA declares {} bytes, {} are there.", trace.len() + 28, trace.len() - 72),
            format!("The record of thread 1 has {} bytes, {} are there.", trace.len(), trace.len() - 100),
        ]
    );
    let outside = from_bytes(&trace_data(&[(1, 99_999, &trace)])).remove(0).origin;
    assert_eq!(
        outside.remarks,
        [format!("RingBufferOffset 99999 lies outside of the {} bytes of the record.", trace.len())]
    );
}

#[test]
fn packets_are_no_records() {
    let (trace, _) = mixed_trace(3, 9000);
    let found = from_bytes(&trace);
    assert_eq!((found.len(), found[0].origin.thread), (1, None));
    assert!(matches!(found[0].bytes, std::borrow::Cow::Borrowed(_)));
    assert_eq!(from_bytes(&[]).len(), 1);
}

#[test]
fn text_is_read_whatever_the_viewer() {
    let (ordered, ring, offset) = ring(5, 6000);
    let file = trace_data(&[(5, offset as u32, &ring)]);
    let dump = |group: usize, reversed: bool| {
        let mut text = String::new();
        for (line, bytes) in file.chunks(16).enumerate() {
            write!(text, "{:08x}  ", line * 16).unwrap();
            for word in bytes.chunks(group) {
                let mut word = word.to_vec();
                if reversed {
                    word.reverse();
                }
                word.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push(' ');
            }
            text.push('\n');
        }
        text
    };
    let utf16 = |text: &str| {
        let mut asm = Asm::new();
        asm.u16(0xfeff).utf16(text);
        asm.finish()
    };
    assert_eq!(file.len() % 4, 0);
    for (text, words) in [
        (dump(1, false).into_bytes(), false),
        (dump(4, false).into_bytes(), false),
        (dump(4, true).into_bytes(), true),
        (dump(2, true).into_bytes(), true),
        (utf16(&dump(1, false)), false),
    ] {
        let found = from_hex(&text).unwrap();
        assert_eq!((found[0].origin.thread.is_some(), found[0].origin.words), (true, words));
        assert!(found[0].bytes == ordered);
    }
    assert_eq!(from_hex(b"02 xx").unwrap_err().to_string().split(';').next(), Some("line 1, column 4: found \"x\""));
}

#[test]
fn an_event_is_rotated_unless_that_reads_worse() {
    let only = |mut found: Vec<IptData<'_>>| {
        assert_eq!(found.len(), 1);
        found.remove(0).bytes.into_owned()
    };
    for seed in 0..40 {
        let (ordered, ring, offset) = ring(seed, 12_000);
        assert!(only(from_events(&[&ring], offset as u32, None)) == ordered, "seed {seed}");
        // The same field over data that is in order already: the time stamps show that it is not a write offset.
        assert!(only(from_events(&[&ordered], 6_000, None)) == ordered, "seed {seed}");
    }
    // Without time stamps that differ: a tear inside a packet shows when its bytes are not packets.
    let mut trace = PacketWriter::new();
    for _ in 0..4 {
        trace.psb().tsc(0xc9_c9c9_c9c9_c9c9).psbend().tnt(&[true]);
    }
    let bytes = trace.finish();
    assert_eq!(only(from_events(&[&bytes[20..]], 30, None)), bytes[20..]);
}

#[test]
fn pieces_are_joined_when_packets_run_on() {
    let (stream, _) = mixed_trace(11, 100_000);
    let (first, second) = stream.split_at(65_001);
    let joined = from_events(&[first, second], 0, None);
    assert!(joined.len() == 1 && joined[0].bytes == stream);
    // A stretch between them is missing: the packet across the joint does not read.
    let apart = from_events(&[&stream[..65_003], &stream[80_002..]], 0, None);
    let lens: Vec<_> = apart.iter().map(|data| data.bytes.len()).collect();
    assert!(lens == [65_003, stream.len() - 80_002] || lens == [stream.len() - 14_999], "{lens:?}");
}

#[test]
fn a_prefix_is_learned_from_several_payloads() {
    let payloads: Vec<Vec<u8>> = (0..10).map(|seed| [vec![0xee; 24], mixed_trace(seed, 5000).0].concat()).collect();
    let slices = || payloads.iter().map(Vec::as_slice);
    assert_eq!(learn_prefix(slices()), Some(24));
    assert_eq!(learn_prefix(slices().take(3)), None, "three prove nothing");
    assert_eq!(learn_prefix(slices().map(|payload| &payload[24..])), None, "no prefix");
    let starts: Vec<_> = (0..10).map(|seed| ring(seed, 9000).0).collect();
    assert_eq!(learn_prefix(starts.iter().map(Vec::as_slice)), None, "streams begin anywhere");
    let data = from_events(&[&payloads[0]], 0, Some(24)).remove(0);
    assert!(*data.bytes == payloads[0][24..] && data.origin.prefix == 24);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes_and_any_text(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in "[0-9a-fx:., |\n\t-]{0,200}", offset in 0u32..400, header in any::<bool>()) {
        let mut bytes = bytes;
        if header && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&[1, 0, 1, 0]);
        }
        let total = |data: &[IptData<'_>]| data.iter().map(|data| data.bytes.len()).sum::<usize>();
        prop_assert!(total(&from_bytes(&bytes)) <= bytes.len());
        let half = bytes.len() / 2;
        prop_assert!(total(&from_events(&[&bytes[..half], &bytes[half..]], offset, Some(3))) <= bytes.len());
        if let Ok(data) = from_hex(text.as_bytes()) {
            prop_assert!(total(&data) <= text.len());
        }
        let spelled = bytes.iter().map(|byte| format!("{byte:02x} ")).collect::<String>();
        let read = crate::hex::parse(&spelled).map(|spelled| spelled.bytes);
        prop_assert_eq!(read, Ok(bytes));
    }
}
