//! Many files at once, and the names under which a file is asked for.

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use symstore::fetch::{FetchErrorKind, FetchOptions, Outcome, fetch};
use symstore::{Guid, PdbId, ServerFile, Wanted};
use testkit::catalog::pdb;
use testkit::http::{Reply, Server};

use super::{GUID, file, options, tree, wanted};

#[test]
fn an_unreachable_server_is_found_out_once() {
    let server = Server::start(|_| Reply::Close);
    let store = tempfile::tempdir().unwrap();
    let gone = format!("http://{}", {
        // A port that was free a moment ago: nothing listens there.
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
    let error = fetch(&files, &bad).unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Address);
    assert!(error.to_string().contains("must begin with http"), "{error}");
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
