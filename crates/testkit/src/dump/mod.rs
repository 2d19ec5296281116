//! Dumps, byte by byte.

pub mod kernel;
pub mod user;
