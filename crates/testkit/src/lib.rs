//! Test input, assembled byte by byte and independently of the crates it tests.
//!
//! Nothing here uses a structure or constant of a crate under test: a wrong layout must not be able to agree with
//! itself. Each format has a folder; all of them write through one little-endian [`Asm`].
#![forbid(unsafe_code)]

mod asm;
pub mod catalog;
pub mod dump;
pub mod fuzz;
pub mod http;
pub mod image;
pub mod pt;
pub mod trace;

pub use asm::{Asm, Label};
