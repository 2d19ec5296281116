//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz targets' bodies on random input for a moment.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use proptest::prelude::*;

#[test]
fn contexts() {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "contexts", bodies::contexts);
}

#[test]
fn copied() {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "copied", bodies::copied);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn contexts_random(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        bodies::contexts(&input);
    }

    #[test]
    fn copied_random(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        bodies::copied(&input);
    }
}
