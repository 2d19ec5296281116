//! `mkdump events`: lines, counts, JSON, choices and refusals.

use std::path::Path;

use serde_json::Value;
use testkit::trace::{Event, Header, Module, SelfDescribing, TraceFile};

use super::support::{complaints, run, workplace};

const LIVE_DUMP: &str = "bef2aa8e-81cd-11e2-a7bb-5eac6188709b";
const OTHER: &str = "12345678-9abc-def0-1122-334455667788";

/// A trace of everything in `a.etl`.
fn trace() -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    let mut file = TraceFile::new();
    file.kernel_base(0, 1_000_100, 0xffff_f800_0000_0000);
    file.load(1, 1_000_050, &Module::kernel(r"\SystemRoot\a.sys", 0xffff_f801_0000_0000, 0x8000));
    file.ipt(1, 1_000_200, (8, 12), &[2; 100], 0);
    let text = "a\u{1b}[2J\u{202e}b\0".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let event = SelfDescribing::new("Started").field("text", 1, 0, &text).field("pid", 8, 0, &[7, 0, 0, 0]);
    file.log(0, event.event("Demo.Provider", 1_000_300));
    file.log(0, Event::class(Header::Event64, OTHER, 9, 2, 1_000_400, vec![0xab; 3]));
    file.log(0, Event::class(Header::Event64, LIVE_DUMP, 1, 0, 12_000_000, Vec::new()));
    file.log(0, Event::class(Header::Event64, LIVE_DUMP, 3, 0, 14_000_000, Vec::new()));
    let mut ended = vec![0; 36];
    ended[4] = 200;
    file.log(0, Event::class(Header::Event64, LIVE_DUMP, 4, 0, 24_000_000, ended));
    std::fs::write(work.path().join("a.etl"), file.finish()).unwrap();
    work
}

fn lines(work: &Path, words: &str) -> Vec<String> {
    let run = run(work, &format!("events --etl a.etl {words}"));
    assert_eq!(run.code, 0, "{words}: {}", run.stderr);
    run.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn events_are_lines_in_order_of_time() {
    let work = trace();
    let check = |words: &str, expected: &[&str]| {
        let found = lines(work.path(), words);
        assert_eq!(found.len(), expected.len(), "{words}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{words}: {found}");
        }
    };
    let image = " 00.0000050 cpu1   4.28        Image ImageLoad  action: load, process: 0, base: 0xfffff80100000000,";
    let base = " 00.0000100 cpu0   -.-         Image KernelBase  base: 0xfffff80000000000";
    let switch = "Thread CSwitch  new_tid: 12, old_tid: 0";
    let ipt = "cpu1   8.12        Ipt IntelProcessorTrace  event_time: 1000200, pid: 8, tid: 12, options: 0x1060011, bytes: 100";
    // What drives a terminal is shown as a question mark.
    let described = " 00.0000300 cpu0   4.28        Demo.Provider Started  text: a?[2J?b, pid: 7";
    let unknown = "{12345678-9ABC-DEF0-1122-334455667788} event 9 version 2  payload: ababab";
    let live = "Microsoft-Windows-Kernel-LiveDump Capture API: API start  Live Dump Capture Dump Data API started.";
    let writing = "Capture API: file write start  Writing dump file started.";
    let all =
        ["EventTrace Header", image, base, switch, ipt, described, unknown, live, writing, "Writing dump file ended."];
    check("", &all);
    check("--last 2", &all[8..]);
    check("--last 100", &all);
    check("--provider image", &[image, base]);
    check("--provider Image --event 0x1421", &[base]);
    check("--provider demo.provider --provider {12345678-9abc-def0-1122-334455667788}", &[described, unknown]);
    check("--event started --event cswitch", &[switch, described]);
    check("--event 9", &[unknown]);
    check("--thread 12", &[switch, ipt]);
    check("--process 8", &[ipt]);
    check("--cpu 1", &[image, switch, ipt]);
    // Times as they are shown are times that are taken.
    check("--from 0.0000100 --to 0.0000300", &all[2..6]);
    check("--event 9 --to 0.00004s --from 0.0000400", &[unknown]);
}

#[test]
fn live_dumps_are_told_in_sentences() {
    let work = trace();
    let run = run(work.path(), "events --etl a.etl --provider Microsoft-Windows-Kernel-LiveDump");
    assert_eq!(
        run.stdout,
        "01.1000000 Live Dump Capture Dump Data API started.\n01.3000000 Writing dump file started.\n02.3000000 Writing dump file \
         ended. NT Status: 0x0. Total 200 bytes (Header|Primary|Secondary: 0|0|0 bytes).\n"
    );
    assert_eq!(run.stderr, "live dump of process 4: preparing 0.2000000 s, writing 1.0000000 s (200 bytes/s)\n");
}

#[test]
fn counts_are_of_all_events() {
    let work = trace();
    let table = lines(work.path(), "--count");
    assert_eq!(table.len(), 11, "{table:#?}");
    assert!(table[0].starts_with("provider") && table[1].ends_with(" 1"), "{table:#?}");
    let json = lines(work.path(), "--count --json");
    let mut events = 0;
    for line in json {
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(complaints("event-count", &value), [""; 0], "{line}");
        events += value["events"].as_u64().unwrap();
    }
    assert_eq!(events, 10);
}

