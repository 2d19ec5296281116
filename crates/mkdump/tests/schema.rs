//! The JSON that the reports become is what `docs/schema/` promises.

use std::path::Path;

use etl_extract::{ExtractReport, KeptReport, LeftOutReport, TextReport, TraceFileReport};
use mkdump::report::ipt::{CallEntry, CallKind, CallsChoice, FlowEntry, PlaceReport, UnknownCalls};
use mkdump::report::{
    BuildReport, BuiltModule, FileStatus, HeatReport, Hex, ImportSites, ModeReport, ModuleReport, ModulesReport,
    OsReport, OverrideReport, OverrideSites, PdbReport, RewrittenSites, SCHEMA_VERSION, SitesReport, SourceReport,
    Status, UnresolvedReport,
};
use recorded::{Recorded, runs};
use serde_json::{Value, json};
use testkit::pt::{Optimization, PacketWriter, System};

#[allow(dead_code, reason = "other tests use the rest")]
mod recorded;

/// The complaints of `docs/schema/NAME.json` about a value.
fn complaints(name: &str, value: &Value) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schema/{name}.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn check(name: &str, value: &Value) {
    assert_eq!(complaints(name, value), [""; 0], "{value:#}");
}

/// Every object of the value loses each of its keys once, gains a key once, and the schema has to notice.
fn check_strict(name: &str, value: &Value) {
    for pointer in objects(value, "") {
        let object = value.pointer(&pointer).and_then(Value::as_object).unwrap();
        let mut more = value.clone();
        more.pointer_mut(&pointer).unwrap()["unheard-of"] = json!(1);
        assert!(!complaints(name, &more).is_empty(), "{pointer} takes another key");
        for key in object.keys() {
            let mut less = value.clone();
            less.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(key);
            assert!(!complaints(name, &less).is_empty(), "{pointer} does without {key}");
        }
    }
}

fn objects(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Object(map) => {
            let inner = map.iter().flat_map(|(key, value)| objects(value, &format!("{at}/{key}")));
            std::iter::once(at.to_owned()).chain(inner).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().flat_map(|(i, value)| objects(value, &format!("{at}/{i}"))).collect()
        }
        _ => Vec::new(),
    }
}

fn source() -> SourceReport {
    SourceReport {
        kind: "etl",
        name: "trace.etl".into(),
        os: OsReport { major: 10, minor: 0, build: 26100, revision: Some(4652) },
        processors: Some(20),
        pointer_size: 8,
        start: Some("2024-05-06T07:08:09.1234567Z".into()),
        duration: Some(1.5),
        events: 3,
        events_lost: 0,
        buffers: 1,
        ipt_events: 0,
    }
}

#[test]
fn modules() {
    let full = ModuleReport {
        name: "ntoskrnl.exe".into(),
        path: r"\SystemRoot\system32\ntoskrnl.exe".into(),
        kernel: true,
        process: 0,
        base: Hex(0xffff_f804_7ba0_0000),
        size: Hex(0x104_6000),
        timestamp: Some(Hex(0xd83_33e6)),
        checksum: Some(Hex(0xa5_938c)),
        pdb: Some(PdbReport {
            name: "ntkrnlmp.pdb".into(),
            guid: "ED706A38-6592-40A0-66E6-FB19B994BAAA".into(),
            age: 1,
        }),
        image_key: Some("0D8333E61046000".into()),
        loaded: None,
        unloaded: Some(0.25),
        status: Some(FileStatus::Mismatch),
        file: Some("modules/ntoskrnl.exe".into()),
        file_version: Some("10.0.19041.1".into()),
        reason: Some("another build".into()),
    };
    let silent = ModuleReport {
        timestamp: None,
        checksum: None,
        pdb: None,
        image_key: None,
        status: None,
        file: None,
        file_version: None,
        reason: None,
        ..full.clone()
    };
    let report = ModulesReport {
        schema_version: SCHEMA_VERSION,
        source: source(),
        moment: Some(1.5),
        modules: vec![full, silent],
        warnings: vec!["lost".into()],
    };
    let value = serde_json::to_value(report).unwrap();
    check("modules", &value);
    let mut first = value.clone();
    first["modules"].as_array_mut().unwrap().truncate(1);
    check_strict("modules", &first);
    for (pointer, wrong) in [
        ("/modules/0/base", json!("0xFFFF")),
        ("/modules/0/base", json!(4096)),
        ("/modules/0/base", json!("0x0012")),
        ("/modules/0/image_key", json!("d8333e61046000")),
        ("/modules/0/pdb/guid", json!("ed706a38-6592-40a0-66e6-fb19b994baaa")),
        ("/source/pointer_size", json!(16)),
        ("/source/events", json!(-1)),
    ] {
        let mut value = first.clone();
        *value.pointer_mut(pointer).unwrap() = wrong;
        assert!(!complaints("modules", &value).is_empty(), "{pointer}");
    }
}

