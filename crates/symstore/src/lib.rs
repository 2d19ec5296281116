//! Module files by identity: directories, symbol stores, volumes, archives, an index of them, and fetching from a symbol
//! server.
//!
//! A trace or dump says what was loaded: name, path, TimeDateStamp, SizeOfImage, perhaps CheckSum and PDB. That is a
//! [`Wanted`]. An [`Index`] knows the files of some directories by the same values, whatever they are called and however
//! they are packed. [`Index::find`] joins the two by **identity**; a file with the right name and another identity is a
//! mismatch and is left out. The README has an example.
//!
//! | word | means |
//! | --- | --- |
//! | identity | what tells one build of a module from another: stamp, size, checksum, PDB GUID and age |
//! | key | the identity as symbol servers write it: [`image_key`], [`pdb_key`] |
//! | store | a directory in the servers' layout `name/KEY/name` ([`Store`]) |
//! | volume | a Windows disk that is mounted or copied somewhere ([`Volume`]) |
//!
//! Names and paths in a trace were chosen by whoever made it. They help to look; files are written only under a
//! [`FileName`].
//!
//! The crate knows nothing of traces, dumps, reports and command lines, and it uses the network only in the module
//! `fetch` (feature `fetch`).
#![forbid(unsafe_code)]

mod cabinet;
mod cache;
mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
mod index;
mod location;
mod name;
mod nt_path;
pub mod pdb;
mod read;
mod scan;
mod server;
mod store;
mod stream;
mod sympath;
mod szdd;
mod volume;
mod walk;
mod wanted;
mod zip_archive;

pub use cache::Cache;
pub use error::{Error, ErrorKind};
pub use index::{Index, IndexOptions, Lookup, ModuleFile, Progress};
pub use location::Location;
pub use name::{FileName, NameError, is_deceptive, reserved};
pub use nt_path::{NtPath, Start};
pub use pe_image::{Guid, PdbId, image_key, pdb_key};
pub use read::{Loader, ModuleBytes};
pub use server::{FileKind, Listing, ServerFile, Unfetchable, UnfetchableKind};
pub use store::{Pointer, Store};
pub use sympath::{Element, MICROSOFT_SERVER, SymbolPath, Target};
pub use volume::Volume;
pub use wanted::{Comparison, Difference, Doubt, Wanted};

/// Compiles and runs the README's example with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
