//! How the command behaves towards shells, scripts and terminals: exit codes, streams, colours, JSON, log lines.

use super::support::{Run, complaints, demo, mkdump, run, workplace};
use serde_json::Value;
use testkit::trace::{Module, TraceFile};

const BUILD: &str = "--etl trace.etl -m modules -o out.dmp";

#[test]
fn exit_codes_say_what_came_of_it() {
    let directory = workplace();
    for (words, code) in [
        (BUILD.to_owned(), 0),
        (format!("{BUILD} --strict"), 1),
        (format!("{BUILD} --strict --exclude vendorflt.sys"), 0),
        // The only module wanted has no file: a dump without code.
        (format!("{BUILD} --include vendorflt.sys"), 1),
        ("--etl nowhere.etl".to_owned(), 2),
        ("--help".to_owned(), 0),
        ("--version".to_owned(), 0),
        ("--no-such-option".to_owned(), 2),
    ] {
        assert_eq!(run(directory.path(), &words).code, code, "{words}");
    }
}

#[test]
fn data_goes_to_stdout_and_talk_to_stderr() {
    let directory = workplace();
    let Run { stdout, stderr, .. } = run(directory.path(), BUILD);
    assert_eq!(stdout, "");
    for text in [
        "trace      trace.etl: Windows 10.0.26100.4652, 4 processors",
        "machine    DEMO, x64, GenuineIntel",
        "5 of 6 modules in the dump, 1 missing",
        "import optimization on: ",
        " call sites rewritten as direct",
        "wrote      out.dmp: user minidump, ",
        "1 module is missing: no file of that name or identity found",
        "vendorflt.sys  fffff800`f1000000  0x8000  600F10008000",
        "windbg -z out.dmp",
        "lldb --core out.dmp",
        "mkdump request --etl trace.etl -m modules -o mkdump-request.ps1",
    ] {
        assert!(stderr.contains(text), "no {text:?} in:\n{stderr}");
    }
    let Run { stdout, stderr, .. } = run(directory.path(), "modules --etl trace.etl");
    assert_eq!(stdout.lines().count(), 1 + 6, "{stdout}");
    assert!(stderr.contains("mkdump fetch --etl trace.etl --store symbols"), "{stderr}");
}

#[test]
fn the_next_command_is_the_one_to_type() {
    let directory = workplace();
    std::fs::rename(directory.path().join("trace.etl"), directory.path().join("a trace.etl")).unwrap();
    std::fs::create_dir(directory.path().join("more")).unwrap();
    let words = ["--etl", "a trace.etl", "-m", "modules", "-m", "more", "--exclude", "hal*", "-o", "o t.dmp"];
    let output = mkdump(directory.path()).args(words).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("windbg -z \"o t.dmp\""), "{stderr}");
    if !cfg!(unix) {
        return;
    }
    let request = stderr.lines().find_map(|line| line.split_once("mkdump request ")).unwrap().1;
    assert_eq!(request, "--etl 'a trace.etl' -m modules -m more --exclude 'hal*' -o mkdump-request.ps1");
    let line = format!("'{}' request {request}", env!("CARGO_BIN_EXE_mkdump"));
    let mut shell = assert_cmd::Command::new("sh");
    shell.current_dir(directory.path()).args(["-c", &line]).assert().success();
    let script = std::fs::read_to_string(directory.path().join("mkdump-request.ps1")).unwrap();
    assert!(script.contains("vendorflt.sys") && !script.contains("ntoskrnl.exe"), "{script}");
}

#[test]
fn quiet_says_nothing_and_verbose_says_what_is_done() {
    let directory = workplace();
    let Run { code, stdout, stderr } = run(directory.path(), &format!("--quiet {BUILD}"));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
    assert!(run(directory.path(), "--quiet --etl nowhere.etl").stderr.contains("error: "), "errors are said");
    let Run { stderr, .. } = run(directory.path(), &format!("--verbose {BUILD}"));
    let stderr = stderr.replace('\\', "/");
    for text in [" s] reading the trace", " s] writing the dump", "modules/demonet.sys", "relocations"] {
        assert!(stderr.contains(text), "no {text:?} in:\n{stderr}");
    }
}

