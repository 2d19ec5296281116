//! What Intel PT data says about the system that it was recorded on.

pub mod flow;
mod hex;
pub mod input;
pub mod touched;
pub mod verdict;
mod witness;
