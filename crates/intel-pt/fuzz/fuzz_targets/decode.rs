#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| intel_pt_fuzz::decode_packets(input));
