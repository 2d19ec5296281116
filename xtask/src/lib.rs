//! What the repository's tasks share with the acceptance checks: running programs, installing tools, counting results.
#![forbid(unsafe_code)]

pub mod outcome;
pub mod paths;
pub mod program;
pub mod rust_source;
pub mod session_layouts;
pub mod tools;
