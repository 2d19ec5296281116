//! Dumps, byte by byte.

pub mod user;
