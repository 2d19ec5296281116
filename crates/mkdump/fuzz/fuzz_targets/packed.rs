//! See `mkdump_fuzz::packed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mkdump_fuzz::packed(data));
