//! Fetching from servers that are slow, cut connections, send wrong files, redirect, and answer 404 and 500.
#![cfg(feature = "fetch")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use symstore::fetch::{FetchOptions, Outcome, Proxy, fetch};
use symstore::{Guid, PdbId, ServerFile, Wanted};
use testkit::catalog::{Module, pdb};
use testkit::http::{Reply, Request, Server};

const STAMP: u32 = 0xe873_70bb;
const SIZE: u32 = 0x42000;
const GUID: &str = "ed706a38-6592-40a0-66e6-fb19b994baaa";
/// The path of foo.sys on a server, without the last component.
const FOLDER: &str = "/foo.sys/E87370BB42000";

fn module() -> Module {
    let module = Module { timestamp: STAMP, size_of_image: SIZE, code: 0x40000, ..Default::default() };
    // The checksum is that of CheckSumMappedFile: the folded sum of all words with the field as zero, plus the length.
    let bytes = module.file();
    let mut sum: u64 = bytes.chunks(2).map(|word| u64::from(word[0]) | u64::from(word[1]) << 8).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    Module { checksum: sum as u32 + bytes.len() as u32, ..module }
}

fn file() -> Vec<u8> {
    module().file()
}

fn wanted(name: &str) -> Wanted {
    Wanted { name: name.into(), timestamp: Some(STAMP), size: SIZE, ..Default::default() }
}

fn foo() -> ServerFile {
    ServerFile::image(&wanted("foo.sys")).unwrap()
}

fn cabinet(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    builder.add_folder(cab::CompressionType::MsZip).add_file(name);
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    writer.next_file().unwrap().unwrap().write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

/// Impatient enough for tests, and patient enough for a busy machine: none of these times is reached unless a test is
/// about it.
fn options(server: &Server, store: &Path) -> FetchOptions<'static> {
    FetchOptions {
        pause: Duration::from_millis(5),
        silence: Duration::from_secs(10),
        patience: Duration::from_secs(40),
        attempts: 3,
        proxy: Proxy::Direct,
        ..FetchOptions::new(server.url(), store)
    }
}

/// Everything below a directory, temporary files included.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(here) = open.pop() {
        for entry in fs::read_dir(here).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path => found.push(path.strip_prefix(dir).unwrap().display().to_string()),
            }
        }
    }
    found.sort();
    found
}

/// Fetches foo.sys from a server that answers by the part of the path behind the folder.
fn fetch_foo(
    answer: impl Fn(&str, &Request) -> Reply + Send + Sync + 'static,
) -> (Outcome, Vec<String>, Vec<Request>, PathBuf, tempfile::TempDir) {
    let server = Server::start(move |request| match request.path.strip_prefix(FOLDER) {
        Some(rest) => answer(rest, request),
        None => Reply::Status(404),
    });
    let store = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let outcome = fetch(&[foo()], &options(&server, store.path())).unwrap().remove(0);
    assert!(started.elapsed() < Duration::from_secs(50));
    let place = store.path().join("foo.sys/E87370BB42000/foo.sys");
    if let Outcome::Fetched { path, .. } = &outcome {
        assert_eq!(path, &place);
        assert!(fs::read(path).unwrap() == file(), "the file is whole and the server's");
    }
    (outcome, tree(store.path()), server.log(), place, store)
}

const DONE: [&str; 1] = ["foo.sys/E87370BB42000/foo.sys"];

#[test]
fn a_good_server_gives_the_file_in_any_of_three_forms() {
    let (outcome, tree, log, ..) = fetch_foo(|_, _| Reply::File(file(), ""));
    assert!(matches!(&outcome, Outcome::Fetched { doubts, damage: None, .. } if doubts.is_empty()), "{outcome:?}");
    assert_eq!((tree, log.len()), (DONE.map(String::from).to_vec(), 1));

    let (outcome, tree, log, ..) = fetch_foo(|rest, _| match rest {
        "/foo.sy_" => Reply::File(cabinet("foo.sys", &file()), ""),
        _ => Reply::Status(404),
    });
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!((tree, log.len()), (DONE.map(String::from).to_vec(), 2));

    let (outcome, tree, ..) = fetch_foo(|rest, _| match rest {
        "/file.ptr" => Reply::File(b"PATH:foo.sys\\E87370BB42000\\elsewhere.bin\r\n".to_vec(), ""),
        "/elsewhere.bin" => Reply::File(file(), ""),
        _ => Reply::Status(404),
    });
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(tree, DONE);
}

