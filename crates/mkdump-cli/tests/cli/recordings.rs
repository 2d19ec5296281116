//! A recording in several files.

use testkit::trace::RecordingSet;

use super::support::{Run, run, workplace};

fn put(directory: &std::path::Path) {
    let RecordingSet { kernel, user } = RecordingSet::new();
    std::fs::write(directory.join("t.kernel.etl"), kernel.finish()).unwrap();
    std::fs::write(directory.join("t.etl"), user.finish()).unwrap();
}

#[test]
fn every_command_takes_all_files_of_a_recording() {
    let directory = workplace();
    let path = directory.path();
    put(path);
    let source = "--etl t.etl --etl t.kernel.etl";
    let Run { code, stdout, stderr } = run(path, &format!("modules {source}"));
    assert_eq!((code, stdout.lines().count()), (0, 1 + RecordingSet::MODULES.len()), "{stdout}{stderr}");
    // The suggested next command names both files.
    assert!(stderr.contains("mkdump fetch --etl t.etl --etl t.kernel.etl"), "{stderr}");
    let Run { code, stdout, .. } = run(path, &format!("ipt {source} -m modules"));
    assert!(code == 0 && stdout.contains("2 snapshots"), "{stdout}");
    let Run { stdout, .. } = run(path, &format!("request {source} -m modules"));
    assert!(RecordingSet::MODULES.iter().all(|name| stdout.contains(name)), "{stdout}");
    // No module's file is there: a dump without code, and exit code 1.
    let Run { code, stdout, stderr } = run(path, &format!("{source} -m modules -o out.dmp --json"));
    assert_eq!(code, 1, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let files = report["source_files"].as_array().unwrap();
    let names: Vec<_> = files.iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["t.etl", "t.kernel.etl"]);
    assert_ne!(files[0]["sha256"], files[1]["sha256"]);
    let Run { stdout, .. } = run(path, "check out.dmp --json");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["provenance"]["source"], "t.etl");
    assert_eq!(report["provenance"]["source_sha256"], files[0]["sha256"]);
    assert_eq!(report["provenance"]["more_sources"][0], files[1]);
    assert!(report["comments"][0].as_str().unwrap().contains(files[1]["sha256"].as_str().unwrap()));
    // An output must not replace the second file either.
    let Run { code, stderr, .. } = run(path, &format!("{source} -m modules -o t.kernel.etl"));
    assert!(code == 2 && stderr.contains("t.kernel.etl"), "{stderr}");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let directory = workplace();
    let path = directory.path();
    put(path);
    let mut set = RecordingSet::new();
    set.user.windows.2 = 22631;
    std::fs::write(path.join("other.etl"), set.user.finish()).unwrap();
    let Run { code, stderr, .. } = run(path, "modules --etl t.kernel.etl --etl other.etl");
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("other.etl is not of the recording of t.kernel.etl: its Windows version is"), "{stderr}");
}

#[test]
fn one_file_of_a_recording_says_what_it_lacks_and_where_that_may_be() {
    let directory = workplace();
    let path = directory.path();
    put(path);
    // The demo's trace is of the same made-up boot.
    std::fs::remove_file(path.join("trace.etl")).unwrap();
    let mut lonely = testkit::trace::TraceFile::new();
    let RecordingSet { user, .. } = RecordingSet::new();
    (lonely.start_time, lonely.start_tick) = (user.start_time, user.start_tick);
    std::fs::write(path.join("t.etl"), lonely.finish()).unwrap();
    let told = "t.kernel.etl beside it was recorded at the same time and may hold them";
    for words in ["modules --etl t.etl", "--etl t.etl -m modules -o out.dmp", "request --etl t.etl -m modules"] {
        let Run { stderr, .. } = run(path, words);
        assert!(stderr.contains(told) && stderr.contains("name each with --etl"), "{words}: {stderr}");
    }
    let Run { stderr, .. } = run(path, "ipt --etl t.etl -m modules");
    assert!(stderr.contains("t.kernel.etl beside it was recorded at the same time and may hold some"), "{stderr}");
}
