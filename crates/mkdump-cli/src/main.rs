//! The command `mkdump`.
#![forbid(unsafe_code)]

fn main() {}
