//! The same input gives the same bytes, wherever and whenever, in every format.

use std::collections::BTreeMap;
use std::path::Path;

use assert_cmd::Command;

fn build(dir: &Path, format: &str, environment: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let output = dir.join(format!("out.{format}"));
    let mut command = Command::cargo_bin("mkdump").unwrap();
    for name in ["_NT_SYMBOL_PATH", "_NT_EXECUTABLE_IMAGE_PATH", "SOURCE_DATE_EPOCH"] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied()).current_dir(dir);
    command.args(["--etl", "demo.etl", "--modules", "modules", "--no-cache", "--format", format]);
    command.arg("-o").arg(&output).assert().success();
    let files = if output.is_dir() {
        std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path()).collect()
    } else {
        vec![output]
    };
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

fn demo() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("mkdump").unwrap();
    command.args(["demo", "."]).current_dir(dir.path()).assert().success();
    dir
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    // Two places, and one thread against many.
    let (one, other) = (demo(), demo());
    for format in ["minidump", "triage", "elf", "raw"] {
        let first = build(one.path(), format, &[("RAYON_NUM_THREADS", "1")]);
        let second = build(other.path(), format, &[("RAYON_NUM_THREADS", "7"), ("TZ", "Asia/Tokyo")]);
        assert!(!first.is_empty() && first == second, "{format}");
    }
}

#[test]
fn the_time_is_the_traces_or_the_one_that_is_set() {
    const SET: u64 = 1_700_000_000;
    let dir = demo();
    let set = [("SOURCE_DATE_EPOCH", "1700000000")];
    let at = |bytes: &[u8], offset: usize, size: usize| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&bytes[offset..offset + size]);
        u64::from_le_bytes(word)
    };
    // MINIDUMP_HEADER.TimeDateStamp, seconds since 1970; the demo's trace begins on 2024-02-28 at 23:59:59.
    let minidump =
        |environment: &[(&str, &str)]| at(&build(dir.path(), "minidump", environment)["out.minidump"], 20, 4);
    assert_eq!((minidump(&[]), minidump(&set)), (1_709_164_799, SET));
    // DUMP_HEADER64.SystemTime, 100 ns since 1601.
    let triage = |environment: &[(&str, &str)]| at(&build(dir.path(), "triage", environment)["out.triage"], 0xfa8, 8);
    let filetime = |seconds: u64| (seconds + 11_644_473_600) * 10_000_000;
    assert_eq!((triage(&[]), triage(&set)), (filetime(1_709_164_799), filetime(SET)));
    // A value that is not a number is not a time.
    assert_eq!(minidump(&[("SOURCE_DATE_EPOCH", "yesterday")]), 1_709_164_799);
}