#[test]
fn log_lines_go_where_they_are_asked_to() {
    let directory = workplace();
    let Run { stderr, .. } = run(directory.path(), &format!("{BUILD} --log run.log"));
    assert!(!stderr.contains("info"), "{stderr}");
    let log = std::fs::read_to_string(directory.path().join("run.log")).unwrap();
    for text in [
        " info  mkdump ",
        "--log run.log",
        " info  reading the trace",
        &format!("demonet.sys: modules{}demonet.sys", std::path::MAIN_SEPARATOR),
        " info  import optimization on: ",
        " info  retpoline off: ",
        " info  done",
    ] {
        assert!(log.contains(text), "no {text:?} in:\n{log}");
    }
    let run = run(directory.path(), "--etl nowhere.etl --log run.log");
    assert_eq!(run.code, 2);
    assert!(
        std::fs::read_to_string(directory.path().join("run.log")).unwrap().contains(" error cannot read nowhere.etl")
    );
}

#[test]
fn colours_are_for_terminals_or_on_request() {
    let directory = workplace();
    let coloured = |words: &str| run(directory.path(), words).stderr.contains('\x1b');
    assert!(!coloured(BUILD), "stderr is not a terminal here");
    assert!(coloured(&format!("{BUILD} --color always")));
    assert!(!coloured(&format!("{BUILD} --color never")));
    let output = mkdump(directory.path()).args(BUILD.split(' ')).env("NO_COLOR", "1").output().unwrap();
    assert!(!output.stderr.contains(&0x1b));
}

#[test]
fn json_is_what_the_schema_promises() {
    let directory = workplace();
    for (schema, words) in [
        ("build", format!("{BUILD} --json")),
        ("build", format!("{BUILD} --json --memory image --import-optimization off --exclude demo*")),
        ("build", "--etl trace.etl -m modules --format raw -o out.raw --json".to_owned()),
        ("build", format!("{BUILD} --json --touched")),
        ("build", "--etl trace.etl -m modules --format triage -o triage.dmp --json".to_owned()),
        ("check", "check out.dmp --json".to_owned()),
        ("check", "check out.dmp --against triage.dmp -m modules --json".to_owned()),
        ("threads", "threads triage.dmp --json".to_owned()),
        ("ipt", "ipt --etl trace.etl -m modules --json".to_owned()),
        ("ipt-flow", "ipt --etl trace.etl -m modules --trace-flow --snapshot 0 --json".to_owned()),
        ("ipt-calls", "ipt --etl trace.etl -m modules --calls --json".to_owned()),
        ("ipt-functions", "ipt --etl trace.etl -m modules --functions --json".to_owned()),
        ("ipt-calls", "ipt --etl trace.etl -m modules --calls --json --last 3 --depth 9".to_owned()),
        ("modules", "modules --etl trace.etl --json".to_owned()),
        ("modules", "modules --etl trace.etl --json --at 1 --include ntoskrnl.exe".to_owned()),
        ("modules", "modules --etl trace.etl --json -m modules".to_owned()),
    ] {
        let Run { code, stdout, stderr } = run(directory.path(), &words);
        assert_eq!(code, 0, "{words}: {stderr}");
        let value: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(complaints(schema, &value), [""; 0], "{words}: {value:#}");
        assert_eq!(value["schema_version"], 1, "{words}");
    }
}

#[test]
#[cfg(feature = "fetch")]
fn files_to_fetch_are_listed_as_json() {
    let directory = workplace();
    let words = "fetch --etl trace.etl -m modules --list --json --symbol-server https://symbols.example/s";
    let Run { code, stdout, stderr } = run(directory.path(), words);
    assert_eq!(code, 0, "{stderr}");
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(complaints("fetch", &value), [""; 0], "{value:#}");
    let file = &value["files"][0];
    assert_eq!((&file["name"], &file["result"]), (&"vendorflt.sys".into(), &"listed".into()));
    assert_eq!(file["urls"][0], "https://symbols.example/s/vendorflt.sys/600F10008000/vendorflt.sys");
}

#[test]
fn the_chosen_moment_is_shown() {
    let directory = workplace();
    let Run { stdout, stderr, .. } = run(directory.path(), &format!("{BUILD} --at 1.5 --json --report page.html"));
    assert!(stderr.contains("moment     1.500000 s of 1 m 40.000000 s, chosen with --at"), "{stderr}");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["moment"], 1.5);
    let page = std::fs::read_to_string(directory.path().join("page.html")).unwrap();
    assert!(page.contains("1.500000 s after the start"), "the page does not say the moment");
    let Run { stdout, stderr, .. } = run(directory.path(), "modules --etl trace.etl --at 1.5 --json");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["moment"], 1.5, "{stderr}");
    let Run { stderr, .. } = run(directory.path(), "modules --etl trace.etl --at 1.5");
    assert!(stderr.contains("6 modules loaded at 1.500000 s"), "{stderr}");
    // Times are typed as they are shown.
    let Run { stdout, .. } = run(directory.path(), "modules --etl trace.etl --at 1m39.5s --json");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["moment"], 99.5);
}

