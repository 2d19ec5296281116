//! User minidumps: what is written is read back, rules are found before the first byte, memory is streamed.

mod contexts;
mod given;
mod round_trip;
mod rules;
mod sparse;
mod streaming;
