//! The same traces in dissect.etl, and those that this project writes in etl-parser too: the other readers of trace files
//! that run everywhere. They must find the same events, one for one, with the same sizes and timestamps.
//!
//! testkit writes a file of every kind and one for every kind of event header, so that neither it nor our reader can
//! be wrong alone. What dissect.etl is known not to read is in the table with the reason. The real traces are
//! compared too, where they are at hand.

pub mod etl_parser;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use etl_file::write::{Body, EventHeader, Packing, RewriteOptions};
use etl_file::{RawEvent, Scratch, Trace};
use testkit::trace::{Compression, Event, Header, Module, Payload, TraceFile};
use xtask::outcome::Outcome;
use xtask::tools::Found;
use xtask::{paths, program};

use crate::command;
use crate::readers::python::{self, Script};

/// Known to work with it; a newer one may read more.
pub const DISSECT: Script = Script { name: "etl_events", requirements: &["dissect.etl>=3.14"] };

const GUID: &str = "12345678-9abc-def0-1122-334455667788";

/// A trace, and why dissect.etl cannot read it as a whole, where it cannot.
struct Case {
    name: &'static str,
    file: Vec<u8>,
    cannot: Option<&'static str>,
}

impl Case {
    fn but(self, reason: &'static str) -> Self {
        Self { cannot: Some(reason), ..self }
    }
}

/// The sample, changed into another kind of file.
fn file(name: &'static str, change: fn(&mut TraceFile)) -> Case {
    let mut trace = sample();
    change(&mut trace);
    Case { name, file: trace.finish(), cannot: None }
}

/// A file with three events of one kind of header.
fn header(name: &'static str, event: Event) -> Case {
    let mut trace = TraceFile::new();
    trace.buffer_size = 4096;
    trace.log(0, event.clone()).log(0, event.clone()).log(1, event);
    Case { name, file: trace.finish(), cannot: None }
}

/// The sample as etl-file's writer writes it, with an event of each kind of header made anew.
fn written(name: &'static str, packing: Packing) -> Case {
    let mut made = sample();
    for kind in [Header::System64, Header::Compact64, Header::Perfinfo64] {
        made.log(0, hook(kind));
    }
    for kind in [Header::Full64, Header::Instance64, Header::Event64] {
        made.log(1, class(kind));
    }
    made.log(1, wpp(0x2a));
    let made = made.finish();
    let trace = Trace::parse(&made).expect("testkit's file is sound");
    let mut options = RewriteOptions::of(&trace);
    options.packing = packing;
    let keep = |raw: &RawEvent<'_>, body: &mut Body| match raw.parse() {
        Ok(event) => body.event(&EventHeader::of(&event).with_extensions(&event), event.payload),
        Err(_) => Ok(()),
    };
    let (file, _) = trace.rewrite(&options, &keep, Vec::new()).expect("what was in buffers fits into buffers");
    Case { name, file, cannot: None }
}

