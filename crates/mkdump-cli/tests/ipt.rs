//! `mkdump ipt` on the demo's data, as a user types it.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")
}

/// Runs `mkdump ipt` on the demo's trace with the modules in a directory.
fn ipt(modules: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkdump"));
    command.args(["ipt", "--no-cache", "--etl"]).arg(demo().join("demo.etl")).arg("--modules").arg(modules).args(more);
    command.env_remove("_NT_SYMBOL_PATH").env_remove("_NT_EXECUTABLE_IMAGE_PATH").output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_report_says_what_ran_and_how() {
    let output = ipt(&demo().join("modules"), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for words in
        ["snapshot", "CSwitch", "packets", "present", "ntoskrnl.exe", "import optimization on: ", "demonet.sys"]
    {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    assert!(!shown.contains("missing"), "{shown}");
    let report = json(&ipt(&demo().join("modules"), &["--json", "--evidence"]));
    assert_eq!(report["verdict"]["import_optimization"], "on");
    assert_eq!(report["errors_total"], 0);
    assert!(report["verdict"]["per_module"][0]["evidence"][0]["site"].is_string());
}

#[test]
fn without_modules_there_are_hits() {
    let empty = tempfile::tempdir().unwrap();
    let report = json(&ipt(empty.path(), &["--json"]));
    let modules = report["modules"].as_array().unwrap();
    assert!(!modules.is_empty());
    for module in modules {
        assert_eq!((&module["status"], &module["reached_by"]), (&"missing".into(), &"packets".into()));
        assert!(module["hits"].as_u64() > Some(0) && module["image_key"].is_string(), "{module}");
    }
    let flow = ipt(empty.path(), &["--trace-flow"]);
    assert_eq!(flow.status.code(), Some(2));
    assert!(text(&flow.stderr).contains("no module file in"), "{}", text(&flow.stderr));
}

#[test]
fn the_flow_is_text_or_json_and_names_what_is_missing() {
    let some = tempfile::tempdir().unwrap();
    for name in ["ntoskrnl.exe", "hal.dll", "demonet.sys", "demodisk.sys"] {
        std::fs::copy(demo().join("modules").join(name), some.path().join(name)).unwrap();
    }
    let output = ipt(some.path(), &["--trace-flow", "--snapshot", "0"]);
    assert_eq!(output.status.code(), Some(0));
    let shown = text(&output.stdout);
    assert!(shown.starts_with("snapshot 0: ") && shown.contains("  ntoskrnl.exe+0x"), "{shown}");
    assert!(shown.contains("(KeDemo0)"), "exports are names too");
    assert!(text(&output.stderr).contains("demofs.sys"), "{}", text(&output.stderr));
    let flow = json(&ipt(some.path(), &["--trace-flow", "--json"]));
    let missing: Vec<&str> = flow["missing"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(missing, ["demofs.sys"]);
    let report = json(&ipt(some.path(), &["--json"]));
    assert_eq!(flow["snapshots"].as_array().map(Vec::len), report["snapshots"].as_array().map(Vec::len));
}

#[test]
fn calls_are_a_tree_or_stacks() {
    let modules = demo().join("modules");
    let output = ipt(&modules, &["--calls", "--snapshot", "0"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for words in ["snapshot 0: ", "  from untraced code: ntoskrnl!KeDemo0, not ended", "    interrupt: ntoskrnl!KeDemo"]
    {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    let part = ipt(&modules, &["--calls", "--snapshot", "0", "--from-symbol", "demofs!*", "--depth", "2"]);
    let lines: Vec<&str> = text(&part.stdout).lines().skip(2).collect();
    assert!(lines[0].ends_with("demofs!FsDemo19, not ended"), "{lines:?}");
    assert!(lines.last().unwrap().contains(" lines of "), "{lines:?}");
    let dir = tempfile::tempdir().unwrap();
    let folded = dir.path().join("stacks.txt").display().to_string();
    let output = ipt(&modules, &["--folded", &folded]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), ""), "{}", text(&output.stderr));
    let stacks = std::fs::read_to_string(&folded).unwrap();
    let count = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
    let report = json(&ipt(&modules, &["--json"]));
    assert_eq!(report["flow"]["instructions"], stacks.lines().map(count).sum::<u64>());
    assert!(stacks.lines().any(|line| line.contains("demonet!NetDemo4;demofs!FsDemo19;demofs!FsDemo22 ")), "{stacks}");
    let functions = json(&ipt(&modules, &["--functions", "--json"]));
    let own = |list: &str| {
        let each = functions[list].as_array().unwrap().iter().map(|one| one["instructions"].as_u64().unwrap());
        each.sum::<u64>()
    };
    assert_eq!(report["flow"]["instructions"], own("functions"));
    assert_eq!(report["flow"]["instructions"], own("modules"));
    for bad in [&["--last", "3"][..], &["--calls", "--depth", "0"], &["--calls", "--trace-flow"]] {
        assert_eq!(ipt(&modules, bad).status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn a_choice_that_leaves_nothing_says_what_there_is() {
    let modules = demo().join("modules");
    for (arguments, words) in [
        (&["--snapshot", "99"][..], "there are snapshots 0 to"),
        (&["--snapshot", "x"], "allowed are numbers"),
        (&["--thread", "3"], "there are 100"),
        (&["--process", "nobody"], "there are"),
        (&["--from", "1000"], "they are from"),
    ] {
        let output = ipt(&modules, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    }
    let one = json(&ipt(&modules, &["--json", "--thread", "100", "--cpu", "0"]));
    assert!(one["snapshots"].as_array().unwrap().iter().all(|snapshot| snapshot["tid"] == 100));
}

#[test]
fn a_trace_without_data_says_how_to_record_some() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain.etl");
    let mut trace = testkit::trace::TraceFile::new();
    trace.kernel_base(0, 1_000_200, 0xffff_f800_0000_0000);
    std::fs::write(&path, trace.finish()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkdump"));
    let output =
        command.args(["ipt", "--no-cache", "--etl"]).arg(&path).arg("--modules").arg(dir.path()).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    for words in ["none of them with Intel PT data", "EventTraceProcessorTraceConfigurationInformation", "--ipt-hex"] {
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}

#[test]
fn nonsense_leads_the_summary_and_fails_strict() {
    let good = ipt(&demo().join("modules"), &["--strict"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("100%") && !text(&good.stdout).contains("NOT RELIABLE"));
    // A PSB, and then bytes that are not packets.
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = [0x02, 0x82].repeat(8).into_iter().chain([0x02, 0x23]).chain([0xc9; 1000]).collect();
    std::fs::write(dir.path().join("noise.pt"), noise).unwrap();
    let noise = dir.path().join("noise.pt").display().to_string();
    for (strict, code) in [(&["--strict"][..], 1), (&[], 0)] {
        let bad = ipt(&demo().join("modules"), &[&["--ipt-bin", &noise], strict].concat());
        assert_eq!(bad.status.code(), Some(code), "{}", text(&bad.stderr));
        let first = text(&bad.stdout).lines().next().unwrap_or_default();
        assert!(first.starts_with("NOT RELIABLE: ") && first.contains("could be followed"), "{first}");
        // The flow itself says so at the head of each such snapshot and at its end, and fails as well.
        let flow = ipt(&demo().join("modules"), &[&["--trace-flow", "--ipt-bin", &noise], strict].concat());
        assert_eq!(flow.status.code(), Some(code), "{}", text(&flow.stderr));
        let (out, end) = (text(&flow.stdout), text(&flow.stderr));
        assert!(out.contains("\nNOT RELIABLE: only") && end.contains("NOT RELIABLE: "), "{out}{end}");
        let flow = ipt(&demo().join("modules"), &[&["--trace-flow", "--json", "--ipt-bin", &noise], strict].concat());
        let flow: Value = serde_json::from_slice(&flow.stdout).unwrap();
        assert!(flow["doubt"].as_str().is_some_and(|doubt| doubt.contains("could be followed")), "{}", flow["doubt"]);
    }
    let good = ipt(&demo().join("modules"), &["--trace-flow", "--strict"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stderr).contains("(100%)"), "{}", text(&good.stderr));
}

#[test]
fn what_confirms_the_flow_is_told() {
    let modules = demo().join("modules");
    let report = json(&ipt(&modules, &["--json"]));
    let confirmed = &report["flow"]["quality"]["confirmed"];
    let number = |name: &str| confirmed[name].as_u64().unwrap();
    assert!(number("returns") > 0 && number("branches") > 0, "{confirmed}");
    assert_eq!(number("bits"), number("returns") + number("branches") + 16 * number("addresses"));
    let shown = ipt(&modules, &[]);
    let line = format!("confirmed by {} returns", number("returns"));
    let shown = text(&shown.stdout).replace(',', "");
    assert!(shown.contains(&line), "{line}: {shown}");
    let flow = json(&ipt(&modules, &["--trace-flow", "--json"]));
    assert_eq!(&flow["quality"], &report["flow"]["quality"]);
}

#[test]
fn a_diagnosis_names_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkdump"));
    let output = command.args(["ipt", "--diagnose", "--etl"]).arg(demo().join("demo.etl")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for words in [
        "windows                 10.0.26100",
        "PERFINFO64 of 16 bytes: 4",
        "hook 0x0524: 4",
        "as bytes-left",
        "first PSB",
    ] {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
    for name in [".sys", ".exe", "demo.etl", "DEMO", "/"] {
        let bare = shown.replace(" / ", " ");
        assert!(!bare.contains(name), "{name} is in\n{shown}");
    }
}

#[test]
fn the_events_of_a_snapshot_are_listed_on_demand() {
    let output = ipt(&demo().join("modules"), &["-v"]);
    let shown = text(&output.stdout);
    assert!(shown.contains("snapshot 0: events with the word at offset 28: "), "{shown}");
    let report = json(&ipt(&demo().join("modules"), &["--json"]));
    let first = &report["snapshots"][0];
    assert_eq!(first["pieces"][0]["bytes"], first["bytes"]);
    assert!(first["word28_fits"].as_array().is_some_and(|fits| fits.contains(&"index".into())), "{first}");
}
