//! `mkdump extract`: what it writes, prints and refuses.

use serde_json::Value;

use super::support::{complaints, run, workplace};

#[test]
fn an_extract_is_a_trace_that_gives_the_same_dump() {
    let work = workplace();
    let json = run(work.path(), "extract --etl trace.etl -o share.etl --audit --json");
    assert_eq!((json.code, json.stderr.as_str()), (0, ""));
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(complaints("extract", &report), [""; 0]);
    let texts: Vec<&str> =
        report["texts"].as_array().unwrap().iter().map(|text| text["text"].as_str().unwrap()).collect();
    assert!(texts.contains(&"vendorflt.pdb") && !texts.contains(&"DEMO"), "{texts:?}");
    let raw = |trace: &str| {
        let words = format!("--etl {trace}.etl --modules modules --format raw -o {trace} --no-cache");
        assert_eq!(run(work.path(), &words).code, 0);
        let files = std::fs::read_dir(work.path().join(trace)).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = files
            .filter(|entry| entry.file_name() != "manifest.json")
            .map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    assert!(raw("share") == raw("trace"));
    let list = |trace: &str| run(work.path(), &format!("modules --etl {trace}.etl")).stdout;
    assert_eq!(list("share"), list("trace"));
    let machine = run(work.path(), "modules --etl share.etl").stderr;
    assert!(!machine.contains("DEMO"), "the computer has no name: {machine}");
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_is_written() {
    let work = workplace();
    for (words, expected) in [
        ("extract --etl trace.etl -o trace.etl", "this is the input trace.etl; nothing was written"),
        ("extract --etl trace.etl -o b.etl --snapshot 9", "there is no Intel PT snapshot 9: they are numbered 0 to"),
        ("extract --etl modules/hal.dll -o b.etl", "hal.dll"),
        ("extract --etl none.etl -o b.etl", "none.etl"),
        ("extract --etl trace.etl -o b.etl --time 3-1", "1 comes before 3"),
        ("extract --etl trace.etl -o b.etl --keep Nobody", "allowed are GUIDs, kernel classes"),
        ("extract --etl trace.etl", "--output"),
    ] {
        let refused = run(work.path(), words);
        assert!(refused.code == 2 && refused.stderr.contains(expected), "{words}: {}", refused.stderr);
        assert!(!work.path().join("b.etl").exists(), "{words}");
    }
    // A trace that is there may be somebody's only one.
    assert_eq!(run(work.path(), "extract --etl trace.etl -o b.etl").code, 0);
    let again = run(work.path(), "extract --etl trace.etl -o b.etl");
    assert!(again.code == 2 && again.stderr.contains("a trace is there and is not replaced"), "{}", again.stderr);
}
