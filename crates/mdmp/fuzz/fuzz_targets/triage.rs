//! The reader of triage dumps, on hostile bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mdmp_fuzz::triage(input));
