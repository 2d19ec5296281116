//! From a Windows trace and a directory of modules to a dump that debuggers open: the library that the command uses.
//!
//! A [`Source`] is an opened trace or dump; reading it once gives a [`Reading`] with a [`snapshot::Snapshot`]: what was
//! loaded, where, when. A [`Search`] says where module files may lie; they are found by identity, never by name alone.
//! [`build()`] joins the two and writes a dump; its [`report::BuildReport`] says of every module what became of it.
//!
//! ```no_run
//! use symstore::SymbolPath;
//! use mkdump::{BuildOptions, Search, Silent, Source, Wanted};
//!
//! let source = Source::open_etl("trace.etl".as_ref())?;
//! let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &Silent)?;
//! let options = BuildOptions {
//!     search: Search::new(vec!["modules".into()], &SymbolPath::from_environment()),
//!     output: "out.dmp".into(),
//!     ..BuildOptions::default()
//! };
//! let report = mkdump::build(&source, &reading, &options, &Silent)?;
//! println!("{}: {} bytes", report.output, report.bytes);
//! # Ok::<(), mkdump::Error>(())
//! ```
//!
//! For dumps of another layout than [`build()`] makes: [`image`] gives what an image contributes to a dump, and [`keep`]
//! puts code under the captured memory of a triage dump.
#![forbid(unsafe_code)]

mod error;
mod hex;
pub mod image;
pub mod ipt;
mod jobs;
pub mod keep;
mod provenance;
pub mod report;
mod select;

pub use error::{Error, Result};
pub use jobs::build_dump::{BuildOptions, Format, ListKind, Selection, can_build};
pub use jobs::check;
pub use jobs::ipt::analyse::IptOptions;
pub use jobs::modules::{ListOptions, no_modules, require_kernel_modules, why_no_modules};
pub use jobs::sessions::{SessionList, SessionListOptions, find_sessions};
pub use jobs::threads::ThreadListOptions;
pub use kernel_code as system;
pub use kernel_code::pdb;
pub use kernel_code::{Choice, GivenCapability, Search, SearchError, SearchErrorKind, missing, wanted};
pub use kernel_snapshot as snapshot;
pub use kernel_snapshot::{
    FileBytes, FileKind, Held, Moment, MomentError, Moments, Progress, ReadError, Reading, Silent, Source, SourceError,
    SourceKind, Summary, Wanted, dump, threads,
};
pub use module_request as request;
pub use pe_image::is_kernel_file_name;
pub use provenance::{PROVENANCE_STREAM, Provenance, SourceFile, UsedFile};
pub use report::{build, list_modules, list_threads};
pub use select::{NameFilter, NoMatch, PatternError, Rejection};
pub use whole_output::{Output, OutputDirectory, WriteError, remove_unfinished};
