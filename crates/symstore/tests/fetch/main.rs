//! Fetching from servers that are slow, cut connections, send wrong files, redirect, and answer 404 and 500.
#![cfg(feature = "fetch")]

mod answers;
mod environment;
mod hostile;
mod many;
mod resume;

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use symstore::fetch::{FetchOptions, Outcome, Proxy, fetch};
use symstore::{ServerFile, Wanted};
use testkit::catalog::Module;
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

/// Everything below a directory, temporary files included, with one kind of separator on every system.
fn tree(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(here) = open.pop() {
        for entry in fs::read_dir(here).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path => found.push(path.strip_prefix(dir).unwrap().display().to_string().replace('\\', "/")),
            }
        }
    }
    found.sort();
    found
}

/// Fetches foo.sys from a server that answers by the part of the path after the folder.
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

/// What is in the store when the file has come.
const DONE: [&str; 1] = ["foo.sys/E87370BB42000/foo.sys"];
