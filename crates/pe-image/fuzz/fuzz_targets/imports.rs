//! See `pe_image_fuzz::imports`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pe_image_fuzz::imports(input));
