//! From a Windows trace and a directory of modules to a dump that debuggers open: the library behind the command.
#![deny(unsafe_code)]

pub mod catalog;
mod error;
mod map;
mod output;
mod progress;
pub mod report;
mod select;
pub mod snapshot;

pub use error::{Error, Result};
pub use map::FileBytes;
pub use output::Output;
pub use progress::{Progress, Silent};
pub use select::NameFilter;
