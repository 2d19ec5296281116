//! What Intel PT data says about the system that it was recorded on.

mod hex;
pub mod input;
pub mod touched;
pub mod flow;
pub mod verdict;
mod witness;
