//! `mkdump fetch`, `--symbol-server` and what they suggest, with a server on this machine.

use super::support::{Run, demo, run, workplace};
use testkit::http::{Reply, Server};

/// A server that has the demo's drivers, under their keys.
fn server() -> Server {
    let files: Vec<_> =
        [("demodisk.sys", "650002227000"), ("demofs.sys", "650003337000"), ("demonet.sys", "650004447000")]
            .map(|(name, key)| {
                (format!("/{name}/{key}/{name}"), std::fs::read(demo().join("modules").join(name)).unwrap())
            })
            .into();
    Server::start(move |request| match files.iter().find(|(path, _)| *path == request.path) {
        Some((_, bytes)) => Reply::File(bytes.clone(), ""),
        None => Reply::Status(404),
    })
}

#[test]
fn the_command_that_is_suggested_builds_with_what_was_fetched() {
    let (directory, server) = (workplace(), server());
    let path = directory.path();
    std::fs::rename(path.join("modules/ntoskrnl.exe"), path.join("ntoskrnl.exe")).unwrap();
    std::fs::remove_dir_all(path.join("modules")).unwrap();
    let fetch = format!("fetch --etl trace.etl -m ntoskrnl.exe --symbol-server {} --store store", server.url());
    let Run { code, stderr, .. } = run(path, &fetch);
    assert_eq!(code, 1, "two files are nowhere: {stderr}");
    assert!(stderr.contains("3 of 5 files fetched into store"), "{stderr}");
    assert!(
        stderr.contains("mkdump request --etl trace.etl -m ntoskrnl.exe -m store -o mkdump-request.ps1"),
        "{stderr}"
    );
    let line = stderr.lines().find_map(|line| line.split_once("build the dump  ")?.1.split_once("mkdump ")).unwrap().1;
    assert_eq!(line.trim(), "mkdump --etl trace.etl -m ntoskrnl.exe -m store".trim_start_matches("mkdump "));
    let Run { code, stderr, .. } = run(path, line.trim());
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("4 of 6 modules in the dump"), "{stderr}");
    assert!(path.join("trace.dmp").is_file());
}

#[test]
fn a_build_fetches_when_it_is_told_to_and_only_then() {
    let (directory, server) = (workplace(), server());
    let path = directory.path();
    for name in ["demodisk.sys", "demofs.sys", "demonet.sys"] {
        std::fs::remove_file(path.join("modules").join(name)).unwrap();
    }
    let Run { stderr, .. } = run(path, "--etl trace.etl -m modules -o out.dmp");
    assert!(stderr.contains("2 of 6 modules in the dump"), "{stderr}");
    assert_eq!(server.log().len(), 0);
    let words = format!("--etl trace.etl -m modules -o out.dmp --symbol-server {} --store store", server.url());
    let Run { code, stderr, .. } = run(path, &words);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("5 of 6 modules in the dump"), "{stderr}");
    assert!(path.join("store/demonet.sys/650004447000/demonet.sys").is_file());
}

#[test]
fn what_was_fetched_is_told_as_json() {
    let (directory, server) = (workplace(), server());
    let path = directory.path();
    std::fs::remove_file(path.join("modules/demofs.sys")).unwrap();
    let fetch = format!("fetch --etl trace.etl -m modules --symbol-server {} --store store --json", server.url());
    let Run { code, stdout, stderr } = run(path, &fetch);
    assert_eq!(code, 1, "one file is nowhere: {stderr}");
    let value: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(super::support::complaints("fetch", &value), [""; 0], "{value:#}");
    let result = |name: &str| {
        let files = value["files"].as_array().unwrap();
        files.iter().find(|file| file["name"] == name).unwrap()["result"].as_str().unwrap().to_owned()
    };
    assert_eq!((result("demofs.sys"), result("vendorflt.sys")), ("fetched".to_owned(), "not-there".to_owned()));
}

#[test]
fn a_missing_pdb_is_not_asked_for_in_a_script() {
    let (directory, server) = (workplace(), server());
    let path = directory.path();
    let words = "fetch --etl trace.etl -m modules --exclude vendorflt.sys --pdbs --store store --symbol-server";
    let Run { code, stderr, .. } = run(path, &format!("{words} {}", server.url()));
    assert_eq!(code, 1, "no PDB is there: {stderr}");
    assert!(stderr.contains("no server has it") && !stderr.contains("mkdump request"), "{stderr}");
}
