//! What Intel PT data says about the system that it was recorded on.

pub mod closure;
pub mod flow;
mod functions;
mod hex;
pub mod input;
pub mod question;
mod snapshots;
pub mod touched;
pub mod verdict;
mod witness;
