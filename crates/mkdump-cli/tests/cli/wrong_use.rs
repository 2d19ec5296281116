//! Wrong use gets an error that says what is wrong, where, and what to do instead; exit code 2, and nothing is written.

use std::path::Path;

use super::support::{Run, demo, run, workplace};
use testkit::trace::{Event, Header, Module, TraceFile};

/// Runs, and checks that it failed as it should: exit code 2, nothing on stdout, no output file, each message once.
fn refused(directory: &Path, words: &str) -> String {
    let Run { code, stdout, stderr } = run(directory, words);
    assert_eq!((code, stdout.as_str()), (2, ""), "{words}: {stderr}");
    assert!(stderr.contains("error:"), "{words}: {stderr}");
    for name in ["out.dmp", "page.html"] {
        assert!(!directory.join(name).exists(), "{words} left {name}");
    }
    let left: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".partial")), "{words} left {left:?}");
    stderr
}

fn check(directory: &Path, words: &str, expected: &[&str]) {
    let stderr = refused(directory, words);
    for text in expected {
        assert!(stderr.contains(text), "{words}: no {text:?} in:\n{stderr}");
    }
}

fn without_loader_events() -> Vec<u8> {
    let mut trace = TraceFile::new();
    trace.log(0, Event::hook(Header::Perfinfo64, 0x0f2e, 2, 1_000_500, vec![0; 16]));
    trace.finish()
}

#[test]
fn a_trace_without_loader_events_says_how_to_record_them() {
    let directory = workplace();
    let path = directory.path();
    std::fs::write(path.join("sampled.etl"), without_loader_events()).unwrap();
    let advice =
        ["no Loader events", "wpr -start GeneralProfile", "wpr -stop trace.etl", "xperf -on PROC_THREAD+LOADER"];
    check(path, "--etl sampled.etl -m modules -o out.dmp --report page.html", &advice);
    // All commands that work on kernel modules end in the same way.
    for words in [
        "modules --etl sampled.etl",
        "modules --etl sampled.etl --user",
        "fetch --etl sampled.etl --list",
        "request --etl sampled.etl -m modules",
    ] {
        check(path, words, &advice);
    }
    let Run { code, stdout, .. } = run(path, "modules --etl sampled.etl --json");
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, value["modules"].as_array().map(Vec::len)), (2, Some(0)));
}

#[test]
fn a_trace_without_intel_pt_data_says_so() {
    let directory = workplace();
    let path = directory.path();
    let mut trace = TraceFile::new();
    trace.module(0, 1_000_500, &Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", 0xffff_f800_1000_0000, 0x8000));
    std::fs::write(path.join("plain.etl"), trace.finish()).unwrap();
    check(path, "--etl plain.etl -m modules --touched -o out.dmp", &["--touched", "no Intel PT data", "--ipt-hex"]);
    check(path, "ipt --etl plain.etl -m modules", &["none of them with Intel PT data", "--ipt-hex"]);
    let Run { code, stdout, .. } = run(path, "ipt --etl plain.etl -m modules --json");
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, value["snapshots_total"].as_u64()), (2, Some(0)));
}

