//! Kernels with trace sessions as C: for each known pair of layouts a file with the structures, the sessions and their buffers
//! in it, and the same as values, to hold readers of dumps against.
//!
//! It shares nothing with the crates that read such dumps; the offsets are a table of its own, which names its sources.
#![forbid(unsafe_code)]

pub mod layouts;
pub mod source;
pub mod truth;
