//! Hostile values into the writer; what it accepts must be valid and read back.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mdmp_fuzz::write(input));