#[test]
fn what_is_not_there_is_no_failure_and_leaves_nothing() {
    let (outcome, tree, log, ..) = fetch_foo(|_, _| Reply::Status(404));
    assert_eq!((outcome, tree), (Outcome::NotThere, vec![]));
    let paths: Vec<&str> = log.iter().map(|request| &request.path[FOLDER.len()..]).collect();
    assert_eq!(paths, ["/foo.sys", "/foo.sy_", "/file.ptr"], "each form is asked for once");

    let check = |pointer: &'static str, said: &str| {
        let (outcome, tree, ..) = fetch_foo(move |rest, _| match rest {
            "/file.ptr" => Reply::File(pointer.as_bytes().to_vec(), ""),
            _ => Reply::Status(404),
        });
        assert!(matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains(said)), "{outcome:?}");
        assert_eq!(tree, [""; 0]);
    };
    check("MSG: removed on request", "removed on request");
    check(r"PATH:\\host\share\foo.sys", "share");
    check("PATH:../../foo.sys", "..");
    check("PATH:/etc/passwd", "passwd");
    check("PATH:http://127.0.0.1:1/foo.sys", "http");
}

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let (outcome, tree, log, ..) =
        fetch_foo(|_, request| Reply::Cut(file(), "\"v1\"", if request.earlier < 4 { 50_000 } else { usize::MAX }));
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(tree, DONE);
    let ranges: Vec<_> = log.iter().map(|request| (request.range, request.if_range.as_deref())).collect();
    assert_eq!(ranges[..3], [(None, None), (Some(50_000), Some("\"v1\"")), (Some(100_000), Some("\"v1\""))]);
    assert_eq!(log.len(), 5, "bytes that came are no attempt in vain, and none is asked for twice");

    // Without a tag nobody can tell whether it is still the same file: from the start again.
    let (outcome, _, log, ..) =
        fetch_foo(|_, request| Reply::Cut(file(), "", if request.earlier < 2 { 50_000 } else { usize::MAX }));
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert!(log.iter().all(|request| request.range.is_none()));
    let (outcome, tree, log, ..) = fetch_foo(|_, _| Reply::Cut(file(), "", 50_000));
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert_eq!((tree, log.len()), (vec![], 3));
}

#[test]
fn another_run_goes_on_with_what_is_there() {
    let server = Server::start(|request| match request.earlier {
        0 => Reply::Cut(file(), "\"v1\"", 70_000),
        1..=3 => Reply::Close,
        _ => Reply::File(file(), "\"v1\""),
    });
    let store = tempfile::tempdir().unwrap();
    let options = options(&server, store.path());
    let first = fetch(&[foo()], &options).unwrap().remove(0);
    assert!(matches!(first, Outcome::Failed { .. }), "{first:?}");
    let left = ["foo.sys/E87370BB42000/foo.sys.partial", "foo.sys/E87370BB42000/foo.sys.partial.tag"];
    assert_eq!(tree(store.path()), left);
    let second = fetch(&[foo()], &options).unwrap().remove(0);
    assert!(matches!(second, Outcome::Fetched { .. }), "{second:?}");
    assert_eq!(tree(store.path()), DONE);
    assert_eq!(server.log().last().unwrap().range, Some(70_000));
    let third = fetch(&[foo()], &options).unwrap().remove(0);
    assert!(matches!(third, Outcome::Present { .. }), "{third:?}");
    assert_eq!(server.log().len(), 5, "what is there is not asked for");
}

#[test]
fn two_processes_may_fetch_the_same_file() {
    let server = Server::start(|_| Reply::File(file(), "\"v1\""));
    let store = tempfile::tempdir().unwrap();
    let folder = store.path().join("foo.sys/E87370BB42000");
    fs::create_dir_all(&folder).unwrap();
    // What the other one has so far, and its lock.
    let other = fs::File::create(folder.join("foo.sys.partial")).unwrap();
    other.lock().unwrap();
    fs::write(folder.join("foo.sys.partial"), "half").unwrap();
    fs::write(folder.join("foo.sys.partial.tag"), format!("{}{FOLDER}/foo.sys\n\"v1\"", server.url())).unwrap();
    let outcome = fetch(&[foo()], &options(&server, store.path())).unwrap().remove(0);
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert!(fs::read(folder.join("foo.sys")).unwrap() == file());
    assert_eq!(fs::read(folder.join("foo.sys.partial")).unwrap(), b"half", "the other one's piece is left alone");
}

