//! Extracts: what is needed is what it was, and nothing else is left.

use std::path::{Path, PathBuf};

use etl_extract::{ExtractReport, Options, Provider, SnapshotKey, choose, extract, shared_path, texts};
use etl_file::{Scratch, Trace};
use mkdump::report::ModulesReport;
use mkdump::report::ipt::analyse;
use mkdump::{BuildOptions, Format, ListOptions, Search, Silent, Source, Wanted, build, list_modules};
use proptest::prelude::*;
use recorded::{MODES, runs};
use serde_json::Value;
use testkit::pt::System;
use testkit::trace::{Compression, Event, Header, Module, Payload, TraceFile};

#[allow(dead_code, reason = "other tests use the rest")]
mod recorded;

/// A change that makes another kind of file out of the ordinary one.
type Change = fn(&mut TraceFile);

const KERNEL: u64 = 0xffff_f800_0000_0000;
const GUID: &str = "12345678-9abc-def0-1122-334455667788";

/// A trace and its extract, each in a directory of its own, so that neither is a sibling of the other.
struct Pair {
    dir: tempfile::TempDir,
    report: ExtractReport,
}

impl Pair {
    fn new(trace: &[u8], options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (from, output) = (dir.path().join("a/trace.etl"), dir.path().join("b/trace.etl"));
        std::fs::write(&from, trace).unwrap();
        let (written, made) = extract(&Trace::parse(trace).unwrap(), options, Vec::new()).unwrap();
        let left = texts(&Trace::parse(&written).unwrap());
        std::fs::write(&output, &written).unwrap();
        let report = ExtractReport::new((&from, trace.len() as u64), &output, &made, Some(left));
        Self { dir, report }
    }

    fn original(&self) -> PathBuf {
        self.dir.path().join("a/trace.etl")
    }

    fn extract(&self) -> PathBuf {
        self.dir.path().join("b/trace.etl")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.extract()).unwrap()
    }

    /// How many events of a kind were kept.
    fn kept(&self, kind: &str) -> u64 {
        self.report.kept.iter().find(|kept| kept.kind == kind).map_or(0, |kept| kept.events)
    }

    /// Fails unless both traces list the same modules.
    fn check_modules(&self) {
        assert_eq!(modules(&self.extract()), modules(&self.original()));
    }
}

/// The list of modules, with paths as they may be shared, and without the size of the trace.
fn modules(trace: &Path) -> Value {
    let source = Source::open_etl(trace).unwrap();
    let reading = source.read(Wanted::default(), &Silent).unwrap();
    let mut report: ModulesReport = list_modules(&reading, &ListOptions::default(), &Silent).unwrap();
    for module in &mut report.modules {
        module.path = shared_path(&module.path).to_owned();
    }
    report.warnings.iter_mut().for_each(|warning| *warning = warning.replace("/a/", "/b/"));
    without_sizes(serde_json::to_value(&report).unwrap())
}

fn without_sizes(mut report: Value) -> Value {
    for member in ["events", "buffers"] {
        report["source"].as_object_mut().unwrap().remove(member);
    }
    report
}

/// Names of processes and threads are left out of an extract.
fn without_names(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if (key == "process" || key == "thread") && value.is_string() {
                    *value = Value::Null;
                }
                without_names(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(without_names),
        _ => {}
    }
}

