//! No output replaces an input, a module file or another output, whatever name it goes by.

#[cfg(unix)]
use super::support::mkdump;
use super::support::{Run, run, workplace};

#[test]
fn an_output_that_is_an_input_is_refused() {
    let directory = workplace();
    let path = directory.path();
    std::fs::copy(path.join("trace.etl"), path.join("same.dmp")).unwrap();
    std::fs::hard_link(path.join("trace.etl"), path.join("hard.etl")).unwrap();
    std::fs::write(path.join("other.dmp"), "somebody else's").unwrap();
    std::fs::copy(path.join("trace.etl"), path.join("other.etl")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("trace.etl", path.join("soft.etl")).unwrap();
    assert_eq!(run(path, "--etl trace.etl -m modules --format triage -o real.dmp").code, 0);
    let contents = || {
        let names = ["trace.etl", "same.dmp", "other.dmp", "real.dmp", "modules/hal.dll"];
        names.map(|name| std::fs::read(path.join(name)).unwrap())
    };
    let before = contents();
    let build = "--etl trace.etl -m modules";
    for words in [
        format!("{build} -o trace.etl"),
        format!("{build} -o hard.etl"),
        format!("{build} -o ./modules/../trace.etl"),
        format!("{build} -o out.dmp --report trace.etl"),
        format!("{build} -o modules/hal.dll"),
        format!("{build} -o x --report x"),
        format!("{build} -o x --report ./x"),
        format!("{build} -o x --log x"),
        format!("{build} -o out.dmp --log trace.etl"),
        "modules --etl trace.etl --log trace.etl".to_owned(),
        "check real.dmp --log real.dmp".to_owned(),
        "request --etl trace.etl -m modules -o trace.etl".to_owned(),
        "--from-dump real.dmp -m modules -o real.dmp".to_owned(),
        format!("{build} -o -"),
        "request --etl trace.etl -m modules -o -".to_owned(),
        // Default names: the source itself, and a file that someone else wrote.
        "--etl same.dmp -m modules".to_owned(),
        "--etl other.etl -m modules".to_owned(),
    ] {
        let Run { code, stdout, stderr } = run(path, &words);
        assert_eq!((code, stdout.as_str()), (2, ""), "{words}: {stderr}");
        assert!(contents() == before, "{words} changed a file");
        assert!(!path.join("x").exists() && !path.join("-").exists() && !path.join("out.dmp").exists(), "{words}");
    }
    #[cfg(unix)]
    assert_eq!(run(path, &format!("{build} -o soft.etl")).code, 2);
    assert!(contents() == before);
    // What this program wrote itself may be written again, and a device by any number of outputs.
    for _ in 0..2 {
        assert_eq!(run(path, build).code, 0);
    }
    if cfg!(unix) {
        assert_eq!(run(path, &format!("{build} -o /dev/null --report /dev/null")).code, 0);
    }
}

/// Whatever the format: a file that is there and does not say that mkdump wrote it stays.
#[test]
fn a_default_name_replaces_only_what_this_program_wrote() {
    let directory = workplace();
    let path = directory.path();
    let dump = testkit::dump::user::Recipe::good().build();
    for (format, name) in
        [("minidump", "trace.dmp"), ("triage", "trace.dmp"), ("elf", "trace.core"), ("raw", "trace.raw")]
    {
        let words = format!("--etl trace.etl -m modules --format {format}");
        for contents in [&b"notes on mkdump 0.1"[..], b"", &dump, b"\x7fELF of somebody"] {
            std::fs::write(path.join(name), contents).unwrap();
            let Run { code, stderr, .. } = run(path, &words);
            assert!(code == 2 && stderr.contains(name), "{format}: {code} {stderr}");
            assert_eq!(std::fs::read(path.join(name)).unwrap(), contents, "{format}");
            // An explicit name is a wish to replace it, but for a directory.
            if format != "raw" {
                assert_eq!(run(path, &format!("{words} -o {name}")).code, 0, "{format}");
            }
            std::fs::remove_file(path.join(name)).unwrap();
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("elsewhere", path.join(name)).unwrap();
            assert_eq!(run(path, &words).code, 2, "{format}: a link that leads nowhere yet");
            assert!(!path.join("elsewhere").exists());
            std::fs::remove_file(path.join(name)).unwrap();
        }
    }
    // Dumps say who wrote them, so they are written again.
    for format in ["minidump", "triage", "minidump"] {
        assert_eq!(run(path, &format!("--etl trace.etl -m modules --format {format}")).code, 0, "{format}");
    }
    assert_eq!(run(path, "--from-dump trace.dmp -m modules").code, 0);
    std::fs::write(path.join("trace.mkdump.dmp"), &dump).unwrap();
    assert_eq!(run(path, "--from-dump trace.dmp -m modules").code, 2);
}

/// On every system: who makes a dump on one may open it on the other.
#[test]
fn names_that_windows_has_no_file_for_are_refused() {
    let directory = workplace();
    let path = directory.path();
    let names = || -> Vec<_> { std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect() };
    let before = names();
    for words in [
        "--etl trace.etl -m modules -o aux.dmp",
        "--etl trace.etl -m modules -o modules/CON",
        "--etl trace.etl -m modules -o out.dmp:stream",
        "--etl trace.etl -m modules -o out.dmp.",
        "--etl trace.etl -m modules -o lpt1.dmp --format raw",
        "--etl trace.etl -m modules -o out.dmp --report nul.html",
        "--etl trace.etl -m modules -o out.dmp --log com1",
        "request --etl trace.etl -m modules -o prn.ps1",
    ] {
        let Run { code, stderr, .. } = run(path, words);
        assert!(code == 2 && stderr.contains("not a name for a file"), "{words}: {code} {stderr}");
        assert_eq!(names(), before, "{words}");
    }
}

#[test]
#[cfg(windows)]
fn names_that_differ_in_case_are_one_file() {
    let directory = workplace();
    let path = directory.path();
    let verbatim = path.join("trace.etl").canonicalize().unwrap();
    assert!(verbatim.to_string_lossy().starts_with(r"\\?\"), "{verbatim:?}");
    let before = std::fs::read(path.join("trace.etl")).unwrap();
    for words in [
        "-o TRACE.ETL".to_owned(),
        r"-o MODULES\..\Trace.etl".to_owned(),
        format!("-o {}", verbatim.display()),
        "-o x.dmp --report X.DMP".to_owned(),
        "-o x.dmp --log ./X.dmp".to_owned(),
    ] {
        let Run { code, stderr, .. } = run(path, &format!("--etl trace.etl -m modules {words}"));
        assert_eq!(code, 2, "{words}: {stderr}");
        assert!(std::fs::read(path.join("trace.etl")).unwrap() == before && !path.join("x.dmp").exists(), "{words}");
    }
}

#[test]
fn archives_and_compressed_modules_are_not_replaced() {
    let directory = workplace();
    let path = directory.path();
    for (name, start) in [("m.zip", &b"PK\x03\x04"[..]), ("m.cab", b"MSCF\0\0"), ("hal.dl_", b"SZDD\x88\xf0")] {
        std::fs::write(path.join("modules").join(name), start).unwrap();
        let Run { code, stderr, .. } = run(path, &format!("--etl trace.etl -m modules -o modules/{name}"));
        assert!(code == 2 && stderr.contains("is not replaced"), "{name}: {stderr}");
        assert_eq!(std::fs::read(path.join("modules").join(name)).unwrap(), start, "{name}");
    }
}

#[test]
fn the_demo_replaces_only_what_it_wrote() {
    let directory = workplace();
    let path = directory.path();
    for _ in 0..2 {
        assert_eq!(run(path, "demo place").code, 0);
    }
    for name in ["demo.etl", "modules/hal.dll", "demo.dmp", "demo.html"] {
        let file = path.join("place").join(name);
        let own = std::fs::read(&file).unwrap();
        std::fs::write(&file, "somebody's").unwrap();
        let Run { code, stderr, .. } = run(path, "demo place");
        assert!(code == 2 && stderr.contains(&format!("{name}: this file was there")), "{name}: {stderr}");
        assert_eq!(std::fs::read(&file).unwrap(), b"somebody's", "{name}");
        std::fs::write(&file, own).unwrap();
    }
}

#[test]
fn raw_files_of_a_build_are_not_taken_for_module_files() {
    let directory = workplace();
    let path = directory.path();
    let build = |output: &str| run(path, &format!("--etl trace.etl -m . --format raw --memory image -o {output}"));
    assert_eq!(build("one.raw").code, 0);
    let Run { code, stderr, .. } = build("two.raw");
    assert!(code == 0 && stderr.contains("5 of 6 modules in the dump, 1 missing"), "{stderr}");
    assert!(!stderr.contains("one.raw"), "{stderr}");
    let Run { code, stderr, .. } = build("one.raw");
    assert!(code == 2 && stderr.contains("one.raw: this exists already"), "{stderr}");
}

#[test]
#[cfg(unix)]
fn words_that_are_not_utf_8_are_logged() {
    use std::os::unix::ffi::OsStrExt;
    let directory = workplace();
    let strange = std::ffi::OsStr::from_bytes(b"no\xffwhere.etl");
    let output = mkdump(directory.path()).args(["--log", "run.log", "--etl"]).arg(strange).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let log = std::fs::read_to_string(directory.path().join("run.log")).unwrap();
    assert!(log.contains("where.etl"), "{log}");
}

#[test]
fn json_escapes_what_cannot_be_seen() {
    use testkit::trace::{Module, TraceFile};
    let directory = workplace();
    let mut trace = TraceFile::new();
    let name = "a\u{9b}\u{85}\u{202e}\u{200b}\u{feff}b.sys";
    trace.module(0, 1_000_500, &Module::kernel(&format!(r"\SystemRoot\{name}"), 0xffff_f800_1000_0000, 0x8000));
    std::fs::write(directory.path().join("odd.etl"), trace.finish()).unwrap();
    let Run { code, stdout, stderr } = run(directory.path(), "modules --etl odd.etl --json");
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(r"a\u009b\u0085\u202e\u200b\ufeffb.sys"), "{stdout}");
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(value["modules"][0]["path"].as_str().unwrap().ends_with(name));
}
