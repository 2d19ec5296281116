//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz targets' bodies on random input for a moment.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use proptest::prelude::*;

#[test]
fn decode() {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "decode", bodies::decode);
}

#[test]
fn manifest() {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "manifest", bodies::manifest);
}

/// As many cases as `PROPTEST_CASES` says, else two thousand. Nothing is kept on disk: a find becomes a file to replay.
fn config() -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 2000 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The ids of live dumps and of others, and few values in payloads, so that texts end and counts are small.
fn events() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![0u16..300, Just(1001), Just(1002), any::<u16>(), Just(0x030a), Just(0x0524)];
    let byte = prop_oneof![3 => Just(0u8), 2 => 1u8..0x30, 1 => any::<u8>()];
    (any::<u8>(), id, 0u8..6, proptest::collection::vec(byte, 0..200))
        .prop_map(|(form, id, version, rest)| [&[form], &id.to_le_bytes()[..], &[version], &rest].concat())
}

/// Pieces of manifests.
fn manifests() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<provider guid=\"{12345678-9abc-def0-1122-334455667788}\" name=\"a\">".to_owned()),
        Just("</provider>".to_owned()),
        Just("<events><event value=\"1\" template=\"t\" message=\"$(string.a)\"/></events>".to_owned()),
        Just(
            "<templates><template tid=\"t\"><data name=\"n\" inType=\"win:UInt8\" count=\"n\"/></template></templates>"
                .to_owned()
        ),
        Just("<maps><valueMap name=\"m\"><map value=\"0x1\" message=\"$(string.\"/></valueMap></maps>".to_owned()),
        Just("<!DOCTYPE".to_owned()),
        "[<>&;='\" a%{}/]{0,12}",
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn decode_random(input in events()) {
        bodies::decode(&input);
    }

    #[test]
    fn manifest_random(input in manifests()) {
        bodies::manifest(input.as_bytes());
    }
}
