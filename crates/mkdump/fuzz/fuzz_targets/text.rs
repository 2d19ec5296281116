//! See `mkdump_fuzz::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mkdump_fuzz::text(data));
