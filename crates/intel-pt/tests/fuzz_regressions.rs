//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz targets' bodies on random input for a moment.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use proptest::prelude::*;

fn replay(target: &str, body: fn(&[u8])) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        body(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}

#[test]
fn decode() {
    replay("decode", bodies::decode_packets);
}

#[test]
fn scan() {
    replay("scan", bodies::scan);
}

/// Bytes rich in opcodes, among them whole PSBs.
fn packet_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just([0x02, 0x82].repeat(8)),
        any::<u8>().prop_map(|code| vec![0x02, code]),
        any::<[u8; 3]>().prop_map(|bytes| bytes.to_vec()),
        (0u8..8, 0u8..4).prop_map(|(form, kind)| vec![form << 5 | [0x0d, 0x11, 0x01, 0x1d][usize::from(kind)]]),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decode_random(input in packet_like()) {
        bodies::decode_packets(&input);
    }

    #[test]
    fn scan_random(input in packet_like()) {
        bodies::scan(&input);
    }
}