#[test]
fn times_have_one_notation() {
    let directory = workplace();
    let mut trace = TraceFile::new();
    let driver = |name: &str, base| Module::kernel(&format!(r"\SystemRoot\{name}"), base, 0x8000);
    // Ticks of 100 ns from 1,000,000 on.
    trace.load(0, 1_000_000 + 1_002_500_000, &driver("late.sys", 0xffff_f800_1000_0000));
    trace.unload(0, 1_000_000 + 36_615_000_000, &driver("late.sys", 0xffff_f800_1000_0000));
    std::fs::write(directory.path().join("long.etl"), trace.finish()).unwrap();
    let Run { stdout, stderr, .. } = run(directory.path(), "modules --etl long.etl");
    assert!(stdout.contains(" 1 m 40.250 s  1 h 1 m 1.500 s"), "{stdout}{stderr}");
}

/// Where no terminal has a width, text is not broken into lines: a search finds sentences, and a row is a line.
#[test]
fn piped_text_is_not_broken() {
    let directory = workplace();
    std::fs::remove_file(directory.path().join("modules/demofs.sys")).unwrap();
    for (words, sentence) in [
        (
            BUILD,
            "  trace      trace.etl: Windows 10.0.26100.4652, 4 processors, 2024-02-28 23:59:59 UTC, 1 m 40 s, 42 events, 4 with Intel PT data\n",
        ),
        (
            BUILD,
            " call sites keep the form of their file, unlike memory: the files of the modules that they call are missing: ",
        ),
        (
            "ipt --etl trace.etl -m modules",
            "the Intel PT data is inconclusive: only 2 import calls executed in the trace tell the two forms apart, 4 are needed",
        ),
        ("check out.dmp", "(SHA-256 "),
        ("request --etl trace.etl -m modules -o request.ps1", "demofs.sys"),
        ("threads --help", "A triage dump shows one thread"),
    ] {
        let Run { stdout, stderr, .. } = run(directory.path(), words);
        let text = stdout + &stderr;
        assert!(text.contains(sentence), "{words}: {sentence}\n{text}");
    }
    let Run { stdout, .. } = run(directory.path(), "check out.dmp");
    let labels = stdout.lines().filter(|line| !line.starts_with("   ")).count();
    assert_eq!(labels, stdout.lines().count() - 2, "only the two lines on what was assumed have no label: {stdout}");
    // A person may ask for a width.
    let output = mkdump(directory.path()).args(["check", "out.dmp"]).env("COLUMNS", "60").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().lines().all(|line| line.len() <= 60));
}

#[test]
fn a_list_of_modules_says_which_files_are_there() {
    let directory = workplace();
    std::fs::copy(demo().join("modules/hal.dll"), directory.path().join("modules/demofs.sys")).unwrap();
    let Run { code, stdout, stderr } = run(directory.path(), "modules --etl trace.etl -m modules");
    assert_eq!(code, 0, "{stderr}");
    let line = |name: &str| stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("demonet.sys").ends_with("  present"), "{stdout}");
    assert!(line("vendorflt.sys").ends_with("  missing"), "{stdout}");
    assert!(line("demofs.sys").ends_with("  have 10.0.26100.4652, a different build"), "{stdout}");
    assert!(stderr.contains("6 modules: 4 present, 1 missing, 1 of another build"), "{stderr}");
}

