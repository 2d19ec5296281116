//! Replays the inputs in `fuzz/regressions/check`, and runs the fuzz target's body on random edits for a moment.

#[path = "../fuzz/src/check.rs"]
mod body;

use proptest::prelude::*;

#[test]
fn regressions() {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "check", body::check);
}

/// More cases: `PROPTEST_CASES`.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|number| number.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(48), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    /// Edits where they hurt: in headers and tables at the files' starts, and in images' headers.
    #[test]
    fn edits(
        seed in any::<u8>(),
        edits in proptest::collection::vec((0u8..6, prop_oneof![0u32..0x100, 0x80u32..0x400, 0x2000u32..0x3000, any::<u32>()], any::<u8>()), 0..40),
    ) {
        let mut input = vec![seed];
        for (file, offset, value) in edits {
            input.push(file);
            input.extend_from_slice(&offset.to_le_bytes()[..3]);
            input.push(value);
        }
        body::check(&input);
    }
}