fn ipt(trace: &Path, modules: &Path) -> Value {
    let source = Source::open_etl(trace).unwrap();
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
    let mut search = Search::new(vec![modules.to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    let options = mkdump::IptOptions { search, ..Default::default() };
    let mut report = without_sizes(serde_json::to_value(analyse(&reading, &options, &Silent).unwrap()).unwrap());
    without_names(&mut report);
    report
}

/// The files of a raw dump, without the page that says how it was made.
fn dump(trace: &Path, modules: &Path) -> Vec<(String, Vec<u8>)> {
    let output = trace.with_extension("raw");
    let source = Source::open_etl(trace).unwrap();
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
    let mut search = Search::new(vec![modules.to_owned()], &Default::default());
    search.cache = symstore::Cache::Off;
    let options = BuildOptions { search, output: output.clone(), format: Format::Raw, ..BuildOptions::default() };
    build(&source, &reading, &options, &Silent).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&output)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "manifest.json")
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn ordinary() -> TraceFile {
    with_kernel_at(KERNEL, TraceFile::new())
}

/// The events of an ordinary recording, of a kernel at `base`.
fn with_kernel_at(base: u64, mut trace: TraceFile) -> TraceFile {
    trace.buffer_size = 4096;
    trace.system(1_000_001, "TESTBOX", 4652);
    trace.kernel_base(0, 1_000_002, base);
    let kernel = Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", base, 0x104_6000);
    trace.module(0, 1_000_003, &kernel.with_pdb(r"C:\Users\anna\ntkrnlmp.pdb", GUID, 1));
    for index in 0..40u16 {
        let folder = if index % 4 == 0 { r"\??\C:\Users\anna\build" } else { r"\SystemRoot\System32\drivers" };
        let driver = Module::kernel(
            &format!(r"{folder}\driver{index}.sys"),
            base + 0x1000_0000 + u64::from(index) * 0x10_0000,
            0x8000,
        );
        trace.load(index % 2, 1_000_100 + i64::from(index), &driver);
        trace.payload(index % 2, 1_000_150, &Payload::ContextSwitch { new: 5, old: 6 });
        if index % 3 == 0 {
            trace.unload(index % 2, 1_000_200 + i64::from(index), &driver);
        }
        // A user process's own image, and buffers with nothing that is kept.
        let user = Module::kernel(r"C:\Users\anna\a.exe", 0x0100_0000, 0x1000).in_process(77);
        trace.load(index % 2, 1_000_300, &user);
        for _ in 0..60 {
            trace.log(2, Event::hook(Header::Perfinfo64, 0x0f33, 2, 1_000_400, vec![7; 40]));
        }
    }
    trace
}

#[test]
fn the_modules_of_traces_of_every_kind_stay() {
    let kinds: &[(&str, Change)] = &[
        ("plain", |_| ()),
        ("XPRESS", |trace| trace.compression = Compression::Xpress),
        ("Huffman", |trace| trace.compression = Compression::XpressHuffman),
        ("32-bit", |trace| {
            let mut narrow = TraceFile::new();
            (narrow.pointer_size, narrow.windows) = (4, (10, 0, 19045));
            *trace = with_kernel_at(0x8180_0000, narrow);
        }),
        ("wrapped", |trace| (trace.rotate, trace.mode, trace.first_sequence) = (2, 2, 40)),
        ("new-file", |trace| (trace.first_sequence, trace.mode) = (908, 8)),
        ("Windows 7", |trace| (trace.windows7, trace.windows) = (true, (6, 1, 7601))),
        ("not finalised", |trace| (trace.buffers_written, trace.end_time) = (Some(0), 0)),
        ("out of a dump", |trace| trace.unsealed = true),
        ("reserved", |trace| trace.preallocated = 3),
        ("lost", |trace| (trace.buffers_lost, trace.events_lost) = (3, 77)),
    ];
    for (name, change) in kinds {
        let mut trace = ordinary();
        change(&mut trace);
        for plain in [false, true] {
            let pair = Pair::new(&trace.finish(), &Options { plain, ..Options::default() });
            pair.check_modules();
            assert_eq!(pair.kept("kernel images"), 41 + 14, "{name}");
            assert_eq!(pair.report.paths_cut, 10 + 4 + 1, "{name}: ten loads, four unloads, one PDB");
            let bytes = pair.bytes();
            let found = Trace::parse(&bytes).unwrap().survey(&Default::default());
            assert_eq!((found.warnings.len(), found.system.computer_name), (0, None), "{name}");
        }
    }
}

#[test]
fn the_samples_stay() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/traces");
    for entry in std::fs::read_dir(directory).unwrap() {
        let trace = std::fs::read(entry.unwrap().path()).unwrap();
        let pair = Pair::new(&trace, &Options::default());
        pair.check_modules();
        // An extract of an extract is itself.
        assert_eq!(Pair::new(&pair.bytes(), &Options::default()).bytes(), pair.bytes());
    }
}