fn cases() -> Vec<Case> {
    vec![
        file("plain", |trace| trace.buffer_size = 4096),
        file("XPRESS", |trace| trace.compression = Compression::Xpress),
        file("XPRESS, some buffers plain", |trace| (trace.compression, trace.plain_every) = (Compression::Xpress, 2)),
        file("XPRESS Huffman", |trace| trace.compression = Compression::XpressHuffman),
        file("LZNT1", |trace| trace.compression = Compression::Lznt1),
        file("32-bit", |trace| trace.pointer_size = 4),
        file("circular, wrapped", |trace| (trace.rotate, trace.mode) = (2, 2)),
        file("part of a new-file sequence", |trace| (trace.first_sequence, trace.mode) = (908, 8)),
        file("preallocated", |trace| (trace.preallocated, trace.mode) = (5, 0x20)),
        file("Windows 7", |trace| (trace.windows7, trace.windows) = (true, (6, 1, 7601))),
        file("clock: system time", |trace| trace.clock = 2),
        file("clock: processor cycles", |trace| trace.clock = 3),
        file("events in the header buffer", |trace| trace.header_events = vec![hook(Header::System64), wpp(0x2a)]),
        file("never finalised", |trace| (trace.buffers_written, trace.end_time) = (Some(0), 0))
            .but("it reads as many buffers as the header says were written"),
        file("out of a crash dump", |trace| trace.unsealed = true).but("it knows no end of events but FilledBytes"),
        header("SYSTEM32", hook(Header::System32)),
        header("SYSTEM64", hook(Header::System64)),
        header("COMPACT32", hook(Header::Compact32)),
        header("COMPACT64", hook(Header::Compact64)),
        header("PERFINFO32", hook(Header::Perfinfo32)),
        header("PERFINFO64", hook(Header::Perfinfo64)),
        header("PERFINFO64 with counters", Event { pebs: Some(9), counters: vec![1, 2], ..hook(Header::Perfinfo64) }),
        header("FULL_HEADER32", class(Header::Full32)),
        header("FULL_HEADER64", class(Header::Full64)),
        header("INSTANCE32", class(Header::Instance32)),
        header("INSTANCE64", class(Header::Instance64)),
        header("EVENT_HEADER32", class(Header::Event32)),
        header("EVENT_HEADER64", class(Header::Event64)),
        header("EVENT_HEADER64 with items", Event { extended: vec![(11, vec![1; 21])], ..class(Header::Event64) }),
        header("WPP: GUID, time, thread", wpp(0x2a)),
        header("WPP: sequence, GUID", wpp(0x03)),
        header("WPP: component, time", wpp(0x0c)).but("component ids are not implemented"),
        header("ERROR", hook(Header::Error)).but("it takes the header for 80 bytes long, without a time"),
        written("written anew, plain", Packing::Plain),
        written("written anew, XPRESS", Packing::Xpress),
        header("unknown kind", hook(Header::Unknown(30))).but("it stops at a kind that it does not know"),
    ]
}

fn hook(header: Header) -> Event {
    Event::hook(header, 0x0f2e, 2, 1_000_100, vec![7; 20])
}

fn class(header: Header) -> Event {
    Event::class(header, GUID, 9, 0, 1_000_200, vec![7; 9])
}

fn wpp(options: u16) -> Event {
    Event::wpp(options, GUID, 9, 1_000_300, vec![1; 5])
}

/// A small trace of everything that a kernel session logs, over several buffers of two processors.
fn sample() -> TraceFile {
    const KERNEL: u64 = 0xffff_f800_0000_0000;
    let mut trace = TraceFile::new();
    trace.buffer_size = 4096;
    trace.system(1_000_001, "TESTBOX", 4652);
    trace.kernel_base(0, 1_000_002, KERNEL);
    let kernel = Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", KERNEL, 0x104_6000);
    trace.module(0, 1_000_003, &kernel.with_pdb("ntkrnlmp.pdb", GUID, 1));
    for index in 0..60u16 {
        let path = format!(r"\SystemRoot\System32\drivers\driver{index}.sys");
        let driver = Module::kernel(&path, KERNEL + 0x1000_0000 + u64::from(index) * 0x10_0000, 0x8000);
        trace.module(index % 2, 1_000_100 + i64::from(index), &driver);
    }
    let (name, command_line) = ("notepad.exe".to_owned(), "notepad a.txt".to_owned());
    let process = Payload::Process {
        opcode: 1,
        pid: 1234,
        directory_table_base: 0x1_aa00_0002,
        name,
        command_line,
        sid: Some(5),
    };
    trace.payload(1, 1_000_600, &process);
    trace.payload(1, 1_000_601, &Payload::Thread { opcode: 1, pid: 1234, tid: 5678, name: "main".to_owned() });
    trace.ipt(1, 1_000_700, (1234, 5678), &[0x99; 5000], 0);
    trace
}

/// What a reader says about one event: its size, and its timestamp where it has one.
pub type Seen = (usize, Option<i64>);

