//! The script for the trace's owner, read and run by the PowerShell of this machine, if it has one.

use std::fs;
use std::path::Path;
use std::process::Command;

use mkdump::request::{Request, RequestItem, Why};
use symstore::Wanted;
use testkit::catalog::Module;

fn item(name: &str, path: &str, timestamp: u32) -> RequestItem {
    let wanted = Wanted {
        name: name.into(),
        path: Some(path.into()),
        timestamp: Some(timestamp),
        size: 0x3000,
        ..Default::default()
    };
    RequestItem { wanted, why: Why::NotOnServer }
}

/// Windows PowerShell or PowerShell, whichever answers.
fn powershell() -> Option<&'static str> {
    ["powershell", "pwsh"].into_iter().find(|name| {
        Command::new(name).args(["-NoProfile", "-Command", "exit 0"]).output().is_ok_and(|run| run.status.success())
    })
}

#[test]
fn powershell_understands_the_script() {
    let Some(powershell) = powershell() else {
        println!("SKIPPED: there is no PowerShell on this machine; the script's form is tested, not its effect");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let windows = dir.path().join("windows");
    fs::create_dir_all(windows.join("drivers")).unwrap();
    let write = |name: &str, timestamp| {
        fs::write(windows.join("drivers").join(name), Module { timestamp, ..Default::default() }.file()).unwrap();
    };
    write("it's.sys", 1);
    write("newer.sys", 2);
    let request = Request::new(&[
        item("it's.sys", r"\SystemRoot\drivers\it's.sys", 1),
        item("newer.sys", r"\SystemRoot\drivers\newer.sys", 3),
        item("gone.sys", r"\SystemRoot\drivers\gone.sys", 4),
    ]);
    let script = dir.path().join("request.ps1");
    fs::write(&script, request.script()).unwrap();

    let parse = format!(
        "$errors = $null; [void] [Management.Automation.Language.Parser]::ParseFile('{}', [ref] $null, [ref] $errors); $errors.Count",
        script.display()
    );
    let parsed = Command::new(powershell).args(["-NoProfile", "-Command", &parse]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&parsed.stdout).trim(), "0", "{parsed:?}");
    if cfg!(not(windows)) {
        println!("SKIPPED: the script was parsed but not run; its paths are those of Windows");
        return;
    }
    // Twice, as an owner does who is asked to run it as administrator.
    for _ in 0..2 {
        let run = Command::new(powershell)
            .args(["-NoProfile", "-ExecutionPolicy", "Bypass", "-File"])
            .arg(&script)
            .current_dir(dir.path())
            .env("SystemRoot", &windows)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        for (name, result) in [("it's.sys", "copied"), ("newer.sys", "another version"), ("gone.sys", "not found")] {
            assert!(said.lines().any(|line| line.starts_with(name) && line.ends_with(result)), "{said}");
        }
    }
    assert_eq!(members(&dir.path().join("mkdump-modules.zip")), ["it's.sys/000000013000/it's.sys"]);
}

fn members(zip: &Path) -> Vec<String> {
    let archive = zip::ZipArchive::new(fs::File::open(zip).unwrap()).unwrap();
    archive.file_names().map(|name| name.unwrap().into_owned()).collect()
}
