//! The JSON of `mkdump check` is what `docs/schema/check.json` promises.

use std::path::Path;

use mkdump::check::{
    AssumedReport, CheckOptions, CheckReport, FindingReport, OtherModule, ProvenanceReport, SeverityReport,
    UsedFileReport, check,
};
use mkdump::report::Hex;
use mkdump::{Search, Silent, SourceFile};
use serde_json::{Value, json};
use symstore::Cache;
use testkit::dump::pair::{Pair, Wish};

/// The schema's complaints about a value.
fn complaints(value: &Value) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema/check.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// A report that has everything that a report can have.
fn full() -> CheckReport {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::random(&Wish { seed: 3, flips: 20, breakpoints: 5, without_files: false });
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let roots = pair.files.iter().map(|(name, bytes)| put(name, bytes)).collect();
    let options = CheckOptions {
        dump: put("ours.dmp", &pair.dump),
        against: Some(put("real.dmp", &pair.real)),
        search: Search { roots, symbol_path: Vec::new(), cache: Cache::Off },
    };
    let mut report = check(&options, &Silent).unwrap();
    let assumed = || AssumedReport { mode: "on".into(), reason: "build 26100".into() };
    report.provenance = Some(ProvenanceReport {
        tool: "mkdump 0.1.0".into(),
        source: "trace.etl".into(),
        source_sha256: "00".repeat(32),
        more_sources: vec![SourceFile { name: "user.etl".into(), sha256: "11".repeat(32) }],
        import_optimization: assumed(),
        retpoline: assumed(),
        function_overrides: Some(assumed()),
        files: vec![UsedFileReport { name: "a.sys".into(), base: "0x1000".into(), image_key: "5F5E10009000".into() }],
    });
    report.comments.push("a comment".into());
    report.warnings.push("a warning".into());
    report.validation.findings.truncate(1);
    if report.validation.findings.is_empty() {
        report.validation.findings.push(FindingReport {
            rule: "thread-id",
            severity: SeverityReport::Refused,
            readers: vec!["dbgeng"],
            offset: Hex(0x20),
            message: "thread id is 0".into(),
            text: "thread ids are at least 1",
        });
    }
    let comparison = report.comparison.as_mut().unwrap();
    comparison.others.push(OtherModule { name: "b.sys".into(), base: Hex(0x2000), reason: "why".into() });
    comparison.modules.retain(|module| module.places.len() > 3);
    comparison.modules.truncate(1);
    comparison.modules[0].places.truncate(3);
    report
}

#[test]
fn reports_fit() {
    let report = full();
    let value = serde_json::to_value(&report).unwrap();
    assert_eq!(complaints(&value), [""; 0]);
    let without = CheckReport { provenance: None, comparison: None, ..report };
    assert_eq!(complaints(&serde_json::to_value(without).unwrap()), [""; 0]);
}

/// Every object loses each of its keys once, and gains a key once, and the schema has to notice.
#[test]
fn the_schema_is_strict() {
    let value = serde_json::to_value(full()).unwrap();
    let mut pointers = Vec::new();
    objects(&value, "", &mut pointers);
    assert!(pointers.len() > 30);
    for pointer in &pointers {
        let mut more = value.clone();
        more.pointer_mut(pointer).unwrap()["unheard-of"] = json!(1);
        assert!(!complaints(&more).is_empty(), "{pointer} takes another key");
        for key in value.pointer(pointer).unwrap().as_object().unwrap().keys() {
            let mut less = value.clone();
            less.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(key);
            assert!(!complaints(&less).is_empty(), "{pointer} does without {key}");
        }
    }
    for (pointer, wrong) in [
        ("/dump/kind", json!("elf")),
        ("/validation/findings/0/severity", json!("bad")),
        ("/comparison/modules/0/base", json!(4096)),
        ("/comparison/modules/0/places/0/class", json!("flip")),
        ("/comparison/totals/bytes", json!(-1)),
    ] {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap() = wrong;
        assert!(!complaints(&value).is_empty(), "{pointer}");
    }
}

/// Pointers to one object of each kind: of lists the first entry stands for all.
fn objects(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            out.push(at.to_owned());
            map.iter().for_each(|(key, value)| objects(value, &format!("{at}/{key}"), out));
        }
        Value::Array(list) => list.iter().take(1).for_each(|value| objects(value, &format!("{at}/0"), out)),
        _ => {}
    }
}
