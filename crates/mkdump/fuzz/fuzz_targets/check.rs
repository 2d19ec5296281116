//! Two damaged dumps side by side.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mkdump_fuzz::check(input));