#[test]
fn a_file_that_changed_meanwhile_is_not_put_together_from_two() {
    let old = vec![b'o'; file().len()];
    let (outcome, tree, ..) = fetch_foo(move |_, request| match request.earlier {
        0 => Reply::Cut(old.clone(), "\"old\"", 50_000),
        _ => Reply::File(file(), "\"new\""),
    });
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(tree, DONE);
    // A server that sends another range than it was asked for.
    let (outcome, _, log, ..) = fetch_foo(|_, request| match request.earlier {
        0 | 1 => Reply::WrongRange(file(), "\"v1\"", 7),
        _ => Reply::File(file(), "\"v1\""),
    });
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(log.last().unwrap().range, None);
    // A server whose tag lies: the halves are of two files. The checksum tells, and the file is fetched anew.
    let mut other = file();
    other[0x10000..].fill(0xcc);
    let (outcome, tree, log, ..) = fetch_foo(move |_, request| match request.earlier {
        0 => Reply::Cut(other.clone(), "\"v1\"", 0x20000),
        _ => Reply::File(file(), "\"v1\""),
    });
    assert!(matches!(&outcome, Outcome::Fetched { doubts, damage: None, .. } if doubts.is_empty()), "{outcome:?}");
    assert_eq!((tree, log.len(), log[2].range), (DONE.map(String::from).to_vec(), 3, None));
}

#[test]
fn a_wrong_file_is_discarded() {
    let check = |sent: Vec<u8>, said: &str| {
        let (outcome, tree, ..) = fetch_foo(move |rest, _| match rest {
            "/foo.sys" => Reply::File(sent.clone(), "\"v1\""),
            _ => Reply::Status(404),
        });
        assert!(matches!(&outcome, Outcome::Discarded { reason, .. } if reason.contains(said)), "{said}: {outcome:?}");
        assert_eq!(tree, [""; 0], "{said}");
    };
    check(Module { timestamp: STAMP + 1, ..module() }.file(), "TimeDateStamp is 0xe87370bc");
    check(Module { size_of_image: SIZE + 0x1000, ..module() }.file(), "SizeOfImage is 0x43000");
    check(b"<html>please log in</html>".to_vec(), "not a module");
    check(Vec::new(), "not a module");
    check(file()[..0x20000].to_vec(), "section data");

    // Another server may have the right one; a wrong checksum alone is said and kept.
    let wrong = Server::start(|_| Reply::File(Module { timestamp: 1, ..module() }.file(), ""));
    let right = Server::start(|_| Reply::File(Module { checksum: 0xbad, ..module() }.file(), ""));
    let store = tempfile::tempdir().unwrap();
    let options = FetchOptions { servers: vec![wrong.url(), right.url()], ..options(&wrong, store.path()) };
    let outcome = fetch(&[foo()], &options).unwrap().remove(0);
    assert!(
        matches!(&outcome, Outcome::Fetched { url, damage: Some(damage), .. } if url.starts_with(&right.url()) && damage.contains("0xbad")),
        "{outcome:?}"
    );
    // A file that ends with the connection, and too early.
    let (outcome, ..) =
        fetch_foo(|_, request| Reply::Endless(file(), if request.earlier == 0 { 0x20000 } else { usize::MAX }));
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
}

#[test]
fn passing_faults_are_waited_out() {
    let check = |fault: Reply| {
        let (outcome, tree, log, ..) = fetch_foo(move |_, request| match request.earlier {
            0 | 1 => fault.clone(),
            _ => Reply::File(file(), ""),
        });
        assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
        assert_eq!((tree, log.len()), (DONE.map(String::from).to_vec(), 3));
    };
    check(Reply::Status(500));
    check(Reply::Status(503));
    check(Reply::StatusWith(429, "Retry-After: 0"));
    check(Reply::Close);

    let server = Server::start(|request| match request.earlier {
        0 | 1 => Reply::Silence(Duration::from_secs(2)),
        _ => Reply::File(file(), "\"v1\""),
    });
    let store = tempfile::tempdir().unwrap();
    let impatient = FetchOptions { silence: Duration::from_millis(700), ..options(&server, store.path()) };
    let outcome = fetch(&[foo()], &impatient).unwrap().remove(0);
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");

    let (outcome, tree, log, ..) = fetch_foo(|_, _| Reply::Status(500));
    assert!(matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains("500")), "{outcome:?}");
    assert_eq!((tree, log.len()), (vec![], 3));
    let (outcome, _, log, ..) = fetch_foo(|_, _| Reply::Status(403));
    assert!(matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains("403")), "{outcome:?}");
    assert_eq!(log.len(), 1, "a refusal is not tried again");
}

