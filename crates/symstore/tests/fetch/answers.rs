//! Answers of servers: whole, missing, wrong, slow, failing for a while.

use std::time::{Duration, Instant};

use symstore::fetch::{FetchOptions, Outcome, fetch};
use testkit::catalog::Module;
use testkit::http::{Reply, Server};

use super::{DONE, FOLDER, SIZE, STAMP, cabinet, fetch_foo, file, foo, module, options};

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
