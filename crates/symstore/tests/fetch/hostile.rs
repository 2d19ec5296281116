//! Names, answers and stores that want to do harm.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use symstore::fetch::{FetchErrorKind, FetchOptions, Outcome, Proxy, fetch};
use symstore::{Guid, PdbId, ServerFile, UnfetchableKind, Wanted};
use testkit::http::{Reply, Server};

use super::{FOLDER, GUID, cabinet, fetch_foo, file, foo, options, tree, wanted};

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
    assert_eq!(ServerFile::pdb(&hostile_pdb).unwrap_err().kind(), UnfetchableKind::Name);
    assert_eq!(ServerFile::pdb(&wanted("x.sys")).unwrap_err().kind(), UnfetchableKind::NoKey);
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
    let error = fetch(&[foo()], &options).unwrap_err();
    assert_eq!(error.kind(), FetchErrorKind::Client);
    let text = error.to_string();
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
