//! A trace far larger than memory should be: what a survey takes depends on what it collects, not on the file.

use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use etl_file::{SurveyOptions, Trace};
use kernel_snapshot::FileBytes;
use testkit::trace::{Module, TraceFile};

const SIZE: u64 = 10 << 30;
const ISLANDS: u64 = 640;
/// Anonymous memory that the survey may take; pages of the file itself are the system's to give and take.
const ALLOWED: u64 = 64 << 20;

/// Anonymous memory of this process, where the system tells.
fn anonymous() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

#[test]
fn ten_gigabytes_take_less_than_64_megabytes() {
    let Some(before) = anonymous() else {
        println!("SKIPPED: this system does not tell how much anonymous memory a process has");
        return;
    };
    let mut trace = TraceFile::new();
    for index in 0..ISLANDS {
        let path = format!(r"\SystemRoot\System32\drivers\driver{index}.sys");
        trace.module(
            0,
            2_000_000 + index as i64,
            &Module::kernel(&path, 0xffff_f800_0000_0000 + (index << 24), 0x8000),
        );
        trace.flush(0);
    }
    let built = trace.finish();
    let buffer = trace.buffer_size as u64;

    // One buffer every 16 MiB, and nothing but holes in between.
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(SIZE).unwrap();
    for (index, piece) in (0..).zip(built.chunks(trace.buffer_size)) {
        let place = if index == 0 { 0 } else { buffer + (index - 1) * ((SIZE - buffer) / ISLANDS / buffer * buffer) };
        file.seek(SeekFrom::Start(place)).unwrap();
        file.write_all(piece).unwrap();
    }
    file.flush().unwrap();

    drop(built);
    let bytes = FileBytes::open(file.path()).unwrap();
    let most = AtomicU64::new(0);
    let found = Trace::parse(&bytes).unwrap().survey_with_progress(&SurveyOptions::default(), &|_| {
        most.fetch_max(anonymous().unwrap_or(0), Ordering::Relaxed);
    });
    let grown = most.into_inner().max(anonymous().unwrap_or(0)).saturating_sub(before);
    assert_eq!(found.modules.len() as u64, ISLANDS);
    assert_eq!(found.counts.buffers, ISLANDS + 1);
    // Every hole is reported, the last one as a reserved tail.
    assert_eq!(found.warnings.len() as u64, ISLANDS);
    let lost: u64 = found.warnings.iter().map(etl_file::Diagnostic::length).sum();
    assert_eq!(lost, SIZE - (ISLANDS + 1) * buffer);
    assert!(grown < ALLOWED, "{grown} bytes of anonymous memory, {ALLOWED} allowed");
    println!("{} MiB of anonymous memory for a trace of {} GiB", grown >> 20, SIZE >> 30);
}