#[test]
fn a_slow_server_is_fine_and_a_dripping_one_ends() {
    let (outcome, ..) = fetch_foo(|_, _| Reply::Slow(file(), "", 40_000, Duration::from_millis(100)));
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    // Never silent for long, and never done: the patience for the file ends it.
    let server = Server::start(|_| Reply::Slow(file(), "\"v1\"", 10, Duration::from_millis(20)));
    let store = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let options = FetchOptions { patience: Duration::from_millis(700), ..options(&server, store.path()) };
    let outcome = fetch(&[foo()], &options).unwrap().remove(0);
    assert!(matches!(&outcome, Outcome::Failed { reason, .. } if reason.contains("out of time")), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_server_that_never_answers_is_not_asked_for_every_file() {
    let server = Server::start(|_| Reply::Silence(Duration::from_secs(3)));
    let store = tempfile::tempdir().unwrap();
    let impatient = FetchOptions { silence: Duration::from_millis(300), threads: 1, ..options(&server, store.path()) };
    let outcomes = fetch(&[foo(), foo(), foo()], &impatient).unwrap();
    for outcome in outcomes {
        assert!(format!("{outcome:?}").contains("the server does not answer"), "{outcome:?}");
    }
    assert_eq!(server.log().len(), 3, "three attempts in all");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let (outcome, tree, ..) = fetch_foo(|rest, _| match rest {
        "/foo.sys" => Reply::Redirect(format!("{FOLDER}/there")),
        "/there" => Reply::Redirect(format!("{FOLDER}/and/there?token=..%2f..%2fx")),
        _ => Reply::File(file(), ""),
    });
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(tree, DONE, "the address it came from does not decide where it goes");
    let (outcome, tree, log, ..) = fetch_foo(|_, _| Reply::Redirect(format!("{FOLDER}/again")));
    assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    assert!(tree.is_empty() && log.len() <= 6, "{log:?}");
}

#[test]
fn an_unreachable_server_is_found_out_once() {
    let server = Server::start(|_| Reply::Close);
    let store = tempfile::tempdir().unwrap();
    let gone = format!("http://{}", {
        // A port that was free a moment ago: nobody listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    });
    let files: Vec<_> = (0..200).map(|i| ServerFile::image(&wanted(&format!("m{i}.sys"))).unwrap()).collect();
    let options =
        FetchOptions { servers: vec![gone], pause: Duration::from_millis(200), ..options(&server, store.path()) };
    let started = Instant::now();
    let outcomes = fetch(&files, &options).unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unreachable { .. })), "{outcomes:?}");
    // Three attempts for each of 200 files, eight at a time, would be 15 s of pauses.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let bad = FetchOptions { servers: vec!["ftp://host".into()], ..options };
    assert!(fetch(&files, &bad).unwrap_err().to_string().contains("must begin with http"));
}

#[test]
fn many_files_come_at_once_and_the_same_file_once() {
    // Each answer waits until four requests are there together, or too long.
    let here = Arc::new((Mutex::new(0), Condvar::new()));
    let meeting = here.clone();
    let server = Server::start(move |request| {
        let (count, changed) = &*meeting;
        let mut count = count.lock().unwrap();
        *count += 1;
        changed.notify_all();
        let (count, timeout) = changed.wait_timeout_while(count, Duration::from_secs(5), |count| *count < 4).unwrap();
        drop(count);
        let found = request.path.ends_with(".sys") && !timeout.timed_out();
        if found { Reply::File(file(), "\"v1\"") } else { Reply::Status(404) }
    });
    let store = tempfile::tempdir().unwrap();
    let names = (0..16).map(|i| format!("m{i}.sys")).chain(["M0.sys".to_owned()]);
    let files: Vec<_> = names.map(|name| ServerFile::image(&wanted(&name)).unwrap()).collect();
    let seen = Mutex::new(Vec::new());
    let progress = |progress: symstore::fetch::FetchProgress<'_>| {
        seen.lock().unwrap().push((progress.received, progress.total));
    };
    let options = FetchOptions { progress: Some(&progress), ..options(&server, store.path()) };
    let outcomes = fetch(&files, &options).unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Fetched { .. })), "{outcomes:?}");
    assert_eq!((server.log().len(), outcomes.len(), &outcomes[0]), (16, 17, &outcomes[16]));
    let length = file().len() as u64;
    assert!(seen.into_inner().unwrap().contains(&(length, Some(length))));
}

