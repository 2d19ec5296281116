//! Finds the files that a trace's modules were loaded from, and says how to get those that are not there.
//!
//! A trace says what was loaded: name, path, TimeDateStamp, SizeOfImage, perhaps CheckSum and PDB. That is a [`Wanted`].
//! An [`Index`] knows the files of some directories by the same values, whatever they are called and however they are
//! packed. [`Index::find`] joins the two by **identity**; a file of the right name and the wrong identity is a mismatch
//! and is left out.
//!
//! | word | means |
//! | --- | --- |
//! | identity | what tells one build of a module from another: stamp, size, checksum, PDB GUID and age |
//! | key | the identity as symbol servers write it: [`image_key`], [`pdb_key`] |
//! | store | a directory in the servers' layout `name/KEY/name` ([`Store`]) |
//! | volume | a Windows disk that is mounted or copied somewhere ([`Volume`]) |
//!
//! Names and paths in a trace were chosen by whoever made it. They help to look; only a [`FileName`] is ever written
//! under.
//!
//! ```
//! use mkdump::catalog::{Cache, Index, IndexOptions, Lookup, Wanted};
//! # let dir = tempfile::tempdir()?;
//! let index = Index::build(&IndexOptions { roots: vec![dir.path().into()], cache: Cache::Off, ..Default::default() })?;
//! let wanted = Wanted { name: "hal.dll".into(), timestamp: Some(0x1a7be8e9), size: 0x6000, ..Default::default() };
//! match index.find(&wanted) {
//!     Lookup::Found { file, .. } => println!("{} is {}", wanted.name, file.location),
//!     Lookup::Mismatch { closest, differences } => println!("not {}: {}", closest.location, differences[0]),
//!     Lookup::Missing => println!("{} is missing; its key is {:?}", wanted.name, wanted.image_key()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod archive;
mod cache;
mod compressed;
#[cfg(feature = "fetch")]
pub mod fetch;
mod index;
mod key;
mod location;
mod name;
mod nt_path;
mod read;
mod request;
mod server;
mod store;
mod sympath;
mod volume;
mod walk;
mod wanted;

pub use cache::Cache;
pub use index::{Index, IndexOptions, Lookup, ModuleFile, Progress, RootError};
pub use key::{Guid, PdbId};
pub use location::Location;
pub use name::{FileName, NameError};
pub use nt_path::{NtPath, Start};
pub use pe_image::{image_key, pdb_key};
pub(crate) use read::missing_from;
pub use request::{Request, RequestItem, Why};
pub use server::{FileKind, Listing, ServerFile, Unfetchable};
pub use store::{Pointer, Store};
pub use sympath::{Element, MICROSOFT_SERVER, SymbolPath, Target};
pub use volume::Volume;
pub use wanted::{Comparison, Difference, Wanted, Warning};