#[test]
fn packets_and_the_dump_stay() {
    for (optimization, retpoline) in MODES {
        let system = System::generate(&System::busy(optimization, retpoline), 3);
        let mut trace = system.trace_of(&runs(&system, 4, 3000));
        trace.payload(0, 1_500_000, &Payload::Thread { opcode: 3, pid: 4, tid: 100, name: "secret thread".into() });
        for compression in [Compression::None, Compression::Xpress] {
            trace.compression = compression;
            let pair = Pair::new(&trace.finish(), &Options::default());
            let modules = pair.dir.path().join("modules");
            std::fs::create_dir(&modules).unwrap();
            for file in &system.files {
                std::fs::write(modules.join(&file.name), &file.bytes).unwrap();
            }
            pair.check_modules();
            assert_eq!(ipt(&pair.extract(), &modules), ipt(&pair.original(), &modules));
            assert_eq!(dump(&pair.extract(), &modules), dump(&pair.original(), &modules));
        }
    }
}

/// The snapshots of a trace: number of pieces, thread, and what triggered each.
fn snapshots(trace: &Path) -> Vec<(usize, u32, Option<u16>)> {
    let source = Source::open_etl(trace).unwrap();
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
    assert_eq!(reading.warnings, [""; 0]);
    reading.ipt.iter().map(|one| (one.pieces.len(), one.tid, one.trigger.map(|trigger| trigger.hook.0))).collect()
}

#[test]
fn every_trigger_stays() {
    let at = |hook| Event::hook(Header::System64, hook, 2, 2_000_000, vec![0x11; 64]);
    let user = Module::kernel(r"C:\Users\anna\a.exe", 0x7ff6_0000_0000, 0x1000).in_process(77);
    let image = |version| Payload::Image { hook: 0x030a, version, module: user.clone() };
    let (name, command_line) = ("a.exe".to_owned(), "a b".to_owned());
    let process = Payload::Process { opcode: 1, pid: 8, directory_table_base: 1, name, command_line, sid: Some(5) };
    let thread = Payload::Thread { opcode: 1, pid: 8, tid: 12, name: "anna".into() };
    let triggers = [
        at(0x090b),
        at(0x0f33),
        Event::hook(Header::Perfinfo64, 0x0f34, 2, 2_000_000, vec![1; 9]),
        Payload::ContextSwitch { new: 12, old: 0 }.event(2_000_000, 8),
        Payload::SampledProfile { address: 0x1234, tid: 12 }.event(2_000_000, 8),
        image(3).event(2_000_000, 8),
        image(0).event(2_000_000, 8),
        image(3).relogged(2_000_000, 8),
        process.event(2_000_000, 8),
        thread.event(2_000_000, 8),
        thread.relogged(2_000_000, 8),
    ];
    for trigger in triggers {
        for far in [false, true] {
            let mut trace = ordinary();
            // Of a stack and another provider's event at the same time neither is the trigger.
            trace.payload(1, 2_000_000, &Payload::StackWalk { tick: 2_000_000, owner: (8, 12), frames: vec![1] });
            trace.log(1, Event::class(Header::Event64, GUID, 9, 0, 2_000_000, vec![7; 9]));
            trace.log(1, trigger.clone());
            if far {
                trace.flush_all();
            }
            let ipt =
                Payload::Ipt { trigger: 2_000_000, owner: (8, 12), options: 1, ring_offset: 0, data: vec![2; 300] };
            trace.payload(1, 2_000_001, &ipt).payload(1, 2_000_002, &ipt);
            let pair = Pair::new(&trace.finish(), &Options::default());
            let found = snapshots(&pair.original());
            assert!(found.len() == 1 && found[0].2.is_some(), "{trigger:?}");
            assert_eq!(snapshots(&pair.extract()), found, "{trigger:?}");
            pair.check_modules();
        }
    }
}