#[test]
fn aliases_are_tried_and_the_file_goes_under_the_name_in_the_trace() {
    let server = Server::start(|request| match request.path.as_str() {
        "/ntkrnlmp.exe/E87370BB42000/ntkrnlmp.exe" => Reply::File(file(), ""),
        _ => Reply::Status(404),
    });
    let store = tempfile::tempdir().unwrap();
    fs::write(store.path().join("index2.txt"), "").unwrap();
    let kernel = ServerFile::image(&wanted("ntoskrnl.exe")).unwrap();
    let outcome = fetch(&[kernel], &options(&server, store.path())).unwrap().remove(0);
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(tree(store.path()), ["index2.txt", "nt/ntoskrnl.exe/E87370BB42000/ntoskrnl.exe"]);
}

#[test]
fn pdbs_are_known_by_guid_and_age() {
    let id = PdbId { guid: Guid::parse(GUID).unwrap(), age: 2 };
    let wanted = Wanted { pdb: Some(id), pdb_name: Some("foo.pdb".into()), ..wanted("foo.sys") };
    let check = |sent: Vec<u8>, right: bool| {
        let server = Server::start(move |request| match request.path.as_str() {
            "/foo.pdb/ED706A38659240A066E6FB19B994BAAA2/foo.pdb" => Reply::File(sent.clone(), ""),
            _ => Reply::Status(404),
        });
        let store = tempfile::tempdir().unwrap();
        let outcome = fetch(&[ServerFile::pdb(&wanted).unwrap()], &options(&server, store.path())).unwrap().remove(0);
        assert_eq!(matches!(outcome, Outcome::Fetched { .. }), right, "{outcome:?}");
        assert_eq!(tree(store.path()).len(), usize::from(right));
    };
    check(pdb(GUID, 2), true);
    check(pdb(GUID, 1), false);
    check(pdb("0f693ceb-b815-cf80-a5d4-86d10b730ba7", 2), false);
    check(file(), false);
}

#[test]
fn a_proxy_is_used() {
    let server = Server::start(|_| Reply::File(file(), ""));
    let target = server.address();
    let proxy = Server::start(move |request| match request.method.as_str() {
        "CONNECT" => Reply::Tunnel(target),
        _ => Reply::Status(400),
    });
    let store = tempfile::tempdir().unwrap();
    let options = FetchOptions {
        proxy: Proxy::At(proxy.url()),
        servers: vec!["http://symbols.invalid".into()],
        ..options(&server, store.path())
    };
    let outcome = fetch(&[foo()], &options).unwrap().remove(0);
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(proxy.log()[0].path, "symbols.invalid:80");
}

