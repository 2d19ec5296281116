//! A hostile copy of sessions behind a dump.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| etw_sessions_fuzz::copied(input));
