//! Dumps as sources, on hostile bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mkdump_fuzz::dump(input));
