//! Hostile dumps, and damaged good ones, into `validate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mdmp_fuzz::validate(input));
