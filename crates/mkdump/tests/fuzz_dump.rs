//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz target's body on random input for a moment.

#[path = "../fuzz/src/dump.rs"]
mod bodies;

use proptest::prelude::*;

#[test]
fn dump() {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "dump", bodies::dump);
}

proptest! {
    /// Edits where they hurt: in the headers, and in the first tables after them.
    #[test]
    fn dump_random(
        kind in 1u8..=5,
        cut in any::<bool>(),
        edits in proptest::collection::vec((prop_oneof![0u32..0x100, 0xf00u32..0x1100, 0x2000u32..0x3000, any::<u32>()], any::<u8>()), 0..40),
    ) {
        let mut input = vec![kind | u8::from(cut) << 7];
        for (offset, value) in edits {
            input.extend_from_slice(&offset.to_le_bytes()[..3]);
            input.push(value);
        }
        bodies::dump(&input);
    }
}
