//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz targets' bodies on random input for a moment.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use proptest::prelude::*;

fn replay(target: &str, body: fn(&[u8])) {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), target, body);
}

#[test]
fn triage() {
    replay("triage", bodies::triage);
}

#[test]
fn validate() {
    replay("validate", bodies::validate);
}

#[test]
fn write() {
    replay("write", bodies::write);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn triage_random(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        bodies::triage(&input);
    }

    #[test]
    fn validate_random(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        bodies::validate(&input);
    }

    #[test]
    fn write_random(input in proptest::collection::vec(any::<u8>(), 0..128)) {
        bodies::write(&input);
    }
}
