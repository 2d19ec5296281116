//! What Intel PT data says about the system that it was recorded on.

pub mod flow;
pub mod verdict;
mod witness;
