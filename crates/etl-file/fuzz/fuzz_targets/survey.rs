//! See `etl_file_fuzz::survey`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| etl_file_fuzz::survey(input));
