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
    // Sentences are broken where the width asks for it; JSON means the same with other blanks.
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn exit_codes_tell_the_result() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    put(dir);
    // Arguments, exit code, what stdout and stderr have.
    let cases = [
        ("other.dmp", 0, "no rule is broken", ""),
        ("broken.dmp", 1, "memory32-flag: dbgeng", ""),
        ("other.dmp --against other.dmp", 0, "every difference is explained", ""),
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

#[test]
fn a_dump_of_another_system_is_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut recipe = Recipe::good();
    recipe.platform = 0x8101;
    std::fs::write(dir.join("mac.dmp"), recipe.build()).unwrap();
    let (_, out, err) = run(dir, "mac.dmp");
    assert!(out.contains("mac.dmp: a user minidump of macOS 10.") && err.contains("not of Windows"), "{out}\n{err}");
    let (_, out, _) = run(dir, "mac.dmp --json");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(report["dump"]["other_system"].as_str().unwrap().starts_with("macOS 10."), "{out}");
}

/// Builds a dump of the demo in `dir`.
fn build(dir: &Path, arguments: &str) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let mut command = Command::cargo_bin("mkdump").unwrap();
    command.current_dir(dir).env_remove("_NT_SYMBOL_PATH").env_remove("_NT_EXECUTABLE_IMAGE_PATH");
    command.args(["--quiet", "--no-cache", "-m"]).arg(demo.join("modules"));
    if !arguments.contains("--from-dump") {
        command.arg("--etl").arg(demo.join("demo.etl"));
    }
    command.args(arguments.split(' ')).assert().success();
}

/// A dump whose sites have the other form is the wrong one, however well the difference is explained.
#[test]
fn sites_in_the_other_form_are_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    build(dir, "--import-optimization on -o imports.dmp");
    build(dir, "--import-optimization off -o plain.dmp");
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/modules");
    let modules = modules.to_str().unwrap();
    for (ours, real, options) in [
        ("plain", "imports", "rebuild with --import-optimization on"),
        ("imports", "plain", "rebuild with --import-optimization off"),
    ] {
        let arguments = format!("{ours}.dmp --against {real}.dmp -m {modules}");
        let (code, out, err) = run(dir, &arguments);
        let told = out.contains(" sites have another form than in the other dump: ") && out.contains(options);
        assert!(
            code == 1 && told && !out.contains("every difference is explained"),
            "{arguments}: {code}\n{out}\n{err}"
        );
        let (code, out, _) = run(dir, &format!("{arguments} --json"));
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let forms = &report["comparison"]["other_forms"];
        let sites = forms["import_sites"].as_u64().unwrap() + forms["retpoline_sites"].as_u64().unwrap();
        assert!(code == 1 && sites > 0, "{arguments}: {forms}");
    }
}

/// A dump always agrees with the one that it was made from. The comparison proves nothing, and the report says so.
#[test]
fn the_source_of_a_dump_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    build(dir, "--format triage -o real.dmp");
    build(dir, "--from-dump real.dmp -o made.dmp");
    build(dir, "--from-dump real.dmp --format triage -o triage.dmp");
    for (ours, real, relation, words) in [
        ("made", "real", "made_from_other", "the dump was made from the other one"),
        ("triage", "real", "made_from_other", "the dump was made from the other one"),
        ("real", "made", "source_of_other", "the other dump was made from this one"),
        ("real", "real", "same_file", "both are the same file"),
    ] {
        let arguments = format!("{ours}.dmp --against {real}.dmp");
        let (code, out, err) = run(dir, &arguments);
        let told = out.contains("this proves nothing") && out.contains(words);
        assert!(code == 0 && told, "{arguments}: {code}\n{out}\n{err}");
        let (_, out, _) = run(dir, &format!("{arguments} --json"));
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["comparison"]["relation"], relation, "{arguments}");
    }
    let (_, out, _) = run(dir, "made.dmp --against triage.dmp --json");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["comparison"]["relation"], serde_json::Value::Null);
}
