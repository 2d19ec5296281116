//! What a trace says it lacks.

use etl_file::{Losses, SurveyOptions, Trace};
use testkit::trace::{Module, TraceFile};

const SEQUENTIAL: u32 = 0x1;
const CIRCULAR: u32 = 0x2;
const NEW_FILE: u32 = 0x8;

/// A trace with one buffer for each sequence number.
fn trace(mode: u32, sequences: &[i64]) -> TraceFile {
    let mut trace = TraceFile::new();
    trace.mode = mode;
    trace.buffer_size = 1024;
    for &sequence in sequences {
        trace.buffer(0, Some(sequence), Vec::new());
    }
    trace
}

fn losses(trace: &TraceFile) -> Losses {
    Trace::parse(&trace.finish()).unwrap().survey(&SurveyOptions::default()).losses
}

#[test]
fn gaps_in_the_sequence_numbers_are_missing_buffers() {
    let check = |mode, sequences: &[i64], missing, overwritten| {
        let found = losses(&trace(mode, sequences));
        assert_eq!((found.missing, found.overwritten), (missing, overwritten), "mode {mode:#x}: {sequences:?}");
        assert_eq!(found.is_none(), missing + overwritten == 0);
    };
    check(SEQUENTIAL, &[], 0, 0);
    check(SEQUENTIAL, &[1, 2, 3], 0, 0);
    // The order in which buffers are flushed says nothing, nor does a buffer that is there twice.
    check(SEQUENTIAL, &[3, 1, 2, 2], 0, 0);
    check(SEQUENTIAL, &[1, 4, 5, 9], 5, 0);
    check(SEQUENTIAL, &[4, 5], 3, 0);
    // A circular file loses its start when it wraps; one of a series goes on counting.
    check(CIRCULAR, &[1, 2], 0, 0);
    check(CIRCULAR, &[7, 8, 10], 1, 6);
    check(NEW_FILE | SEQUENTIAL, &[908, 909, 911], 1, 0);
    // A damaged number is not a billion missing buffers.
    check(SEQUENTIAL, &[1, 2, i64::MAX, i64::MIN, 1 << 50], 0, 0);
}

#[test]
fn what_the_session_could_not_log_is_counted() {
    let mut lossy = trace(SEQUENTIAL, &[1]);
    (lossy.events_lost, lossy.buffers_lost) = (5, 77);
    lossy.module(0, 2_000_000, &Module::kernel(r"\SystemRoot\ntoskrnl.exe", 0xffff_f800_0000_0000, 0x1000));
    let found = losses(&lossy);
    assert_eq!((found.events, found.buffers, found.is_none()), (5, 77, false));
}

#[test]
fn buffers_that_follow_a_loss_are_counted() {
    for (flags, expected) in [(0x20u16, 0), (0x22, 1), (0x24, 1), (0x26, 1)] {
        let mut file = trace(SEQUENTIAL, &[1, 2]).finish();
        // BufferFlag of the second buffer.
        file[1024 + 0x34..1024 + 0x36].copy_from_slice(&flags.to_le_bytes());
        let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default()).losses;
        assert_eq!(found.marked, expected, "flags {flags:#x}");
    }
}
