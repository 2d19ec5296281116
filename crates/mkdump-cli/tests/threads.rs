//! `mkdump threads` as a user runs it.

use assert_cmd::Command;
use testkit::dump::kernel::Machine;

fn mkdump(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("mkdump").unwrap();
    command.env_remove("_NT_SYMBOL_PATH").env_remove("_NT_EXECUTABLE_IMAGE_PATH").args(arguments);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn threads_are_listed_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("mini.dmp");
    std::fs::write(&dump, Machine::sample().triage()).unwrap();
    let output = mkdump(&["threads", dump.to_str().unwrap(), "--address", "ffffc08b`f0000040,0xffffc08bf0000080"]);
    assert_eq!(output.status.code(), Some(0));
    let (list, talk) = (text(&output.stdout), text(&output.stderr));
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 5, "{list}");
    assert!(lines[0].starts_with("thread "), "{list}");
    assert!(lines[1].contains("ffffc08b`de9e1640") && lines[1].contains("current"), "{list}");
    assert!(lines[1].contains("ffff8504`29890ee8") && lines[1].contains(" 0x120 "), "{list}");
    assert!(lines[2].starts_with("ffffc08b`f0000040  listed?"), "{list}");
    assert!(lines[4].contains("ffffc08b`dea1a080  scanned"), "{list}");
    // The current directory need not hold modules, so the build alone would not work.
    assert!(!cfg!(feature = "fetch") || talk.contains("mkdump fetch --from-dump"), "{talk}");
    assert!(talk.contains("warning: 0xffffc08bf0000040") && talk.contains("4 threads, 2 with"), "{talk}");

    let quiet = mkdump(&["threads", "--quiet", dump.to_str().unwrap()]);
    assert_eq!((quiet.status.code(), text(&quiet.stderr).as_str()), (Some(0), ""));
    let json = mkdump(&["threads", "--json", dump.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["threads"][0]["captured"][0], "0xffff850429890ee8");
    assert_eq!(json["threads"][1]["address"], "0xffffc08bdea1a080");
}

#[test]
fn what_cannot_be_done_is_said_with_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("mini.dmp");
    std::fs::write(&dump, Machine::sample().triage()).unwrap();
    let (dump, no_dump) = (dump.to_str().unwrap(), dir.path().join("no.dmp"));
    for (arguments, expected) in [
        (&["threads"][..], "<DUMP>"),
        (&["threads", no_dump.to_str().unwrap()], "no.dmp"),
        (
            &["threads", dump, "--pdb", dump],
            "mini.dmp: it does not say where a thread object has its fields: not a PDB file (MSF 7.00)",
        ),
        (&["threads", dump, "--address", "nt!x"], "hexadecimal digits"),
        (&["threads", dump, "--process-offset", "0x221"], "multiples of 8"),
    ] {
        let output = mkdump(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(output.stdout, b"", "{arguments:?}");
    }
    let help = text(&mkdump(&["threads", "--help"]).stdout);
    assert!(help.contains("KTHREAD.Process") && help.contains("Examples:"), "{help}");
}
