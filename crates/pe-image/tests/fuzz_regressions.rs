//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz targets' bodies on random input for a moment.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use proptest::prelude::*;

fn replay(target: &str, body: fn(&[u8])) {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), target, body);
}

#[test]
fn parse() {
    replay("parse", bodies::parse);
}

#[test]
fn imports() {
    replay("imports", bodies::imports);
}

#[test]
fn relocations() {
    replay("relocations", bodies::relocations);
}

#[test]
fn dvrt() {
    replay("dvrt", bodies::dvrt);
}

#[test]
fn produce() {
    replay("produce", bodies::produce);
}

/// Edits to a sample of a random kind.
fn edits() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop::collection::vec(any::<[u8; 4]>(), 0..6))
        .prop_map(|(kind, edits)| [&[1, kind][..], &edits.concat()].concat())
}

/// A number of cases that takes a moment; `PROPTEST_CASES` asks for another.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(500);
    ProptestConfig::with_cases(cases)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn parse_edited(input in edits()) {
        bodies::parse(&input);
    }

    #[test]
    fn imports_edited(input in edits()) {
        bodies::imports(&input);
    }

    #[test]
    fn relocations_edited(input in edits()) {
        bodies::relocations(&input);
    }

    #[test]
    fn dvrt_edited(input in edits()) {
        bodies::dvrt(&input);
    }

    #[test]
    fn produce_edited(input in edits()) {
        bodies::produce(&input);
    }
}
