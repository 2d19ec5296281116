//! See `pe_image_fuzz::parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pe_image_fuzz::parse(input));