#[test]
fn json_is_an_object_a_line() {
    let work = trace();
    let lines = lines(work.path(), "--json");
    assert_eq!(lines.len(), 10);
    let values: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for value in &values {
        assert_eq!(complaints("event", value), [""; 0], "{value}");
    }
    assert_eq!(values[2]["fields"]["base"], "0xfffff80000000000");
    assert_eq!((&values[2]["time"], &values[2]["id"]), (&0.00001.into(), &0x1421.into()));
    assert_eq!(values[5]["fields"], serde_json::json!({"text": "a\u{1b}[2J\u{202e}b", "pid": 7}));
    assert!(lines[5].contains("\\u202e"), "{}", lines[5]);
    assert_eq!((&values[6]["payload"], &values[6]["version"]), (&"ababab".into(), &2.into()));
    assert_eq!(values[9]["message"].as_str().unwrap().split('.').next(), Some("Writing dump file ended"));
}

#[test]
fn a_manifest_names_events() {
    let work = trace();
    let manifest = format!(
        r#"<instrumentationManifest xmlns="http://schemas.microsoft.com/win/2004/08/events"><instrumentation><events>
        <provider name="Other-Provider" guid="{{{OTHER}}}" symbol="x"><events>
        <event value="9" version="2" task="Work" opcode="win:Start" template="t"/></events>
        <templates><template tid="t"><data name="kind" inType="win:UInt8"/><data name="rest" inType="win:Unheard"/></template>
        </templates></provider></events></instrumentation></instrumentationManifest>"#
    );
    std::fs::write(work.path().join("other.man"), manifest).unwrap();
    let found = lines(work.path(), "--manifest other.man --provider other-provider");
    assert_eq!(found, [" 00.0000400 cpu0   4.28        Other-Provider Work/Start  kind: 171, +2 bytes"]);
    std::fs::write(work.path().join("bad.man"), "<!DOCTYPE x [<!ENTITY a 'b'>]><x/>").unwrap();
    for (words, expected) in [
        ("--manifest bad.man", "bad.man: offset 0: it has a document type"),
        ("--manifest a.etl", "a.etl: it is neither UTF-8 nor UTF-16"),
        ("--manifest none.man", "cannot read none.man"),
    ] {
        let refused = run(work.path(), &format!("events --etl a.etl {words}"));
        assert!(refused.code == 2 && refused.stderr.contains(expected), "{words}: {}", refused.stderr);
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_what_is_missing_is_told() {
    let work = workplace();
    for (words, expected) in [
        (
            "events --etl trace.etl --provider nobody",
            "none of its 42 events is what was asked for; `mkdump events --count`",
        ),
        ("events --etl trace.etl --count --event nothing", "none of its 42 events"),
        ("events --etl trace.etl --provider Microsoft-Windows-Kernel-LiveDump", "level 4 with all keywords"),
        ("events --etl modules/hal.dll", "hal.dll"),
        ("events --etl trace.etl --from x", "--from"),
        ("events --etl trace.etl --count --last 3", "--last"),
        ("events", "--etl"),
    ] {
        let refused = run(work.path(), words);
        assert!(refused.code == 2 && refused.stderr.contains(expected), "{words}: {}", refused.stderr);
    }
    let whole = std::fs::read(work.path().join("trace.etl")).unwrap();
    std::fs::write(work.path().join("cut.etl"), &whole[..whole.len() - 1000]).unwrap();
    let cut = run(work.path(), "events --etl cut.etl");
    assert!(cut.code == 0 && cut.stderr.starts_with("warning: cut.etl: "), "{}", cut.stderr);
    assert_eq!(run(work.path(), "events --etl cut.etl --strict").code, 1);
    assert_eq!(run(work.path(), "events --etl trace.etl --strict").code, 0);
}

// What a closed pipe does elsewhere has not been tried, as with the other commands (interrupted.rs).
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_silent() {
    let work = tempfile::tempdir().unwrap();
    let mut file = TraceFile::new();
    for tick in 0..20_000 {
        file.kernel_base(0, 1_000_100 + tick, 0);
    }
    std::fs::write(work.path().join("a.etl"), file.finish()).unwrap();
    let mut command = std::process::Command::new(super::support::mkdump(work.path()).get_program());
    command.current_dir(work.path()).args(["events", "--etl", "a.etl"]);
    let mut child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn what_came_before_a_snapshot() {
    let work = workplace();
    let found = run(work.path(), "ipt --etl trace.etl --modules modules --no-cache --context 2 --snapshot 0,1");
    assert_eq!(found.code, 0, "{}", found.stderr);
    let (_, before) = found.stdout.split_once("\nbefore snapshot 0\n").unwrap();
    let lines: Vec<&str> = before.lines().collect();
    assert_eq!(lines.len(), 4, "{before}");
    assert!(lines[1].contains("cpu0   4.28        Thread ThreadDCStart  pid: 8, tid: 112"), "{before}");
    assert_eq!(lines[3], "before snapshot 1: no events");
    for words in ["--context 0", "--context 2 --json", "--context 2 --calls"] {
        assert_eq!(run(work.path(), &format!("ipt --etl trace.etl --modules modules {words}")).code, 2, "{words}");
    }
}
