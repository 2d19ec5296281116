//! See `etl_file_fuzz::rewrite`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| etl_file_fuzz::rewrite(input));
