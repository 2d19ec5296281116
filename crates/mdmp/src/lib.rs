//! Writer of dumps that debuggers open, from plain values and lazily pulled memory: Windows user minidumps (MDMP),
//! kernel triage dumps (PAGEDU64), ELF core files and raw directories; and a reader of triage dumps.
//!
//! For tools that have parts and want a dump: emulators, trace converters, unpackers, test generators. Nothing here
//! looks at a live process or at the machine it runs on, and the same values give the same bytes.
//!
//! # Vocabulary
//!
//! - A **dump** is a struct of plain values: [`user::Dump`], [`kernel::Dump`], [`elf::Core`].
//! - A **stream** is a numbered part of a user minidump. The set is open: see [`user::Stream`].
//! - A [`MemoryRange`] is an address, a size, a protection and a [`Memory`]: the source that is asked for the bytes while
//!   the dump is written, and never before. A source may lend its bytes or copy them.
//! - A [`Plan`] is the frozen dump with every offset known. Making it finds everything that can be wrong with the values:
//!   a field that overflows, ranges that overlap, a rule that some debugger insists on. Writing it goes forward only, to
//!   any [`Write`](std::io::Write), and can fail only in the output or in a source.
//! - An **RVA** in this format is a file offset.
//! - A [`Rule`] is something that a named reader wants of a dump; [`validate`] checks any dump against all of them.
//!
//! # Example
//!
//! ```
//! use mdmp::user::{Architecture, CodeView, Dump, Module, SystemInfo};
//! use mdmp::{MemoryRange, Protection};
//!
//! // A driver's code page, where the kernel had it.
//! let base = 0xffff_f804_1234_0000;
//! let code = [0xb8, 1, 0, 0, 0, 0xc3]; // mov eax, 1; ret
//!
//! let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
//! let mut module = Module::new("driver.sys", base, 0x3000);
//! module.timestamp = 0x5f5e_1001;
//! module.codeview = Some(CodeView::Rsds { guid: [0x11; 16], age: 1, pdb: "driver.pdb".into() });
//! dump.modules.push(module);
//! dump.memory.push(MemoryRange::from_slice(base + 0x1000, Protection::EXECUTE_READ, &code));
//! // Debuggers show nothing of a dump without a thread; this one stands at the code.
//! dump.add_placeholder(1, base + 0x1000)?;
//!
//! let plan = dump.plan()?;
//! let mut file = Vec::new(); // any Write: a file, a pipe, a hash
//! plan.write_to(&mut file)?;
//! assert_eq!(file.len() as u64, plan.len());
//!
//! let report = mdmp::validate(&file)?;
//! assert_eq!(report.at_least(mdmp::Severity::Degraded).count(), 0);
//! # Ok::<(), mdmp::Error>(())
//! ```
//!
//! # Untrusted input
//!
//! [`validate`], [`user::Directory`] and [`read`] take bytes from anywhere: they do not panic, and the memory they use is
//! bounded by a multiple of the input that each names.
#![forbid(unsafe_code)]

mod blob;
mod bytes;
mod context;
pub mod elf;
mod emit;
mod error;
pub mod kernel;
mod layout;
mod memory;
mod piece;
mod plan;
mod raw;
pub mod read;
pub mod user;
mod validate;

pub use blob::{Blob, BlobId};
pub use context::{Context, amd64, arm64, x86};
pub use error::{Error, ErrorKind};
pub use layout::Layout;
pub use memory::{AddressRange, Fill, Memory, MemoryRange, Protection};
pub use plan::{Extent, Plan};
pub use raw::{RawDirectory, RawFile};
/// Reads and writes the `#[repr(C)]` structures of [`kernel::raw`] and the processor contexts; re-exported because its
/// integer types and traits are part of their interface.
pub use zerocopy;

pub use validate::{Finding, Format, RULES, Report, Rule, Severity, validate};

/// Compiles the README's example with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
