//! Dumps, byte by byte.

pub mod kernel;
pub mod pair;
pub mod pdb;
pub mod pdb_symbols;
pub mod sessions;
pub mod user;