/// Every line of a command's output is at most `width` columns, commands to type and file names apart.
#[test]
fn text_fits_the_terminal() {
    let directory = workplace();
    std::fs::remove_file(directory.path().join("modules/demofs.sys")).unwrap();
    for width in [80, 120] {
        for words in [
            BUILD,
            "--etl trace.etl -m modules -o out.dmp -v --at 2",
            "modules --etl trace.etl",
            "modules --etl trace.etl -m modules -v",
            "ipt --etl trace.etl -m modules",
            "ipt --etl trace.etl -m modules --evidence -v",
            "ipt --etl trace.etl -m modules --functions",
            "check out.dmp",
            "request --etl trace.etl -m modules -o request.ps1",
            "--help",
            "ipt --help",
            "threads --help",
        ] {
            let mut command = mkdump(directory.path());
            let output = command.args(words.split(' ')).env("COLUMNS", width.to_string()).output().unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            let is_list = words.starts_with("ipt --etl");
            assert!(!is_list || text.contains(" 0.100000 s "), "{words}, {width}: a time is broken\n{text}");
            // Commands and warnings are on one line, whatever its length, so that they can be copied and searched for.
            let is_whole = |line: &&str| ["mkdump ", "windbg ", "warning: "].iter().any(|part| line.contains(part));
            // So are the lines that tell each step.
            for line in text.lines().filter(|line| !is_whole(line) && !line.starts_with('[')) {
                assert!(line.chars().count() <= width, "{words}, {width}:\n{line}\n\n{text}");
            }
        }
    }
}

#[test]
fn the_report_is_a_whole_page_beside_the_dump() {
    let directory = workplace();
    let Run { code, stderr, .. } = run(directory.path(), &format!("{BUILD} --report page.html"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("page       page.html"), "{stderr}");
    let page = std::fs::read_to_string(directory.path().join("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    for text in ["out.dmp", "ntoskrnl.exe", "vendorflt.sys", "windbg -z out.dmp", "Code reached by Intel PT"] {
        assert!(page.contains(text), "no {text:?}");
    }
}

#[test]
fn names_in_a_trace_drive_neither_terminal_nor_page_nor_path() {
    let directory = workplace();
    let hostile = "\x1b[31m<script>alert(1)<script>..\\..\\..\\escape\u{202e}\n.sys";
    let mut trace = TraceFile::new();
    trace.system(1_000_100, "\x1b[2J<u>", 1);
    let path = format!(r"\SystemRoot\system32\..\..\{hostile}");
    trace.module(0, 1_000_500, &Module::kernel(&path, 0xffff_f800_1000_0000, 0x8000).with_identity(0x1234_5678, 0));
    std::fs::write(directory.path().join("hostile.etl"), trace.finish()).unwrap();
    for words in [
        "--etl hostile.etl -m modules -o out.dmp --report page.html --log run.log -v",
        "--etl hostile.etl -m modules --format raw -o out.raw",
        "modules --etl hostile.etl",
        "fetch --etl hostile.etl --list",
        "request --etl hostile.etl -m modules -o request.ps1",
    ] {
        let Run { code, stdout, stderr } = run(directory.path(), words);
        assert_ne!(code, 2, "{words}: {stderr}");
        let bad = |text: &str| text.contains('\x1b') || text.contains('\u{202e}');
        assert!(!bad(&stdout) && !bad(&stderr), "{words}: {stdout:?} {stderr:?}");
    }
    let page = std::fs::read_to_string(directory.path().join("page.html")).unwrap();
    assert!(!page.contains("<script>alert") && !page.contains("<u>") && !page.contains('\x1b'));
    let log = std::fs::read_to_string(directory.path().join("run.log")).unwrap();
    assert!(!log.contains('\x1b'));
    let mut names: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let expected =
        ["cache", "hostile.etl", "modules", "out.dmp", "out.raw", "page.html", "request.ps1", "run.log", "trace.etl"];
    assert_eq!(names.iter().filter(|name| *name != "cache").count(), expected.len() - 1, "{names:?}");
}

/// What a package installs beside the program comes from the program.
#[test]
fn completions_and_manual_pages() {
    let directory = tempfile::tempdir().unwrap();
    let print = |words: &[&str]| {
        let output = mkdump(directory.path()).args(words).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, text) = print(&["completions", shell]);
        assert_eq!(code, Some(0), "{shell}");
        assert!(text.contains("trace-flow") && text.contains("completions"), "{shell}: {text}");
    }
    let (code, page) = print(&["man"]);
    assert_eq!(code, Some(0));
    assert!(page.contains(".TH mkdump 1") && page.contains("from\\-dump"), "{page}");
    let (code, page) = print(&["man", "ipt"]);
    assert_eq!(code, Some(0));
    assert!(page.contains("trace\\-flow") && page.contains("Exit codes"), "{page}");
    let (code, message) = print(&["man", "nothing"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("\"nothing\" is not a subcommand; there are modules, ipt, "), "{message}");
}
