//! A hostile kernel's memory: its sessions are read and saved.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| etw_sessions_fuzz::contexts(input));
