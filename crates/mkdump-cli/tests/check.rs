//! `mkdump check` as a program: exit codes, and what goes to stdout and stderr.

use std::path::Path;

use assert_cmd::Command;
use testkit::dump::pair::{Pair, Wish};
use testkit::dump::user::Recipe;

/// Writes the files of a pair, and some others, into a directory.
fn put(dir: &Path) {
    let pair = Pair::random(&Wish { seed: 8, flips: 9, breakpoints: 0, without_files: false });
    std::fs::create_dir(dir.join("modules")).unwrap();
    for (name, bytes) in &pair.files {
        std::fs::write(dir.join("modules").join(name), bytes).unwrap();
    }
    let mut broken = Recipe::good();
    broken.flags |= 2;
    for (name, bytes) in [
        ("ours.dmp", pair.dump),
        ("real.dmp", pair.real),
        ("other.dmp", Recipe::good().build()),
        ("broken.dmp", broken.build()),
        ("text.dmp", b"no dump".to_vec()),
    ] {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

/// Runs the command in a directory; its exit code, stdout and stderr.
fn run(dir: &Path, arguments: &str) -> (i32, String, String) {
    let mut command = Command::cargo_bin("mkdump").unwrap();
    command.current_dir(dir).env_remove("_NT_SYMBOL_PATH").env_remove("_NT_EXECUTABLE_IMAGE_PATH");
    let output = command.args(["check", "--no-cache"]).args(arguments.split(' ')).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn exit_codes_tell_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir);
    // Arguments, exit code, what stdout and stderr have.
    let cases = [
        ("other.dmp", 0, "every rule kept", ""),
        ("broken.dmp", 1, "memory32-flag: dbgeng", ""),
        ("other.dmp --against other.dmp", 0, "every difference explained", ""),
        ("ours.dmp --against real.dmp --modules modules", 1, "UNEXPLAINED", ""),
        ("other.dmp --against real.dmp", 2, "nothing in common", "hold no byte of the same module"),
        ("text.dmp", 2, "", "text.dmp"),
        ("absent.dmp", 2, "", "absent.dmp"),
        ("ours.dmp --modules modules", 2, "", "--against"),
        ("ours.dmp --against real.dmp --modules nowhere", 2, "", "nowhere"),
    ];
    for (arguments, code, stdout, stderr) in cases {
        let (found, out, err) = run(dir, arguments);
        assert_eq!(found, code, "{arguments}\n{out}\n{err}");
        assert!(out.contains(stdout) && err.contains(stderr), "{arguments}\n{out}\n{err}");
    }
}

#[test]
fn json_is_all_there_is_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir);
    for (arguments, code) in [
        ("other.dmp --json", 0),
        ("ours.dmp --against real.dmp --modules modules --json", 1),
        ("other.dmp --against real.dmp --json", 2),
    ] {
        let (found, out, err) = run(dir, arguments);
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((found, value["dump"]["name"].is_string()), (code, true), "{arguments}\n{err}");
    }
    let (_, out, err) = run(dir, "other.dmp --quiet");
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
}