/// A reader's events of a file, and why it gave up, if it did.
#[derive(Debug, Default)]
pub struct Reading {
    /// Events, in the file's order.
    pub events: Vec<Seen>,
    /// Why it gave up.
    pub failure: Option<String>,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events", self.events.len())?;
        self.failure.as_ref().map_or(Ok(()), |failure| write!(f, ", then {failure}"))
    }
}

/// Builds the environment if it is missing.
pub fn prepare() -> Result<()> {
    // Why it cannot be built is told by the check that needs it.
    let _ = python::environment(&DISSECT)?;
    let _ = python::environment(&etl_parser::ETL_PARSER)?;
    Ok(())
}

/// `cargo xtask peers [DIRECTORY]`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let data = match arguments {
        [] => paths::root().join("../shared/data"),
        [directory] if Path::new(directory).is_dir() => directory.into(),
        _ => bail!("peers takes the directory of the real samples, {arguments:?} given"),
    };
    let mut outcome = Outcome::default();
    match python::environment(&DISSECT)? {
        Ok(interpreter) => {
            compare_made(&interpreter, &mut outcome)?;
            compare_real(&interpreter, &data.join("etl"), &mut outcome)?;
        }
        Err(reason) => outcome.add_skip(format!("peers: no dissect.etl: {reason}")),
    }
    etl_parser::run(&mut outcome)?;
    Ok(outcome)
}

fn compare_made(interpreter: &Path, outcome: &mut Outcome) -> Result<()> {
    let directory = paths::work("peers")?;
    let mut files = Vec::new();
    let cases = cases();
    for (index, case) in cases.iter().enumerate() {
        let file = directory.join(format!("{index}.etl"));
        std::fs::write(&file, &case.file)?;
        files.push(file);
    }
    let start = Instant::now();
    let readings = match read_with(&DISSECT, interpreter, &files)? {
        Ok((version, readings)) => {
            println!("dissect.etl {version}, {:.1} s", start.elapsed().as_secs_f64());
            readings
        }
        Err(reason) => {
            outcome.add_failure(format!("peers: dissect.etl: {reason}"));
            return Ok(());
        }
    };
    for ((case, file), theirs) in cases.iter().zip(&files).zip(readings) {
        let ours = read(file)?;
        let agree = ours.events == theirs.events && theirs.failure.is_none();
        match (agree, case.cannot) {
            (true, None) => outcome.add_pass(),
            (true, Some(reason)) => {
                outcome.add_failure(format!("peers: {}: dissect.etl reads it now, though {reason:?}", case.name));
            }
            (false, Some(reason)) => {
                println!("{}: dissect.etl does not read it, {reason}: {theirs}; {ours} here", case.name);
                outcome.add_pass();
            }
            (false, None) => outcome.add_failure(format!("peers: {}: {}", case.name, difference(&ours, &theirs))),
        }
    }
    Ok(())
}

/// Real traces that dissect.etl does not read as a whole.
const REAL_EXCEPTIONS: &[(&str, &str)] =
    &[("s4_CldFlt2.etl", "never finalised: it reads as many buffers as the header says were written")];

fn compare_real(interpreter: &Path, directory: &Path, outcome: &mut Outcome) -> Result<()> {
    if !directory.is_dir() {
        outcome.add_skip(format!("peers: no real traces, {} is missing", directory.display()));
        return Ok(());
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "etl"));
    files.sort();
    let start = Instant::now();
    let readings = match read_with(&DISSECT, interpreter, &files)? {
        Ok((_, readings)) => readings,
        Err(reason) => {
            outcome.add_failure(format!("peers: dissect.etl on real traces: {reason}"));
            return Ok(());
        }
    };
    println!("dissect.etl took {:.1} s for {} real traces", start.elapsed().as_secs_f64(), files.len());
    for (file, theirs) in files.iter().zip(readings) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let ours = read(file)?;
        let known = REAL_EXCEPTIONS.iter().find(|(exception, _)| *exception == name);
        if ours.events == theirs.events && theirs.failure.is_none() {
            outcome.add_pass();
            match counted(file)? {
                count if count == theirs.events.len() as u64 => outcome.add_pass(),
                count => {
                    outcome.add_failure(format!("peers: {name}: events --count says {count}, dissect.etl: {theirs}"));
                }
            }
        } else if let Some((_, reason)) = known {
            println!("{name}: dissect.etl does not read it, {reason}: {theirs}; {ours} here");
            outcome.add_pass();
        } else {
            outcome.add_failure(format!("peers: {name}: {}", difference(&ours, &theirs)));
        }
    }
    Ok(())
}

