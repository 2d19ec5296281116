//! Real traces: their counts against a table, and what damage does to them.
//!
//! For every trace: cut at every buffer boundary, a byte before and a byte behind it, and at 1,000 other places; then
//! 10,000 times one byte changed. Nothing of this may panic, hang, or take more memory than the crate promises; a cut
//! is worth one warning, and a changed byte behind the first buffer costs one buffer at most. And every trace is written
//! anew, plain and compressed, and read again.
//!
//! Of a large trace only the buffers around the damage are read again, which takes seconds instead of minutes;
//! `CORPUS_WHOLE=1` reads all of it every time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etl_file::write::{Body, Packing, RewriteOptions};
use etl_file::{ImageAction, RawEvent, Record, Scratch, Survey, SurveyOptions, Trace};
use xtask::outcome::Outcome;

/// What is known of a trace (counted by hand, or by other readers).
struct Known {
    file: &'static str,
    events: u64,
    buffers: u64,
    kernel_modules: usize,
    /// Kernel modules with debug information.
    with_pdb: usize,
    /// Image events: load, unload, rundown at start, rundown at end.
    images: [usize; 4],
    /// ImageID events, and DbgID events of native code.
    notes: [usize; 2],
    processors: u32,
    revision: Option<u32>,
    events_lost: u32,
}

/// A trace without image events.
const fn plain(file: &'static str, events: u64, buffers: u64, processors: u32) -> Known {
    Known {
        file,
        events,
        buffers,
        kernel_modules: 0,
        with_pdb: 0,
        images: [0; 4],
        notes: [0; 2],
        processors,
        revision: None,
        events_lost: 0,
    }
}

const KNOWN: &[Known] = &[
    Known { events_lost: 3, ..plain("airbus_AMSITrace.etl", 21, 6, 8) },
    Known {
        kernel_modules: 196,
        images: [72, 4791, 6745, 2145],
        ..plain("airbus_ShutdownPerfDiagLogger.etl", 17_078, 49, 2)
    },
    plain("airbus_lxcore_kernel.etl", 4, 3, 6),
    plain("perfview_PerfViewData.etl", 71, 5, 8),
    Known { revision: Some(613), ..plain("perfview_SelfDescribingSingleEvent.etl", 23, 3, 12) },
    Known {
        kernel_modules: 141,
        with_pdb: 138,
        images: [35, 32, 1763, 1766],
        notes: [3590, 3534],
        revision: Some(16_384),
        ..plain("perfview_net.4.5.2.x64.etl", 179_474, 360, 8)
    },
    plain("s4_CldFlt0.etl", 17, 2, 1),
    plain("s4_CldFlt2.etl", 2, 1, 1),
    Known { events_lost: 41, ..plain("s4_WindowsUpdate.20251008.etl", 82, 7, 1) },
    Known { images: [1, 1, 24, 0], ..plain("sawbuck_image_data_32_v0.etl", 27, 3, 16) },
    Known { images: [1, 1, 24, 0], ..plain("sawbuck_image_data_32_v2.etl", 27, 2, 16) },
    Known { images: [1, 1, 24, 0], ..plain("sawbuck_image_data_64_v1.etl", 27, 3, 16) },
    plain("sawbuck_process_data_32_v1.etl", 3, 2, 16),
];

/// Every trace of the table.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for known in KNOWN {
        let path = data.join("etl").join(known.file);
        if !path.is_file() {
            outcome.add_skip(format!("corpus etl: {} is missing", known.file));
            continue;
        }
        let file = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let start = Instant::now();
        outcome.absorb(check_counts(known, &file));
        outcome.absorb(check_rewritten(known.file, &file));
        outcome.absorb(check_damage(known.file, &file));
        println!("{}: {:.1} s", known.file, start.elapsed().as_secs_f64());
    }
    // A trace that nobody has counted must at least be read without a complaint.
    for entry in std::fs::read_dir(data.join("etl"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "etl") && !KNOWN.iter().any(|k| k.file == name) {
            outcome.add_skip(format!("corpus etl: {name} is not in the table"));
        }
    }
    Ok(outcome)
}

fn scan(file: &[u8]) -> etl_file::Result<Survey<'_>> {
    let options = SurveyOptions::default().user_modules(true);
    Ok(Trace::parse(file)?.survey(&options))
}