/// A trace with three snapshots, at 1, 2 and 3 seconds, and an event of a provider beside each.
fn three() -> Vec<u8> {
    let mut trace = ordinary();
    for second in 1..=3 {
        let tick = trace.start_tick + second * 10_000_000;
        trace.ipt(1, tick, (8, 100 + second as u32), &[2; 100], 0);
        let mut event = Event::class(Header::Event64, GUID, 9, 0, tick, b"what it says".to_vec());
        event.extended = vec![(11, vec![1; 21]), (2, b"S-1-5-21 anna".to_vec())];
        trace.log(0, event);
    }
    trace.finish()
}

#[test]
fn time_snapshots_and_providers_are_chosen() {
    let threads = |pair: &Pair| -> Vec<u32> { snapshots(&pair.extract()).iter().map(|one| one.1).collect() };
    let keep: Vec<Provider> = vec![GUID.parse().unwrap()];
    let all = Pair::new(&three(), &Options::default());
    assert_eq!(
        (threads(&all), all.kept("asked for"), all.kept("triggers of Intel PT data")),
        (vec![101, 102, 103], 0, 3)
    );
    let timed = Options { time: Some(1.5..=2.5), providers: keep.clone(), ..Options::default() };
    let timed = Pair::new(&three(), &timed);
    assert_eq!((threads(&timed), timed.kept("asked for"), timed.kept("triggers of Intel PT data")), (vec![102], 1, 1));
    let numbered: Vec<SnapshotKey> = {
        let source = Source::open_etl(&all.original()).unwrap();
        let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent).unwrap();
        mkdump::ipt::numbered(&reading).into_iter().map(|index| SnapshotKey::of(&reading.ipt[index])).collect()
    };
    let chosen = choose(&numbered, &[0..=0, 2..=2]).unwrap();
    let some = Pair::new(&three(), &Options { snapshots: Some(chosen), ..Options::default() });
    assert_eq!(threads(&some), [101, 103]);
    for pair in [&all, &timed, &some] {
        assert_eq!(modules(&pair.extract())["modules"], modules(&pair.original())["modules"]);
    }
    // What the provider says is there, who was logged in is not.
    let text = everything(&timed.bytes());
    assert!(holds(&text, "what it says") && !holds(&text, "anna"));
    let error = choose(&numbered, &[2..=3]).unwrap_err();
    assert_eq!(error.to_string(), "there is no Intel PT snapshot 3: they are numbered 0 to 2");
}

/// Every byte of a trace: as stored, and decompressed.
fn everything(file: &[u8]) -> Vec<u8> {
    let mut out = file.to_vec();
    let trace = Trace::parse(file).unwrap();
    let mut scratch = Scratch::default();
    for buffer in trace.buffers() {
        for event in buffer.unwrap().events(&mut scratch).unwrap() {
            out.extend(event.unwrap().bytes);
        }
    }
    out
}