/// How many events `mkdump events --count` counts, of all kinds together.
fn counted(file: &Path) -> Result<u64> {
    let mut mkdump = command::mkdump()?;
    mkdump.args(["--quiet", "events", "--count", "--json", "--etl"]).arg(file);
    let captured = program::capture(&mut mkdump, Duration::from_secs(60))?;
    ensure!(captured.success(), "{}: {}\n{}", file.display(), captured.ending(), captured.stderr);
    let mut sum = 0;
    for line in captured.stdout.lines() {
        let kind: serde_json::Value = serde_json::from_str(line)?;
        sum += kind["events"].as_u64().with_context(|| format!("no number of events in {line}"))?;
    }
    Ok(sum)
}

fn difference(ours: &Reading, theirs: &Reading) -> String {
    let first = ours.events.iter().zip(&theirs.events).position(|(ours, theirs)| ours != theirs);
    let first = first.map_or(String::new(), |at| {
        format!("; event {at} is {:?} here, {:?} there", ours.events[at], theirs.events[at])
    });
    format!("{ours} here, dissect.etl: {theirs}{first}")
}

/// Our reader.
pub fn read(file: &Path) -> Result<Reading> {
    let data = std::fs::read(file)?;
    let trace = Trace::parse(&data).with_context(|| file.display().to_string())?;
    let mut reading = Reading::default();
    let mut scratch = Scratch::default();
    for buffer in trace.buffers() {
        // Unused space behind the last buffer comes as a remark.
        let Ok(buffer) = buffer else { continue };
        for event in buffer.events(&mut scratch)? {
            let raw = event?;
            let tick = raw.parse()?.timestamp.map(|tick| tick.0);
            reading.events.push((raw.bytes.len(), tick));
        }
    }
    Ok(reading)
}

/// Another reader, on all files in one run: its version, and one reading for each.
pub fn read_with(script: &Script, interpreter: &Path, files: &[PathBuf]) -> Result<Found<(String, Vec<Reading>)>> {
    let script = paths::root().join("crates/acceptance/readers").join(format!("{}.py", script.name));
    let captured = program::capture(Command::new(interpreter).arg(script).args(files), Duration::from_secs(300))?;
    if !captured.success() {
        return Ok(Err(format!("{}\n{}", captured.ending(), captured.stderr)));
    }
    let mut version = String::new();
    let mut readings: Vec<Reading> = Vec::new();
    for line in captured.stdout.lines() {
        take(&mut version, &mut readings, line).with_context(|| format!("a line that is not understood: {line:?}"))?;
    }
    if readings.len() != files.len() {
        return Ok(Err(format!("{} files were read out of {}", readings.len(), files.len())));
    }
    Ok(Ok((version, readings)))
}

fn take(version: &mut String, readings: &mut Vec<Reading>, line: &str) -> Option<()> {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    match kind {
        "version" => rest.clone_into(version),
        "file" => readings.push(Reading::default()),
        "event" => {
            let (size, tick) = rest.split_once(' ')?;
            let tick = if tick == "-" { None } else { Some(tick.parse().ok()?) };
            readings.last_mut()?.events.push((size.parse().ok()?, tick));
        }
        "failed" => readings.last_mut()?.failure = Some(rest.to_owned()),
        "end" => {}
        _ => return None,
    }
    Some(())
}