fn check_counts(known: &Known, file: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let found = match scan(file) {
        Ok(found) => found,
        Err(error) => return Outcome::fail(format!("{}: {error}", known.file)),
    };
    let mut check = |what: &str, found: &dyn std::fmt::Debug, expected: &dyn std::fmt::Debug| {
        let (found, expected) = (format!("{found:?}"), format!("{expected:?}"));
        if found == expected {
            outcome.add_pass();
        } else {
            outcome.add_failure(format!("{}: {what}: {found}, expected {expected}", known.file));
        }
    };
    let kernel = || found.modules.iter().filter(|module| module.kernel);
    let (images, notes, errors) = count_records(file);
    check("events", &found.counts.events, &known.events);
    check("buffers", &found.counts.buffers, &known.buffers);
    check("kernel modules", &kernel().count(), &known.kernel_modules);
    check("kernel modules with debug information", &kernel().filter(|m| m.pdb.is_some()).count(), &known.with_pdb);
    check("image events", &images, &known.images);
    check("ImageID and DbgID events", &notes, &known.notes);
    check("processors", &found.system.processors, &known.processors);
    check("revision", &found.system.revision, &known.revision);
    check("lost events", &found.counts.events_lost, &known.events_lost);
    check("warnings", &found.warnings, &([] as [etl_file::Error; 0]));
    check("records that cannot be read", &errors, &(Vec::new() as Vec<String>));
    outcome
}

/// Walks all events without a filter and reads every record.
fn count_records(file: &[u8]) -> ([usize; 4], [usize; 2], Vec<String>) {
    let (mut images, mut notes, mut errors) = ([0; 4], [0; 2], Vec::new());
    let Ok(trace) = Trace::parse(file) else { return (images, notes, vec!["not a trace".to_owned()]) };
    let mut scratch = Scratch::default();
    for buffer in trace.buffers().flatten() {
        let Ok(events) = buffer.events(&mut scratch) else { continue };
        for event in events {
            match event.and_then(|raw| raw.parse()).and_then(|event| event.record()) {
                Ok(Record::Image(image)) => {
                    let place = match image.action {
                        ImageAction::Load => 0,
                        ImageAction::Unload => 1,
                        ImageAction::RundownStart => 2,
                        ImageAction::RundownEnd => 3,
                        _ => continue,
                    };
                    images[place] += 1;
                }
                Ok(Record::ImageId(_)) => notes[0] += 1,
                Ok(Record::DebugId(id)) if !id.managed => notes[1] += 1,
                Ok(_) => {}
                Err(error) => errors.push(error.to_string()),
            }
        }
    }
    (images, notes, errors)
}

/// Written anew, plain and compressed, the trace holds the same events, and a survey says the same of it.
fn check_rewritten(name: &str, file: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok(trace) = Trace::parse(file) else { return Outcome::fail(format!("{name}: not a trace")) };
    for packing in [Packing::Plain, Packing::Xpress] {
        let mut options = RewriteOptions::of(&trace);
        options.packing = packing;
        let keep = |event: &RawEvent<'_>, body: &mut Body| {
            body.raw(event);
            Ok(())
        };
        let start = Instant::now();
        let (written, told) = match trace.rewrite(&options, &keep, Vec::new()) {
            Ok(written) => written,
            Err(error) => return Outcome::fail(format!("{name}, written anew as {packing:?}: {error}")),
        };
        println!("  {packing:?}: {} of {} bytes, {:?}", told.bytes, file.len(), start.elapsed());
        let same = Trace::parse(&written).is_ok_and(|again| all_events(&again) == all_events(&trace));
        let said = |file| scan(file).map(|found| (found.modules, found.processes, found.threads, found.losses));
        if same && said(&written) == said(file) {
            outcome.add_pass();
        } else {
            outcome.add_failure(format!("{name}: written anew as {packing:?} it does not say the same"));
        }
    }
    outcome
}

/// The sequence number of the buffer, the processor and the bytes of every event but the log-file header.
fn all_events(trace: &Trace<'_>) -> Vec<(i64, u16, Vec<u8>)> {
    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    for buffer in trace.buffers().flatten() {
        let Ok(events) = buffer.events(&mut scratch) else { continue };
        let sequence = buffer.header().sequence;
        out.extend(events.flatten().map(|event| (sequence, event.processor, event.bytes.to_vec())));
    }
    // Its fields that no reader looks at are not kept.
    out.drain(..1);
    out
}

/// Random offsets and bytes that are the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Beyond this size, one place of damage is looked at with the first buffer and the buffers around it: the others
/// cannot know of it, since nothing but the first buffer says anything about another one.
const WHOLE: usize = 1 << 19;
const NEIGHBOURS: usize = 2;

const RANDOM_CUTS: usize = 1_000;
const FLIPS: usize = 10_000;
fn is_read_whole(file: &[u8]) -> bool {
    file.len() <= WHOLE || std::env::var_os("CORPUS_WHOLE").is_some_and(|value| value == "1")
}

/// What the survey may take on top of sixteen times the file: scratch space and the batch of one thread each.
const FIXED_MEMORY: u64 = 96 << 20;

