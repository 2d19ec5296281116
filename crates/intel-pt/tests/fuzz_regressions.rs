//! Replays the inputs in `fuzz/regressions/`, and runs the fuzz targets' bodies on random input for a moment.

#[path = "../fuzz/src/lib.rs"]
mod bodies;

use proptest::prelude::*;

fn replay(target: &str, body: fn(&[u8])) {
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), target, body);
}

#[test]
fn decode() {
    replay("decode", bodies::decode_packets);
}

#[test]
fn scan() {
    replay("scan", bodies::scan);
}

#[test]
fn flow() {
    replay("flow", bodies::flow);
}

/// Code rich in branches, after the two bytes that the target reads first.
fn branchy() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(vec![0xc3]),
        Just(vec![0x90]),
        Just(vec![0xff, 0xd0]),
        Just(vec![0xff, 0xe0]),
        Just(vec![0x0f, 0x22, 0xd8]),
        Just(vec![0x48, 0xcf]),
        any::<i8>().prop_map(|to| vec![0xeb, to as u8]),
        any::<i8>().prop_map(|to| vec![0x74, to as u8]),
        any::<i8>().prop_map(|to| [vec![0xe8], i32::from(to).to_le_bytes().to_vec()].concat()),
        any::<[u8; 2]>().prop_map(|bytes| bytes.to_vec()),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Packets whose addresses lie in the code.
fn addresses_in_code() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<u8>().prop_map(|tnt| vec![tnt & 0xfe]),
        (0u8..4, any::<u8>()).prop_map(|(kind, low)| vec![
            0x20 | [0x0d, 0x11, 0x01, 0x1d][usize::from(kind)],
            low,
            0x10
        ]),
        Just(vec![0x02, 0xf3]),
        Just(vec![0x01]),
        Just([0x02, 0x82].repeat(8)),
        Just(vec![0x02, 0x23]),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
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
    fn flow_random(how in any::<u8>(), code in branchy(), packets in prop_oneof![packet_like(), addresses_in_code()]) {
        let share = (256 * code.len()).div_ceil((code.len() + packets.len()).max(1)).min(255) as u8;
        bodies::flow(&[vec![share, how], code, packets].concat());
    }

    #[test]
    fn scan_random(input in packet_like()) {
        bodies::scan(&input);
    }
}
