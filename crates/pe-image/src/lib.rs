//! A Windows kernel PE image as the kernel has it in memory: relocated, bound, with the load-time changes to its code.
//!
//! One question is answered here: given this file, this base and the other modules, what did memory hold?
//!
//! # Import optimization
//! Code calls another module through a slot of its import address table (IAT). At such a *site* the linker writes 12 bytes
//! and lists the place in the file's dynamic value relocation table (DVRT). The Windows kernel, since 2019, writes over
//! them when it loads the image:
//!
//! ```text
//!                     0         3        7
//! as linked:          48 FF 15  disp32   0F 1F 44 00 00     call [slot]; nop
//! optimized:          4C 8B 15  disp32   E8 rel32           mov r10,[slot]; call target
//!
//!                     slot   = site + 7 + disp32            (the same before and after)
//!                     target = site + 12 + rel32
//! ```
//!
//! So the code that runs is not the code in the file: a trace of the CPU's branches cannot be followed with the file's
//! bytes, and a dump shows others. The rewriting is decided site by site: the target must be known and within 2 GiB. With
//! *retpoline*, a mitigation of older CPUs, the sites that stay indirect, and other indirect branches, are led through
//! stubs that are mapped after each image.
//!
//! # Function overrides
//! From Windows 11 24H2 on the kernel also changes where some direct calls lead: those of a function such as memset go to
//! the variant that suits the processor, and those of the control flow guard's thunk to a function of the kernel. Which one
//! is decided by the file's table and the machine's [`Capabilities`].
//!
//! # Vocabulary
//! * An **RVA** is an address relative to the image base. An **image** is a file as it lies in memory.
//! * A **site** is a place in code that the file lists because a loader may change it; its **outcome** is what became of
//!   it under a **policy**, the set of changes that are on.
//! * A **slot** is an entry of the IAT; **binding** finds the address that it holds.
//! * A **stub** is a piece of the kernel's section RETPOL or, from Windows 11 24H2 on, KSCP, through which retpolined
//!   branches go.
//!
//! # Layers
//! One may stop at any of them. [`PeFile`] reads what the file says: [`Headers`], [`Identity`], imports, exports,
//! relocations, the [`Dvrt`]. [`Modules`] binds files that were loaded together. [`MappedImage`] does what the loader does,
//! and hands out bytes on demand. [`recognise`] goes the other way, from bytes of memory to what a site has become.
//!
//! # Example
//! ```
//! use pe_image::{Module, Modules, Outcome, PeFile, Policy, Va, recognise};
//! # use testkit::image::{At, Driver, kernel};
//! # let kernel_bytes = kernel(&["ExFreePool"]).build().bytes;
//! # let mut driver = Driver::new("driver.sys");
//! # let text = driver.code(".text", 0x1000);
//! # let import = driver.import("ntoskrnl.exe", "ExFreePool");
//! # driver.call(At(text, 0x10), import);
//! # let driver_bytes = driver.build().bytes;
//! // The bytes are the files': read, or mapped.
//! let kernel = PeFile::parse(&kernel_bytes)?;
//! let driver = PeFile::parse(&driver_bytes)?;
//! let modules = Modules::new([
//!     Module::new("ntoskrnl.exe", 0xffff_f804_2000_0000, kernel),
//!     Module::new("driver.sys", 0xffff_f804_3000_0000, driver),
//! ]);
//! let id = modules.find("driver.sys").expect("it is in the set");
//! let image = modules.image(id, Policy::default()).expect("it has a file");
//!
//! let site = image.sites().next().expect("the driver calls ExFreePool");
//! assert!(matches!(site.outcome, Outcome::Direct(target) if target.address == Va(0xffff_f804_2000_1000)));
//! let mut bytes = [0; 12];
//! image.read(site.rva, &mut bytes);
//! assert_eq!(bytes[..3], [0x4c, 0x8b, 0x15]);
//! let form = recognise(&bytes, image.address(site.rva)).expect("it is a site");
//! assert_eq!(form.target(), Some(Va(0xffff_f804_2000_1000)));
//! # Ok::<(), pe_image::Error>(())
//! ```
//!
//! # Untrusted input
//! No input panics or hangs. An error says where, in which structure, what was found and what is allowed. A damaged table
//! costs that table: see [`MappedImage::warnings`]. Images are never copied in whole. The index of an image's relocation
//! tables takes at most ten times their size; imports and exports a few times their names in real files, and at most
//! about forty times the file's size where tables overlap on purpose.
#![forbid(unsafe_code)]

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod addr;
mod api_set;
mod bind;
mod bytes;
mod capabilities;
mod directory;
mod dvrt;
mod error;
mod exports;
mod file;
mod fixup;
mod functions;
mod header;
mod identity;
mod image;
mod imports;
mod kernel;
mod load_config;
mod mapped_identity;
mod module;
mod modules;
mod pdb_id;
mod policy;
mod relocate;
mod site;
mod version;

pub use addr::{IatIndex, PAGE_SIZE, Rva, Va};
pub use api_set::ApiSets;
pub use bind::{Binding, Rule, Slot, Target, Unbound};
pub use capabilities::{Capabilities, Capability, Processor, ProcessorVendor};
pub use directory::{Directory, DirectoryKind};
pub use dvrt::{
    AddressConstants, Arm64ImportTransfer, Arm64xFixup, Arm64xFixups, Bdd, BddNode, Dvrt, DvrtEntry, Fixups,
    FunctionOverride, FunctionOverrides, ImportTransfer, IndirectTransfer, OverrideChoice, OverrideSite,
    OverrideSiteKind, OverrideTarget, PageRecord, Records, SITE_SIZE, SwitchBranch, Symbol,
};
pub use error::{Diagnostic, DiagnosticKind, Error, ErrorKind, Place, Result};
pub use exports::{Export, Exports};
pub use file::PeFile;
pub use fixup::{
    LinkedImport, SLOT_INSTRUCTION, SharedFunction, SiteForm, Stub, StubBlock, StubBranch, StubOffsets, recognise,
    stub_offset,
};
pub use functions::{GuardFunction, RuntimeFunction};
pub use header::{Headers, Machine, Section};
pub use identity::{CodeView, Identity, IdentityError, IdentityErrorKind, PdbChecksum, image_key, pdb_key};
pub use image::{
    AppliedOverride, ImageRange, MappedImage, OverrideCall, OverrideWays, Piece, Pieces, RangeKind, Selection,
};
pub use imports::{Import, ImportName, ImportedDll, Imports};
pub use kernel::{ImportOptimizationDefault, KERNEL_FILE_NAMES, import_optimization_by_default, is_kernel_file_name};
pub use load_config::LoadConfig;
pub use mapped_identity::MappedIdentity;
pub use module::{Module, ModuleId};
pub use modules::Modules;
pub use pdb_id::{Guid, PdbId};
pub use policy::{ImportCalls, Policy};
pub use relocate::{Block, Blocks, Relocation, RelocationKind};
pub use site::{Counts, ImportCounts, Outcome, OverrideCounts, Reason, RewriteCounts, Site, SiteEncoding, SiteKind};
pub use version::Version;
