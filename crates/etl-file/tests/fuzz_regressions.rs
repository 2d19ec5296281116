//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz targets' bodies on random input for a moment.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use proptest::prelude::*;

fn replay(target: &str, body: fn(&[u8])) {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), target, body);
}

#[test]
fn walk() {
    replay("walk", bodies::walk);
}

#[test]
fn survey() {
    replay("survey", bodies::survey);
}

#[test]
fn records() {
    replay("records", bodies::records);
}

#[test]
fn rewrite() {
    replay("rewrite", bodies::rewrite);
}

#[test]
fn decompress() {
    replay("decompress", bodies::decompress);
}

/// Edits to a sample of a random kind.
fn edits() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<[u8; 2]>(), 0u8..6, any::<u8>()).prop_map(|(at, kind, value)| [at[0], at[1], kind, value]);
    (any::<u8>(), proptest::collection::vec(edit, 0..8))
        .prop_map(|(kind, edits)| [&[1, kind][..], &edits.concat()].concat())
}

/// As many cases as `PROPTEST_CASES` says, else a thousand. Nothing is kept on disk: a find becomes a file to replay.
fn config() -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 1000 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn walk_edited(input in edits()) {
        bodies::walk(&input);
    }

    #[test]
    fn survey_edited(input in edits()) {
        bodies::survey(&input);
    }

    #[test]
    fn rewrite_edited(input in edits()) {
        bodies::rewrite(&input);
    }

    #[test]
    fn records_random(input in proptest::collection::vec(any::<u8>(), 0..128)) {
        bodies::records(&input);
    }

    #[test]
    fn decompress_random(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        bodies::decompress(&input);
    }
}