#[test]
fn build() {
    let sites = SitesReport {
        import: ImportSites { listed: 6, optimized: 2, no_index: 1, unbound: 1, out_of_range: 1, unexpected_bytes: 1 },
        indirect: RewrittenSites { listed: 2, rewritten: 0 },
        switch: RewrittenSites::default(),
        r#override: OverrideSites { listed: 3, applied: 2, assumed: 1, as_linked: 1, ..OverrideSites::default() },
    };
    let included = BuiltModule {
        name: "tcpip.sys".into(),
        base: Hex(0xffff_f804_8000_0000),
        size: Hex(0x2e_d000),
        image_key: Some("BD3342AC2ed000".into()),
        pdb: Some(PdbReport { name: "tcpip.pdb".into(), guid: "ED706A38-6592-40A0-66E6-FB19B994BAAA".into(), age: 1 }),
        status: Status::Included,
        file: Some("modules/tcpip.sys".into()),
        file_version: None,
        reason: None,
        ranges: vec![[Hex(0xffff_f804_8000_0000), Hex(0xffff_f804_8000_1000)]],
        import_optimization: Some(ModeReport { mode: "on", reason: "asked for".into() }),
        sites,
        overrides: vec![OverrideReport {
            original: Hex(0x1040),
            choice: "alternative",
            alternative: Some(0),
            assumed: vec![Hex(0)],
            calls: 3,
            applied: 2,
        }],
        relocations: 12,
        unresolved: vec![UnresolvedReport { dll: "NDIS.SYS".into(), name: "#7".into(), reason: "not found".into() }],
    };
    let report = BuildReport {
        schema_version: SCHEMA_VERSION,
        moment: Some(100.0),
        source_files: vec![mkdump::SourceFile { name: "trace.etl".into(), sha256: "00".repeat(32) }],
        shortcomings: vec!["1 module is missing".into()],
        output: "out.dmp".into(),
        format: "minidump",
        bytes: 4096,
        import_optimization: ModeReport { mode: "on", reason: "build 26100".into() },
        retpoline: ModeReport { mode: "off", reason: "not seen".into() },
        function_overrides: ModeReport { mode: "on", reason: "build 26100".into() },
        modules: vec![included.clone()],
        source: source(),
        ipt_quality: None,
        warnings: vec![],
        heat: Some(HeatReport::default()),
        votes: Vec::new(),
    };
    let value = serde_json::to_value(&report).unwrap();
    check("build", &value);
    check_strict("build", &value);
    for status in [Status::Missing, Status::Mismatch, Status::Excluded] {
        let reason = Some("why".into());
        let ranges = vec![];
        let module = BuiltModule { status, file: None, reason, ranges, import_optimization: None, ..included.clone() };
        check("build", &serde_json::to_value(BuildReport { modules: vec![module], ..report.clone() }).unwrap());
    }
    for mode in ["on", "off", "mixed"] {
        let mode = ModeReport { mode, reason: String::new() };
        check("build", &serde_json::to_value(BuildReport { retpoline: mode, ..report.clone() }).unwrap());
    }
    for format in ["minidump", "triage", "elf", "raw"] {
        check("build", &serde_json::to_value(BuildReport { format, ..report.clone() }).unwrap());
    }
}

/// Each list cut to one element, or to one of each kind where elements have kinds.
fn short(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, short(value))).collect(),
        Value::Array(list) => {
            let mut kinds = std::collections::BTreeSet::new();
            let first = |value: &Value| kinds.insert(value.get("kind").and_then(Value::as_str).map(str::to_owned));
            list.into_iter().filter(first).map(short).collect()
        }
        other => other,
    }
}

/// A trace that makes every list of the report have something in it, and a module is missing.
fn recorded() -> Recorded {
    let system = || System::generate(&System::busy(Optimization::On, false), 12);
    let mut runs = runs(&system(), 4, 4000);
    // Nonsense after the packets, and an address in no module.
    let mut nowhere = PacketWriter::new();
    nowhere.psb_plus(0, system().files[0].base - 0x10_0000).ovf();
    runs[3].packets.extend([&[0xc9][..], &nowhere.finish()].concat());
    let mut trace = system().trace_of(&runs);
    trace.ipt(0, 3_000_000, (7, 8), &[0x55; 64], 0);
    let last = system().files.last().map(|file| file.name.clone());
    Recorded::new(system(), &trace, |name| Some(name) == last.as_deref())
}

