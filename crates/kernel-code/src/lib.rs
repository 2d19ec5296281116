//! A Windows kernel's code as it was in memory at one moment: put together once from a list of modules and their files.
//!
//! ```text
//! search     where files are looked for
//!  └► files      which file is which module, by identity, opened and parsed
//!      └► binding    who has their place at the moment, and where each import leads
//!          └► changes    what the kernel did to code when it loaded it: import optimization, retpoline
//!          ├► overrides  … and function overrides: by the build, and what is known of the machine
//!          ├► override_modes  … by the calls that were executed
//!              └► system         all of it, decided
//!                  ├► image          one module at its base: ranges, bytes on demand
//!                  └► address_space  all modules' code, from address to address
//! ```
//!
//! Names of its places come from PDBs and exports ([`pdb`]).
//!
//! [`System::reconstruct`] is the only place that finds modules' places, binds imports and decides load-time changes.
#![forbid(unsafe_code)]

mod address_space;
mod binding;
mod captured;
mod changes;
mod detection;
mod files;
mod functions;
mod image;
mod junctions;
mod override_modes;
mod overrides;
pub mod pdb;
mod search;
mod system;

pub use address_space::AddressSpace;
pub use binding::{Bound, DirectImport, Exporter};
pub use captured::{CapturedForms, FormCounts, SiteForms};
pub use changes::{Choice, Evidence, Extent, Mode, Modes};
pub use files::{Entry, Files, Found, Inclusion, Parsed};
pub use image::Image;
pub use junctions::Question;
pub use overrides::GivenCapability;
pub use search::{Search, SearchError, SearchErrorKind, missing, wanted};
pub use system::{Detect, Setting, System};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
