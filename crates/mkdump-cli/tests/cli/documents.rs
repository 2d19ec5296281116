//! The examples of README.md and docs/guide.md are run, and print what is printed there.

use std::path::Path;

use super::support::workplace;

/// Runs the `console` blocks of a document in a directory with `trace.etl`, `modules` and `sessions.dmp`.
fn check(document: &str) {
    let work = workplace();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::copy(root.join("testdata/dumps/sessions.dmp"), work.path().join("sessions.dmp")).unwrap();
    let text = std::fs::read_to_string(root.join(document)).unwrap();
    assert!(text.contains("```console\n$ mkdump"), "{document} has no example");
    // trycmd runs a document's examples in the directory of the same name that ends in `.in`.
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("document.md"), text).unwrap();
    std::fs::rename(work.path(), directory.path().join("document.in")).unwrap();
    trycmd::TestCases::new()
        .env("XDG_CACHE_HOME", directory.path().join("cache").to_string_lossy())
        .env("LOCALAPPDATA", directory.path().join("cache").to_string_lossy())
        // The documents show what a terminal of this width shows; what is piped is not broken into lines.
        .env("COLUMNS", "120")
        .env("_NT_SYMBOL_PATH", "")
        .env("_NT_EXECUTABLE_IMAGE_PATH", "")
        .case(directory.path().join("document.md"));
}

#[test]
fn readme() {
    check("README.md");
}

#[test]
fn guide() {
    check("docs/guide.md");
}