#[test]
fn ipt() {
    let recorded = recorded();
    let mut options = recorded.options();
    options.evidence = true;
    let report = recorded.try_report(&options).unwrap();
    let value = serde_json::to_value(&report).unwrap();
    check("ipt", &value);
    check("ipt", &serde_json::to_value(recorded.report()).unwrap());
    let first = short(value);
    for list in ["snapshots", "modules", "threads", "unknown", "errors", "verdict/per_module"] {
        let found = first.pointer(&format!("/{list}")).and_then(Value::as_array).map(Vec::len);
        assert_eq!(found, Some(1), "{list}: {first:#}");
    }
    check_strict("ipt", &first);
    for (pointer, wrong) in [
        ("/modules/0/base", json!(4096)),
        ("/modules/0/reached_by", json!("hearsay")),
        ("/modules/0/status", json!("mismatch")),
        ("/snapshots/0/time", json!("0.5")),
        ("/verdict/import_optimization", json!("mixed")),
        ("/verdict/per_module/0/evidence/0/says", json!("yes")),
    ] {
        let mut value = first.clone();
        *value.pointer_mut(pointer).unwrap() = wrong;
        assert!(!complaints("ipt", &value).is_empty(), "{pointer}");
    }
}

#[test]
fn extract() {
    let file = |name: &str| TraceFileReport { name: name.to_owned(), bytes: 8192 };
    let report = ExtractReport {
        schema_version: SCHEMA_VERSION,
        source: file("trace.etl"),
        output: file("share.etl"),
        kept: vec![KeptReport { kind: "kernel images", events: 5, keeps: "address" }],
        left_out: vec![LeftOutReport { kind: "Registry".to_owned(), events: 9 }],
        paths_cut: 1,
        texts: Some(vec![TextReport { place: "image path", text: "own.sys".to_owned(), events: 1 }]),
        warnings: vec!["damaged".to_owned()],
    };
    check_strict("extract", &serde_json::to_value(&report).unwrap());
    check("extract", &serde_json::to_value(ExtractReport { texts: None, ..report }).unwrap());
}

#[test]
fn ipt_flow() {
    let recorded = recorded();
    let (reports, summary) = recorded.flow(&recorded.options());
    // As the command joins them.
    let mut value = serde_json::to_value(&summary).unwrap();
    value["snapshots"] = serde_json::to_value(&reports).unwrap();
    check("ipt-flow", &value);
    // One snapshot in place of all, with an entry of each kind.
    let entries: Vec<FlowEntry> = reports.into_iter().flat_map(|report| report.flow).collect();
    value["snapshots"].as_array_mut().unwrap().truncate(1);
    value["snapshots"][0]["flow"] = serde_json::to_value(&entries).unwrap();
    let first = short(value);
    let kinds: Vec<&str> =
        first["snapshots"][0]["flow"].as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    for kind in ["executed", "interrupt", "missing", "gap"] {
        assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
    }
    check_strict("ipt-flow", &first);
}

#[test]
fn ipt_calls() {
    let recorded = recorded();
    let (mut reports, summary) = recorded.calls(&recorded.options(), &CallsChoice::default());
    // As the command joins them.
    let mut value = serde_json::to_value(&summary).unwrap();
    value["snapshots"] = serde_json::to_value(&reports).unwrap();
    check("ipt-calls", &value);
    // One snapshot in place of all, with an entry of each kind.
    let at = || PlaceReport {
        address: Hex(0x1000),
        module: Some("a.sys".into()),
        rva: Some(Hex(0)),
        symbol: Some("F+0x2".into()),
        symbol_from: Some("exports"),
    };
    let function =
        CallKind::Function { how: "call", at: at(), instructions: 1, total: 2, open: true, hidden: 0, left_out: 0 };
    let kinds = [
        function,
        CallKind::Loop { total: 4, hidden: 0 },
        CallKind::Overflow,
        CallKind::Disabled,
        CallKind::Switched,
        CallKind::Paging { cr3: Hex(0x1000) },
        CallKind::Missing { offset: 3, to: at() },
        CallKind::UnknownCall { offset: 3, from: at(), module: Some("b.sys".into()) },
        CallKind::Gap { offset: Some(3), from: Some(at()), what: "wrong".into(), likely: Some("damage") },
    ];
    reports.truncate(1);
    reports[0].calls = kinds.into_iter().map(|what| CallEntry { depth: 0, times: 1, what }).collect();
    value["snapshots"] = serde_json::to_value(&reports).unwrap();
    check("ipt-calls", &value);
    check_strict("ipt-calls", &short(value));
}

#[test]
fn ipt_functions() {
    let recorded = recorded();
    let mut report = recorded.functions(&recorded.options());
    check("ipt-functions", &serde_json::to_value(&report).unwrap());
    report.functions.truncate(1);
    report.functions[0].unknown_calls = vec![UnknownCalls { module: Some("b.sys".into()), sites: 1, times: 2 }];
    let value = short(serde_json::to_value(&report).unwrap());
    check("ipt-functions", &value);
    check_strict("ipt-functions", &value);
}