/// Not a test by itself: [`the_environment_names_proxy_and_certificates`] runs it in a process of its own, whose
/// environment it may set.
#[test]
fn child_process() {
    let Some(store) = std::env::var_os("MKDUMP_TEST_STORE") else { return };
    let options = FetchOptions { attempts: 1, ..FetchOptions::new("http://symbols.invalid", store) };
    match fetch(&[foo()], &options) {
        Ok(outcomes) => assert!(matches!(outcomes[0], Outcome::Fetched { .. }), "{outcomes:?}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_environment_names_proxy_and_certificates() {
    let server = Server::start(|_| Reply::File(file(), ""));
    let target = server.address();
    let proxy = Server::start(move |_| Reply::Tunnel(target));
    let check = |variables: &[(&str, &str)], fetched: bool, said: &str| {
        let store = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child_process"]).env_clear().env("MKDUMP_TEST_STORE", store.path());
        let run = child.envs(variables.iter().copied()).output().unwrap();
        let output = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.success(), fetched, "{variables:?}: {output}");
        assert!(output.contains(said), "{variables:?}: {output}");
        assert_eq!(tree(store.path()).len(), usize::from(fetched));
    };
    let url = proxy.url();
    check(&[("HTTP_PROXY", &url)], true, "1 passed");
    check(&[("ALL_PROXY", &url)], true, "1 passed");
    assert_eq!(proxy.log().len(), 2);
    check(&[("HTTP_PROXY", &url), ("NO_PROXY", "symbols.invalid")], false, "Unreachable");
    check(&[("HTTP_PROXY", &url), ("SSL_CERT_FILE", "/no/such/file.pem")], false, "SSL_CERT_FILE /no/such/file.pem");
    assert_eq!(proxy.log().len(), 2);
}

#[test]
fn no_name_leads_out_of_the_store() {
    let server = Server::start(|_| Reply::File(file(), ""));
    let outside = tempfile::tempdir().unwrap();
    let store = outside.path().join("store");
    let names = [
        "../x.sys",
        "..\\x.sys",
        "/tmp/x.sys",
        "C:\\x.sys",
        "c:x.sys",
        "..",
        ".",
        "",
        "nul",
        "COM1.sys",
        "a/../../x.sys",
        "x\0.sys",
        "x\n.sys",
        "x.sys:stream",
        "\\\\host\\share\\x.sys",
        "%2e%2e%2fx.sys",
        "x\u{202e}.sys",
    ];
    let files: Vec<_> = names.iter().filter_map(|name| ServerFile::image(&wanted(name)).ok()).collect();
    assert_eq!(files.len(), 1, "only the name with percent signs is a plain one");
    let hostile_pdb = Wanted {
        pdb: Some(PdbId { guid: Guid::parse(GUID).unwrap(), age: 1 }),
        pdb_name: Some(r"C:\build\..\..".into()),
        ..wanted("x.sys")
    };
    assert!(ServerFile::pdb(&hostile_pdb).is_err());
    let outcome = fetch(&files, &options(&server, &store)).unwrap().remove(0);
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(tree(outside.path()), ["store/%2e%2e%2fx.sys/E87370BB42000/%2e%2e%2fx.sys"]);
    assert_eq!(server.log()[0].path, "/%252e%252e%252fx.sys/E87370BB42000/%252e%252e%252fx.sys");
}

/// Every answer ends by the deadline, whatever part of it drips.
#[test]
fn answers_that_never_end_are_given_up_in_time() {
    let pause = Duration::from_millis(20);
    let check = |reply: Reply, at: &'static str, patience: u64, expected: &str| {
        let server = Server::start(move |request| match request.path.strip_prefix(FOLDER) {
            Some(rest) if rest == at => reply.clone(),
            Some("/there") => Reply::File(file(), ""),
            _ => Reply::Status(404),
        });
        let store = tempfile::tempdir().unwrap();
        let options = FetchOptions {
            patience: Duration::from_millis(patience),
            silence: Duration::from_millis(500),
            ..options(&server, store.path())
        };
        let started = Instant::now();
        let outcome = fetch(&[foo()], &options).unwrap().remove(0);
        assert!(started.elapsed() < Duration::from_secs(20), "{at}: {:?}", started.elapsed());
        assert!(format!("{outcome:?}").starts_with(expected), "{at}: {outcome:?}");
    };
    let drip = |status, header: &str| Reply::Drip(status, header.to_owned(), pause);
    let flood = |status, header: &str| Reply::Drip(status, header.to_owned(), Duration::ZERO);
    let to_file = format!("Location: {FOLDER}/there");
    check(drip(200, "X: y"), "/file.ptr", 60_000, "Failed");
    check(flood(200, "X: y"), "/file.ptr", 60_000, "Failed");
    check(drip(302, &to_file), "/foo.sys", 60_000, "Fetched");
    check(flood(302, &to_file), "/foo.sys", 60_000, "Fetched");
    check(drip(404, "X: y"), "/foo.sys", 60_000, "NotThere");
    check(drip(200, "X: y"), "/foo.sys", 1000, "Failed");
    check(flood(200, "X: y"), "/foo.sys", 60_000, "Failed");
    check(Reply::StatusWith(200, "Content-Length: 18446744073709551615"), "/foo.sys", 60_000, "Failed");
}

