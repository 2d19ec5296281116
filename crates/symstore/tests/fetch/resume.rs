//! Connections that break: where another attempt, another run and another process go on.

use std::fs;

use symstore::fetch::{Outcome, fetch};
use testkit::http::{Reply, Server};

use super::{DONE, FOLDER, fetch_foo, file, foo, options, tree};

#[test]
fn a_cut_connection_is_taken_up_where_it_broke() {
    let (outcome, tree, log, ..) =
        fetch_foo(|_, request| Reply::Cut(file(), "\"v1\"", if request.earlier < 4 { 50_000 } else { usize::MAX }));
    assert!(matches!(outcome, Outcome::Fetched { .. }), "{outcome:?}");
    assert_eq!(tree, DONE);
    let ranges: Vec<_> = log.iter().map(|request| (request.range, request.if_range.as_deref())).collect();
    assert_eq!(ranges[..3], [(None, None), (Some(50_000), Some("\"v1\"")), (Some(100_000), Some("\"v1\""))]);
    assert_eq!(log.len(), 5, "an attempt that brought bytes does not count as failed, and no byte is requested twice");

    // Without a tag it is unknown whether it is still the same file: from the start again.
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