/// Whether bytes hold a text, in one or two bytes a character.
fn holds(bytes: &[u8], text: &str) -> bool {
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [text.as_bytes(), &wide].into_iter().any(|text| bytes.windows(text.len()).any(|window| window == text))
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Writes `text` over the zeros of fixed fields after the NUL of their texts.
fn fill_fields(payload: &mut [u8], fields: &[std::ops::Range<usize>], text: &str) {
    let text = wide(text);
    for field in fields {
        let field = &mut payload[field.clone()];
        let used = field.chunks(2).position(|unit| unit == [0, 0]).map_or(field.len(), |units| 2 * units + 2);
        for (byte, fill) in field[used..].iter_mut().zip(text.iter().cycle()) {
            *byte = *fill;
        }
    }
}

/// A trace with `secret` wherever a trace can hold something, and in which nothing of it is needed.
fn planted(secret: &str, compression: Compression) -> Vec<u8> {
    let mut trace = ordinary();
    trace.compression = compression;
    (trace.logger_name, trace.log_file_name) = (secret.to_owned(), format!(r"C:\{secret}\trace.etl"));
    let at = 2_000_000;
    // A folder, the whole path of a PDB, and what follows the texts' ends.
    let driver = Module::kernel(&format!(r"\??\C:\Users\{secret}\own.sys"), KERNEL + 0x7000_0000, 0x1000);
    let driver = driver.with_pdb(&format!(r"D:\{secret}\own.pdb"), GUID, 1);
    trace.module(0, at, &driver);
    let mut events: Vec<Event> = Vec::new();
    let image = |module| Payload::Image { hook: 0x1403, version: 3, module };
    let mut image = image(Module::kernel(r"\SystemRoot\tail.sys", KERNEL + 0x7100_0000, 0x1000)).event(at, 8);
    // The reserved words, and bytes after the path.
    image.payload[40..56].copy_from_slice(&wide(&secret[..8]));
    image.payload.extend(wide(secret));
    events.push(image);
    for payload in [Payload::ImageId(driver.clone()), Payload::DebugId(driver.clone()), Payload::KernelBase(KERNEL)] {
        let mut event = payload.event(at, 8);
        event.payload.extend(secret.as_bytes());
        events.push(event);
    }
    let computer = Payload::ConfigCpu { computer: secret.to_owned(), processors: 4 };
    let mut computer = computer.event(at, 8);
    fill_fields(&mut computer.payload, &[20..532, 532..800], secret);
    computer.payload.extend(secret.as_bytes());
    let mut processor = Payload::ConfigProcessor { index: 0 }.event(at, 8);
    fill_fields(&mut processor.payload, &[12..140, 140..396, 396..428], secret);
    let mut lab = Payload::BuildInfo { lab: "26100.1".into(), product: "Windows".into() }.event(at, 8);
    // The time of the installation.
    lab.payload[..8].copy_from_slice(&secret.as_bytes()[..8]);
    lab.payload.extend(wide(secret));
    events.extend([computer, processor, lab]);
    for sid in [None, Some(4)] {
        let (name, command_line) = (secret.to_owned(), format!("run {secret}"));
        let process = Payload::Process { opcode: 1, pid: 8, directory_table_base: 1, name, command_line, sid };
        let mut process = process.event(at, 8);
        // The key, and the package.
        process.payload[..8].copy_from_slice(&secret.as_bytes()[..8]);
        process.payload.extend(wide(secret));
        events.push(process);
    }
    let mut thread = Payload::Thread { opcode: 1, pid: 8, tid: 12, name: secret.to_owned() }.event(at, 8);
    thread.payload[8..8 + secret.len()].copy_from_slice(secret.as_bytes());
    events.push(thread);
    // The version resource, a volume, samples, stacks.
    let strings = vec![secret.to_owned(); 10];
    events.push(Payload::FileVersion { module: driver.clone(), strings }.event(at, 8));
    events.push(Payload::Volume { nt: format!(r"\Device\{secret}\"), dos: "C:".into() }.event(at, 8));
    // Other providers, and the user's SID.
    let of_others = |header, guid| Event::class(header, guid, 9, 0, at, wide(secret));
    let mut with_items = of_others(Header::Event64, GUID);
    with_items.extended = vec![(2, secret.as_bytes().to_vec()), (11, secret.as_bytes().to_vec())];
    events.extend([
        with_items,
        of_others(Header::Full64, GUID),
        Event::wpp(0x2a, GUID, 9, at, secret.as_bytes().to_vec()),
    ]);
    let mut load = of_others(Header::Event64, "22fb2cd6-0e7b-422b-a0c7-2fad1fd0e716");
    load.id = 1;
    events.push(load);
    // Registry, files, network, process names in events of hooks; and a trigger's payload.
    for hook in [0x0910, 0x0440, 0x060a, 0x0a20, 0x0020, 0x0043, 0x0b0f] {
        events.push(Event::hook(Header::System64, hook, 2, at, wide(secret)));
    }
    let trigger = Event::hook(Header::System64, 0x0910, 2, at + 10, wide(secret));
    let mut ipt = Payload::Ipt { trigger: at + 10, owner: (8, 12), options: 1, ring_offset: 0, data: vec![2; 30] }
        .event(at + 11, 8);
    ipt.payload.extend(secret.as_bytes());
    (ipt.counters, ipt.pebs) = (vec![u64::from_le_bytes(secret.as_bytes()[..8].try_into().unwrap())], Some(1));
    events.extend([trigger, ipt]);
    // Events in a buffer of their own, with the secret between them.
    let mut body = Vec::new();
    for event in events {
        body.extend(event.encode());
        let filler = secret.as_bytes().iter().copied().cycle();
        let pad = body.len().next_multiple_of(8) - body.len();
        body.extend(filler.take(pad));
        if body.len() > 3000 {
            trace.buffer(3, None, std::mem::take(&mut body));
        }
    }
    trace.buffer(3, None, body);
    let mut file = trace.finish();
    let headers: Vec<(usize, usize, usize)> = Trace::parse(&file)
        .unwrap()
        .buffers()
        .map(|buffer| buffer.unwrap())
        .map(|buffer| {
            let header = buffer.header();
            let end = if buffer.is_compressed() { header.size } else { header.filled };
            (buffer.offset() as usize, end as usize, header.size as usize)
        })
        .collect();
    for (at, end, size) in headers {
        // The unused tail, the pointers in the header, and the names of the time zone.
        for (byte, fill) in file[at + end..at + size].iter_mut().zip(secret.as_bytes().iter().cycle()) {
            *byte = *fill;
        }
        file[at + 0x20..at + 0x28].copy_from_slice(&secret.as_bytes()[..8]);
        file[at + 0x38..at + 0x48].copy_from_slice(&wide(&secret[..8]));
        if at == 0 {
            let zone = 0x48 + 32 + 0x48 + 4;
            file[zone..zone + 2 * secret.len()].copy_from_slice(&wide(secret));
        }
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_secret_is_left(secret in "[A-Z][a-z0-9]{15}", compression in 0usize..3, plain in any::<bool>()) {
        let compression = [Compression::None, Compression::Xpress, Compression::XpressHuffman][compression];
        let file = planted(&secret, compression);
        prop_assert!(holds(&everything(&file), &secret));
        let pair = Pair::new(&file, &Options { plain, ..Options::default() });
        let left = everything(&pair.bytes());
        prop_assert!(!holds(&left, &secret), "{:#?}", pair.report.texts);
        // Nor a half of it, as fields of numbers hold it.
        prop_assert!(!holds(&left, &secret[..8]) && !holds(&left, &secret[8..]));
        prop_assert!(pair.report.texts.iter().flatten().all(|text| !text.text.contains(&secret)));
        pair.check_modules();
        prop_assert_eq!(snapshots(&pair.extract()), snapshots(&pair.original()));
        prop_assert_eq!(snapshots(&pair.extract())[0].2, Some(0x0910));
    }
}

#[test]
fn the_audit_lists_what_is_left() {
    let pair = Pair::new(&planted("Secret0123456789", Compression::None), &Options::default());
    let texts: Vec<&str> = pair.report.texts.iter().flatten().map(|text| text.text.as_str()).collect();
    for expected in ["mkdump extract", "own.sys", "own.pdb", "driver0.sys", "26100.1", "GenuineIntel"] {
        assert!(texts.contains(&expected), "{expected}: {texts:#?}");
    }
    // Everything that looks like text in what is left is listed.
    let other: Vec<_> = pair.report.texts.iter().flatten().filter(|text| text.place == "other event").collect();
    assert!(other.is_empty(), "{other:?}");
    let asked = Options { providers: vec![GUID.parse().unwrap()], ..Default::default() };
    let pair = Pair::new(&planted("Secret0123456789", Compression::None), &asked);
    let texts = pair.report.texts.unwrap();
    assert!(texts.iter().any(|text| text.text == "Secret0123456789" && text.place == "other event"), "{texts:?}");
}
