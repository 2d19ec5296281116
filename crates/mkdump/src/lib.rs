//! From a Windows trace and a directory of modules to a dump that debuggers open: the library behind the command.
#![deny(unsafe_code)]

mod build;
pub mod catalog;
pub mod check;
mod error;
mod heat;
pub mod images;
pub mod ipt;
pub mod keep;
mod kind;
mod list;
mod map;
mod output;
mod progress;
pub mod report;
mod search;
mod select;
pub mod snapshot;
mod source;
pub mod threads;

pub use build::{BuildOptions, Choice, Format, ListKind, PROVENANCE_STREAM, Provenance, Selection, UsedFile, build};
pub use error::{Error, Result};
pub use heat::heat;
pub use list::{ListOptions, how_to_record, list_modules, why_no_modules};
pub use map::FileBytes;
pub use output::{Output, remove_unfinished};
pub use progress::{Progress, Silent};
pub use search::{Search, missing};
pub use select::NameFilter;
pub use source::dump;
pub use source::{Held, Reading, Source, Wanted};
