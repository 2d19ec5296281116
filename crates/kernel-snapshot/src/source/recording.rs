//! A recording in several trace files: the kernel's session in one, a user session in another, as loggers write them
//! before a merge. They are one recording if they are of one machine and boot and count time by the same clock.

use std::fmt;
use std::path::Path;

use etl_file::{ClockKind, LogFileMode, LogHeader, Trace};

use crate::file_bytes::FileBytes;

/// Why traces are not one recording: what differs, in the words of their headers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherRecording {
    /// File name of the trace that does not belong to the first one.
    pub name: String,
    /// File name of the first one.
    pub first: String,
    /// What differs.
    pub what: &'static str,
    /// In this trace.
    pub found: String,
    /// In the first.
    pub expected: String,
}

impl fmt::Display for OtherRecording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, first, what, found, expected } = self;
        write!(f, "{name} is not of the recording of {first}: its {what} is {found}, there it is {expected}")
    }
}

impl std::error::Error for OtherRecording {}

/// The clock may be set and slewed while Windows runs, but not by more than this many units of 100 ns (a minute), or it
/// is not the same boot. Dumps of one boot are recognised by the same limit.
const BOOT_TIME_TOLERANCE: u64 = 60 * 10_000_000;

/// Checks that a trace is of the recording of another one. A value that a header does not state is not compared.
///
/// # Errors
/// Says what differs: version, pointer size, processors, clock or boot.
pub(super) fn same(first: (&str, &LogHeader), other: (&str, &LogHeader)) -> Result<(), OtherRecording> {
    let differs = |what, found: String, expected: String| {
        Err(OtherRecording { name: other.0.to_owned(), first: first.0.to_owned(), what, found, expected })
    };
    let (a, b) = (first.1, other.1);
    let version = |header: &LogHeader| format!("{}.{}.{}", header.os_major, header.os_minor, header.build);
    if version(a) != version(b) {
        return differs("Windows version", version(b), version(a));
    }
    let pointer = |header: &LogHeader| (!header.mode.is_private()).then_some(header.pointer_size);
    if let (Some(x), Some(y)) = (pointer(a), pointer(b))
        && x != y
    {
        return differs("pointer size", y.to_string(), x.to_string());
    }
    // A session without per-processor buffers states 1.
    let processors =
        |header: &LogHeader| (!header.mode.has(LogFileMode::NO_PER_PROCESSOR_BUFFERING)).then_some(header.processors);
    if let (Some(x), Some(y)) = (processors(a), processors(b))
        && x != y
    {
        return differs("number of processors", y.to_string(), x.to_string());
    }
    let (clock_a, clock_b) = (a.session_clock(), b.session_clock());
    if clock_a.kind() != clock_b.kind() {
        return differs("clock", clock_b.kind().to_string(), clock_a.kind().to_string());
    }
    if clock_a.frequency() != clock_b.frequency() {
        let ticks = |clock: etl_file::Clock| format!("{} ticks per second", clock.frequency());
        return differs("clock", ticks(clock_b), ticks(clock_a));
    }
    let is_other_boot = |x: i64, y: i64| x > 0 && y > 0 && x.abs_diff(y) > BOOT_TIME_TOLERANCE;
    if is_other_boot(a.boot_time.0, b.boot_time.0) {
        return differs("boot time", b.boot_time.to_string(), a.boot_time.to_string());
    }
    // The performance counter runs from the boot on, so the time of its zero identifies the boot too. It also
    // differs between machines that were started at the same time.
    let zero = |clock: etl_file::Clock| clock.utc(etl_file::Tick(0));
    if clock_a.kind() != ClockKind::SYSTEM_TIME
        && a.start_time.0 > 0
        && b.start_time.0 > 0
        && is_other_boot(zero(clock_a).0, zero(clock_b).0)
    {
        return differs("zero of the performance counter", zero(clock_b).to_string(), zero(clock_a).to_string());
    }
    Ok(())
}

/// Checks that two traces name the same computer, where both do.
///
/// # Errors
/// Says how they differ.
pub(super) fn same_computer(first: (&str, Option<&str>), other: (&str, Option<&str>)) -> Result<(), OtherRecording> {
    match (first.1, other.1) {
        (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b) => Err(OtherRecording {
            name: other.0.to_owned(),
            first: first.0.to_owned(),
            what: "computer name",
            found: b.to_owned(),
            expected: a.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Trace files of a directory that are looked at.
const MOST_LOOKED_AT: usize = 100;
/// Those that are named.
const MOST_NAMED: usize = 3;

/// Names of the traces in the same directory that were recorded at the same time in the same boot.
pub(super) fn siblings(path: &Path, header: &LogHeader) -> Vec<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let own = path.file_name().unwrap_or_default();
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let is_trace = |name: &Path| name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("etl"));
    let mut names: Vec<_> = entries
        .filter(|entry| is_trace(Path::new(&entry.file_name())) && entry.file_name() != own)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.file_name())
        .take(MOST_LOOKED_AT)
        .collect();
    names.sort();
    let belongs = |name: &std::ffi::OsString| {
        let bytes = FileBytes::open(&directory.join(name)).ok()?;
        let trace = Trace::parse(&bytes).ok()?;
        let is_same = same(("", header), ("", trace.header())).is_ok() && overlap(header, trace.header());
        is_same.then(|| name.to_string_lossy().into_owned())
    };
    names.iter().filter_map(belongs).take(MOST_NAMED).collect()
}

/// Whether two sessions ran at the same time; one that was never finalised ran on.
fn overlap(a: &LogHeader, b: &LogHeader) -> bool {
    let end = |header: &LogHeader| if header.end_time.0 > 0 { header.end_time.0 } else { i64::MAX };
    a.start_time.0 < end(b) && b.start_time.0 < end(a)
}
