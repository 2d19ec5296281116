//! Dumps, byte by byte.

pub mod kernel;
