//! What the fuzz targets do: ordinary functions, which the crate's tests call as well.

#![forbid(unsafe_code)]

mod bodies;
mod check;
mod dump;
mod seeds;

pub use bodies::{packed, text};
pub use check::check;
pub use dump::dump;
pub use seeds::seeds;