#[test]
fn what_is_too_large_for_the_module_is_not_taken() {
    // The module has 0x42000 bytes: its file may have twice as many and 64 MiB.
    let check = |reply: Vec<u8>, at: &'static str, expected: &str| {
        let (outcome, tree, ..) = fetch_foo(move |rest, _| match rest {
            rest if rest == at => Reply::File(reply.clone(), ""),
            _ => Reply::Status(404),
        });
        let text = format!("{outcome:?}");
        assert!(text.contains(expected), "{text}");
        assert_eq!(tree, [""; 0]);
    };
    let large = vec![0; (65 << 20) + 0x84000];
    check(cabinet("foo.sys", &large), "/foo.sy_", "unpacks to too many bytes");
    check(large, "/foo.sys", "bytes, allowed are");
}

#[test]
fn redirects_to_less_safe_places_are_not_followed() {
    let (outcome, ..) = fetch_foo(|_, _| Reply::Redirect("file:///etc/passwd".to_owned()));
    let text = format!("{outcome:?}");
    assert!(text.contains("scheme") && text.contains("file") && !text.contains("times"), "{text}");
}

#[test]
fn passwords_are_not_repeated() {
    let server = Server::start(|_| Reply::Status(403));
    let store = tempfile::tempdir().unwrap();
    let with_password = |url: &str| url.replace("http://", "http://user:geheim@");
    for url in [server.url(), "http://127.0.0.1:1".into(), "http://[::bad".into(), "ftp://host".into()] {
        let options = FetchOptions { servers: vec![with_password(&url)], ..options(&server, store.path()) };
        let text = format!("{:?}", fetch(&[foo()], &options).map_err(|error| error.to_string()));
        assert!(!text.contains("geheim"), "{text}");
    }
    let options =
        FetchOptions { proxy: Proxy::At("nonsense://user:geheim@x y".into()), ..options(&server, store.path()) };
    let text = fetch(&[foo()], &options).unwrap_err().to_string();
    assert!(!text.contains("geheim"), "{text}");
}

/// Somebody else can write into the store, and has put links where temporary files will be.
#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link() {
    use std::os::unix::fs::symlink;
    type Plant = fn(&Path, &Path) -> std::io::Result<()>;
    let plants: [(&str, Plant); 2] = [("symbolic", |to, at| symlink(to, at)), ("hard", |to, at| fs::hard_link(to, at))];
    let server = Server::start(|request| match request.path.strip_prefix(FOLDER).unwrap() {
        "/foo.sy_" => Reply::File(cabinet("foo.sys", &file()), "\"v1\""),
        _ => Reply::Status(404),
    });
    let address = format!("{}{FOLDER}/foo.sy_", server.url());
    for (kind, plant) in plants {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("store/foo.sys/E87370BB42000");
        fs::create_dir_all(&folder).unwrap();
        let whole = format!("foo.sys_.partial.whole-{}", std::process::id());
        let unpacked = format!("{whole}.unpacked");
        let names = ["foo.sys_.partial", "foo.sys_.partial.tag", "foo.sys", &whole, &unpacked];
        let victims: Vec<PathBuf> = (0..names.len()).map(|number| dir.path().join(format!("victim{number}"))).collect();
        for (victim, name) in victims.iter().zip(names) {
            // With a tag that fits, so that the file would be gone on with.
            fs::write(victim, format!("{address}\n\"v1\"")).unwrap();
            plant(victim, &folder.join(name)).unwrap();
        }
        let outcome = fetch(&[foo()], &options(&server, &dir.path().join("store"))).unwrap().remove(0);
        assert!(matches!(outcome, Outcome::Fetched { .. }), "{kind}: {outcome:?}");
        assert!(fs::read(folder.join("foo.sys")).unwrap() == file());
        for victim in victims {
            assert_eq!(
                fs::read_to_string(&victim).unwrap(),
                format!("{address}\n\"v1\""),
                "{kind}: {}",
                victim.display()
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_store_is_not_waited_for() {
    let server = Server::start(|_| Reply::File(file(), "\"v1\""));
    let store = tempfile::tempdir().unwrap();
    let folder = store.path().join("foo.sys/E87370BB42000");
    fs::create_dir_all(&folder).unwrap();
    for name in ["foo.sys.partial", "foo.sys.partial.tag"] {
        assert!(std::process::Command::new("mkfifo").arg(folder.join(name)).status().unwrap().success());
    }
    let outcome = fetch(&[foo()], &options(&server, store.path())).unwrap().remove(0);
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
}