#[test]
fn files_that_are_no_trace_are_named_for_what_they_are() {
    let directory = workplace();
    let path = directory.path();
    let file = |name: &str, bytes: &[u8]| std::fs::write(path.join(name), bytes).unwrap();
    file("empty.etl", b"");
    file("zip.etl", b"PK\x03\x04\x14\0\0\0\x08\0");
    file("text.etl", b"<html>404 not found</html>\r\n");
    file("dump.etl", &[&b"MDMP\x93\xa7"[..], &[0; 100]].concat());
    file("log.etl", b"ElfFile\0\0\0\0\0\0\0\0\0\x07\0\0\0");
    file("capture.etl", b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a");
    file("net.etl", b"Nettrace\x14\0\0\0!FastSerialization.1");
    file("backup.etl", &[&b"RlFs"[..], &[1; 300]].concat());
    file("zeros.etl", &[0; 70_000]);
    file("noise.etl", &(0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>());
    for (words, expected) in [
        ("--etl empty.etl", &["empty.etl: not an ETW trace: this is an empty file", "download"][..]),
        ("--etl zip.etl", &["not an ETW trace: this is a zip archive", "Unpack it"]),
        ("--etl text.etl", &["not an ETW trace: this is text", "tracerpt"]),
        ("--etl dump.etl", &["Windows dump", "--from-dump"]),
        ("--etl noise.etl", &["noise.etl: not an ETW trace (-v"]),
        ("-v --etl noise.etl", &["noise.etl: not an ETW trace: ", "file offset 0x"]),
        ("--etl log.etl", &["log.etl: not an ETW trace: this is a Windows event log (.evtx)\n"]),
        ("-v --etl log.etl", &["a Windows event log (.evtx) (", "0x"]),
        ("--etl capture.etl", &["not an ETW trace: this is a network capture"]),
        ("--etl net.etl", &["not an ETW trace: this is a trace of the .NET runtime"]),
        ("--etl backup.etl", &["not an ETW trace: this is a backup of a real-time session (RtBackup)"]),
        ("--etl zeros.etl", &["not an ETW trace: this is a file of zeros", "crashed"]),
        ("--etl modules/ntoskrnl.exe", &["not an ETW trace: this is a PE image", "--modules"]),
        ("--etl modules", &["cannot read modules", "That is a directory"]),
        ("--etl nowhere.etl", &["cannot read nowhere.etl"]),
        ("--from-dump trace.etl", &["not a Windows dump: this is an ETW trace", "--etl"]),
        ("--from-dump empty.etl", &["not a Windows dump: this is an empty file"]),
        ("--from-dump nowhere.dmp", &["cannot read nowhere.dmp"]),
    ] {
        check(path, &format!("{words} -m modules -o out.dmp"), expected);
        check(path, &format!("modules {words}"), expected);
    }
    // Advice names no option that the command does not have.
    for words in ["threads trace.etl", "check trace.etl"] {
        let stderr = refused(path, words);
        assert!(stderr.contains("trace.etl: not a Windows dump"), "{stderr}");
        assert!(stderr.contains("takes dumps only") && !stderr.contains("--etl"), "{words}: {stderr}");
    }
}

#[test]
fn advice_for_a_user_minidump_is_about_dumps() {
    let directory = workplace();
    let path = directory.path();
    std::fs::write(path.join("app.dmp"), testkit::dump::user::Recipe::good().build()).unwrap();
    check(
        path,
        "threads app.dmp",
        &["app.dmp: this is a user minidump; threads can only be listed from kernel triage dumps"],
    );
    check(path, "--from-dump app.dmp -m modules --threads -o out.dmp", &["--threads: app.dmp is a user minidump"]);
}

#[test]
fn options_without_effect_are_refused() {
    let directory = workplace();
    let path = directory.path();
    for (words, expected) in [
        ("--etl trace.etl --format elf --memory-list 64", &["--memory-list", "--format minidump only"][..]),
        ("--etl trace.etl --format triage --memory-list 32", &["--memory-list", "--format minidump only"]),
        ("--etl trace.etl --format triage --memory code", &["--memory code", "--format triage"]),
        ("--from-dump a.dmp --format raw --threads", &["--threads", "--format minidump only"]),
        ("--etl trace.etl --threads", &["--threads needs --from-dump"]),
        ("fetch --etl trace.etl --list --store store", &["--store", "--list"]),
        ("modules --etl trace.etl --no-cache", &["--modules"]),
        ("check a.dmp -m modules", &["--against"]),
        ("request --etl trace.etl --store store", &["--symbol-server"]),
    ] {
        check(path, words, expected);
    }
    // What is the default anyway does no harm.
    assert_eq!(run(path, "--etl trace.etl -m modules --format elf --memory-list auto -o out.elf").code, 0);
}

#[test]
fn every_help_says_what_the_exit_codes_mean() {
    let directory = workplace();
    for command in ["", "modules", "ipt", "fetch", "request", "threads", "check", "demo"] {
        let Run { code, stdout, .. } = run(directory.path(), &format!("{command} --help"));
        assert!(code == 0 && stdout.contains("Exit codes: 0 "), "{command}: {stdout}");
        assert!(stdout.lines().all(|line| line.chars().count() <= 100), "{stdout}");
    }
}

#[test]
fn a_directory_without_images_is_no_source_of_modules() {
    let directory = workplace();
    let path = directory.path();
    std::fs::create_dir(path.join("other")).unwrap();
    std::fs::write(path.join("other/readme.txt"), "nothing").unwrap();
    check(
        path,
        "--etl trace.etl -m other -o out.dmp",
        &["no module file in other", "1 file there, none of them a PE image", "--modules", "mkdump fetch"],
    );
    check(path, "--etl trace.etl -m nowhere -o out.dmp", &["nowhere"]);
}

#[test]
fn places_that_cannot_be_written_are_found_out_at_once() {
    let directory = workplace();
    let path = directory.path();
    check(path, "--etl trace.etl -m modules -o nowhere/out.dmp", &["cannot write nowhere/out.dmp"]);
    check(path, "--etl trace.etl -m modules -o modules", &["cannot write modules", "directory"]);
    check(
        path,
        "--etl trace.etl -m modules -o out.dmp --report nowhere/page.html",
        &["cannot write nowhere/page.html"],
    );
    check(path, "--etl trace.etl -m modules --format raw -o modules", &["modules: this exists already"]);
    let stderr = refused(path, "--etl trace.etl -m modules -o nowhere/out.dmp");
    assert!(!stderr.contains(".partial") && !stderr.contains("os error"), "{stderr}");
    check(path, "--etl trace.etl -m modules -o out.dmp --log nowhere/log", &["cannot write nowhere/log"]);
}

#[test]
fn a_trace_of_another_architecture_is_listed_but_not_built() {
    let directory = workplace();
    let path = directory.path();
    let mut trace = TraceFile::new();
    trace.pointer_size = 4;
    trace.module(0, 1_000_500, &Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", 0x8260_0000, 0x8000));
    std::fs::write(path.join("x86.etl"), trace.finish()).unwrap();
    check(path, "--etl x86.etl -m modules -o out.dmp", &["x86.etl: ", "32-bit", "x64 and ARM64", "mkdump modules"]);
    let Run { code, stdout, .. } = run(path, "modules --etl x86.etl");
    assert!(code == 0 && stdout.contains("00000000`82600000"), "{stdout}");
    // The suggested next command must work.
    let Run { stderr, .. } = run(path, "modules --etl x86.etl");
    assert!(stderr.contains("mkdump fetch") && !stderr.contains("build the dump"), "{stderr}");
}

#[test]
fn a_file_as_the_first_word_is_the_source() {
    let directory = workplace();
    let path = directory.path();
    let Run { code, stderr, .. } = run(path, "trace.etl -m modules -o built.dmp");
    assert!(code == 0 && stderr.contains("wrote      built.dmp"), "{stderr}");
    let Run { code, stderr, .. } = run(path, "built.dmp -m modules -o again.dmp");
    assert!(code == 0 && stderr.contains("wrote      again.dmp"), "{stderr}");
    // A name that is not a file is a subcommand that does not exist; a subcommand is one whatever files there are.
    check(path, "nowhere.etl", &["nowhere.etl"]);
    std::fs::write(path.join("modules.etl"), "").unwrap();
    assert_eq!(run(path, "modules --etl trace.etl").code, 0);
}

#[test]
fn nothing_is_asked_for_when_a_trace_names_no_kernel_modules() {
    let directory = workplace();
    let path = directory.path();
    let mut trace = TraceFile::new();
    trace.module(0, 1_000_500, &Module::kernel(r"C:\x\tool.exe", 0x1_4000_0000, 0x8000).in_process(500));
    std::fs::write(path.join("user.etl"), trace.finish()).unwrap();
    check(
        path,
        "request --etl user.etl -m modules",
        &["user.etl: ", "names no kernel modules", "Record the loaded modules"],
    );
    // Neither fetching nor building takes user modules.
    let Run { code, stdout, stderr } = run(path, "modules --user --etl user.etl");
    assert!(code == 0 && stdout.contains("tool.exe") && !stderr.contains("Next:"), "{stderr}");
    let Run { stderr, .. } = run(path, "modules --user --etl trace.etl");
    assert!(stderr.contains("mkdump fetch --etl trace.etl"), "{stderr}");
}

/// Intel PT data without kernel modules: the files at hand are not to blame.
#[test]
fn a_flow_without_kernel_modules_says_why() {
    let directory = workplace();
    let path = directory.path();
    let mut trace = TraceFile::new();
    trace.module(0, 1_000_500, &Module::kernel(r"C:\x\tool.exe", 0x1_4000_0000, 0x8000).in_process(500));
    std::fs::write(path.join("user.etl"), trace.finish()).unwrap();
    // A PSB, and padding.
    std::fs::write(path.join("data.pt"), [[0x02, 0x82].repeat(8), vec![0; 32]].concat()).unwrap();
    let words = "ipt --etl user.etl -m modules --ipt-bin data.pt --trace-flow";
    check(path, words, &["no code to follow the Intel PT data over", "names no kernel modules", "wpr -start"]);
    assert!(!refused(path, words).contains("PE image"));
}

/// A list without `--at` has what was ever loaded, a build without it is of the end: the help says so.
#[test]
fn the_help_says_which_moment_is_meant() {
    let directory = workplace();
    for words in ["--help", "modules --help", "fetch --help", "request --help"] {
        let Run { stdout, .. } = run(directory.path(), words);
        let text = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = "[default: a build takes the end of the trace, lists have every module that was ever loaded]";
        assert!(text.contains(told), "{words}: {stdout}");
    }
}

/// `--strict` counts everything that is doubtful, and text, JSON and page say what.
#[test]
fn strict_counts_doubts_about_the_source() {
    let directory = workplace();
    let path = directory.path();
    let build = "-m modules --exclude vendorflt.sys -o out.dmp --json --report page.html";
    let Run { code, stdout, stderr } = run(path, &format!("--etl trace.etl {build} --strict"));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &report["shortcomings"]), (0, &serde_json::json!([])), "{stderr}");
    let mut trace = std::fs::read(path.join("trace.etl")).unwrap();
    // BuffersLost of the log-file header, which begins after the buffer's and the event's headers.
    trace[0x48 + 0x20 + 0x114] = 7;
    std::fs::write(path.join("lost.etl"), &trace).unwrap();
    for (strict, expected) in [("", 0), (" --strict", 1)] {
        let Run { code, stdout, stderr } = run(path, &format!("--etl lost.etl {build}{strict}"));
        assert_eq!(code, expected, "{stderr}");
        assert!(stderr.contains("7 buffers could not be written"), "{stderr}");
        let told = "1 doubt is among the warnings";
        assert_eq!(stderr.contains(&format!("not complete: {told}")), code == 1, "{stderr}");
        let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(report["shortcomings"], serde_json::json!([told]));
        assert!(std::fs::read_to_string(path.join("page.html")).unwrap().contains(told));
    }
}

#[test]
fn options_are_explained() {
    let directory = workplace();
    let path = directory.path();
    std::fs::write(path.join("empty.bin"), "").unwrap();
    for (words, expected) in [
        ("--etl trace.etl --at never", &["'never' for '--at", "seconds"][..]),
        ("--etl trace.etl --at 500000", &["--at: 500000 is outside the trace: allowed are 0 to ", "raw timestamps"]),
        ("--etl trace.etl --at -5", &["--at: -5 is outside the trace"]),
        ("modules --etl trace.etl --at 500000", &["--at: 500000 is outside the trace"]),
        ("--etl trace.etl -m modules --include nosuch*", &["no module matches; there are 6 modules, such as"]),
        ("modules --etl trace.etl --include nosuch*", &["no module matches"]),
        ("fetch --list --etl trace.etl --exclude *", &["no module matches"]),
        (
            "--etl trace.etl -m modules --ipt-bin modules/hal.dll",
            &["--ipt-bin", "hal.dll: not Intel PT data", "PE image"],
        ),
        (
            "ipt --etl trace.etl -m modules --ipt-bin empty.bin",
            &["empty.bin: not Intel PT data", "This is an empty file"],
        ),
        ("--etl trace.etl --include [", &["["]),
        ("--etl trace.etl --from-dump b", &["--etl", "--from-dump"]),
        ("--etl trace.etl --threads", &["--from-dump"]),
        ("--etl trace.etl --format pdf", &["minidump", "triage", "elf", "raw"]),
        ("--etl trace.etl modules --etl trace.etl", &["--etl", "before the subcommand modules"]),
        ("--quiet --verbose --etl trace.etl", &["--quiet", "--verbose"]),
        ("frobnicate", &["frobnicate"]),
    ] {
        check(path, words, expected);
    }
    // A mistyped file name of the user's own keeps its strange characters from the terminal.
    let output = super::support::mkdump(path).args(["modules", "--etl", "a\x1b[2Jb"]).output().unwrap();
    assert!(!output.stderr.contains(&0x1b), "{:?}", String::from_utf8_lossy(&output.stderr));
    assert!(demo().is_dir());
}