fn check_damage(name: &str, file: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let bounds = boundaries(file);
    let mut random = Random(0x1234_5678_9abc_def1);
    let before = reset_peak();
    let mut slowest = Duration::ZERO;
    let mut timed = |file: &[u8]| {
        let start = Instant::now();
        // A file that cannot be opened has been refused in good order; what counts is that the answer comes.
        let found = scan(file).ok().map(|found| (found.counts, found.warnings));
        slowest = slowest.max(start.elapsed());
        found
    };

    let near = bounds.iter().flat_map(|&bound| [bound.saturating_sub(1), bound, bound + 1]);
    let cuts: Vec<usize> = near.chain((0..RANDOM_CUTS).map(|_| random.below(file.len()))).collect();
    for cut in cuts.into_iter().filter(|&cut| cut <= file.len()) {
        let found = timed(&excerpt(file, &bounds, cut, 0)[..]);
        // One lost stretch is one warning; a cut between two buffers loses nothing of either.
        let expected = usize::from(!bounds.contains(&cut));
        if cut >= bounds[1]
            && let Some((_, warnings)) = found
            && warnings.len() != expected
        {
            outcome.add_failure(format!("{name} cut at {cut:#x}: {expected} warnings expected, {warnings:?}"));
        }
    }
    for _ in 0..FLIPS {
        let at = random.below(file.len());
        let mut damaged = excerpt(file, &bounds, at, NEIGHBOURS);
        let place = if at < bounds[1] { at } else { at - skipped(file, &bounds, at) };
        let change = 1 + random.below(255) as u8;
        damaged[place] ^= change;
        let found = timed(&damaged);
        if at < bounds[1] {
            continue;
        }
        let whole = buffers_around(file, &bounds, at) as u64;
        if found.as_ref().is_none_or(|(counts, _)| counts.buffers + 1 < whole) {
            outcome.add_failure(format!("{name}, byte {at:#x} changed by {change:#x}: {whole} buffers, {found:?}"));
        }
    }
    let grown = peak().saturating_sub(before);
    let allowed = FIXED_MEMORY + 16 * file.len() as u64;
    if grown > allowed {
        outcome.add_failure(format!("{name}: {grown} bytes of memory for damaged copies, {allowed} allowed"));
    }
    if slowest > Duration::from_secs(10) {
        outcome.add_failure(format!("{name}: a damaged copy took {slowest:?}"));
    }
    println!("  slowest damaged copy {slowest:?}, peak memory grew by {} MiB", grown >> 20);
    if !outcome.failed() {
        outcome.add_pass();
    }
    outcome
}

/// File offsets of the buffers, and the end of the file.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let trace = Trace::parse(file).expect("the sample was opened before");
    let starts = trace.buffers().flatten().map(|buffer| buffer.offset() as usize);
    starts.chain([file.len()]).collect()
}

/// How many buffers the excerpt for damage at `at` holds.
fn buffers_around(file: &[u8], bounds: &[usize], at: usize) -> usize {
    let all = bounds.len() - 1;
    if is_read_whole(file) {
        return all;
    }
    let behind = bounds.partition_point(|&bound| bound <= at);
    1 + (behind + NEIGHBOURS).min(all) - behind.saturating_sub(NEIGHBOURS).max(1)
}

/// Which bytes of a large file an excerpt for damage at `at` leaves out, behind the first buffer.
fn skipped(file: &[u8], bounds: &[usize], at: usize) -> usize {
    if is_read_whole(file) {
        return 0;
    }
    let buffer = bounds.partition_point(|&bound| bound <= at);
    bounds[buffer.saturating_sub(NEIGHBOURS).max(1)].max(bounds[1]) - bounds[1]
}

/// The first buffer and those before `at`; and `behind` buffers behind it, where 0 means that the file is cut there.
fn excerpt(file: &[u8], bounds: &[usize], at: usize, behind: usize) -> Vec<u8> {
    let end = match behind {
        0 => at,
        _ if is_read_whole(file) => file.len(),
        _ => bounds[(bounds.partition_point(|&bound| bound <= at) + behind).min(bounds.len() - 1)],
    };
    if at < bounds[1] {
        return file[..end].to_vec();
    }
    let from = bounds[1] + skipped(file, bounds, at);
    [&file[..bounds[1]], &file[from..end]].concat()
}

/// Sets the peak of resident memory back to what is in use, and answers that. 0 where there is no such thing.
fn reset_peak() -> u64 {
    // Writing 5 resets VmHWM (Linux, proc(5)).
    if std::fs::write("/proc/self/clear_refs", "5").is_ok() { peak() } else { 0 }
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}
