//! See `etw_decode_fuzz::decode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| etw_decode_fuzz::decode(input));
