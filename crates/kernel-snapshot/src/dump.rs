//! A Windows dump as a source of modules and memory: kernel triage, kernel full or bitmap, user minidump.
//!
//! Untrusted input: no bytes make this module panic or hang, and what it allocates is proportional to the file: at most
//! 16 times the tables in it. The two crates that read parts of it do not promise that; how they are contained is
//! written beside their use and in `docs/decisions/`.

mod error;
mod identity;
mod merge;
mod page_map;
mod pages;
mod sessions;
mod triage;
mod user;

use mdmp::read::{Segments, Triage};

use crate::snapshot::Snapshot;

pub use error::{DumpError, DumpErrorKind};
pub use merge::{Boot, MergeError, MergeErrorKind};
pub use pages::Pages;
pub use sessions::{DumpSessions, NoSessions};
pub(crate) use user::is_kernel_name;
pub use user::{UserException, UserThread};

/// An open dump.
#[derive(Debug)]
pub struct Dump<'a> {
    kind: Kind,
    snapshot: Snapshot,
    warnings: Vec<String>,
    content: Content<'a>,
}

/// What a dump is, for people and for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Kernel triage ("small memory") dump.
    KernelTriage,
    /// Kernel dump with pages in runs.
    KernelFull,
    /// Kernel dump with pages by a bitmap or a list of ranges.
    KernelBitmap,
    /// User minidump, MDMP.
    UserMinidump,
}

impl Kind {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Kind::KernelTriage => "kernel-triage",
            Kind::KernelFull => "kernel-full",
            Kind::KernelBitmap => "kernel-bitmap",
            Kind::UserMinidump => "minidump",
        }
    }
}

#[derive(Debug)]
enum Content<'a> {
    Triage(Box<Triage<'a>>),
    Pages(Pages<'a>),
    User(user::UserDump<'a>),
}

/// Memory at addresses: what `check` and a thread walk need of a dump, whatever its kind.
pub trait ReadMemory {
    /// Reads at `address`. Returns how many bytes from the start of `out` are held without a gap; what follows them
    /// in `out` is unspecified.
    fn read(&self, address: u64, out: &mut [u8]) -> usize;

    /// The 64-bit pointer at `address`, when all of it is held.
    fn pointer(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read(address, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
    }
}

impl ReadMemory for Segments<'_> {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        Segments::read(self, address, out)
    }
}

impl<'a> Dump<'a> {
    /// Opens a dump of any kind that is known by its first bytes.
    ///
    /// # Errors
    /// When the file is not a dump, or so damaged that neither modules nor memory can be had. Other damage is a warning.
    pub fn open(file: &'a [u8]) -> Result<Dump<'a>, DumpError> {
        match file.get(..8) {
            Some([b'M', b'D', b'M', b'P', ..]) => user::open(file),
            Some(b"PAGEDU64") => {
                let header = mdmp::read::Header::parse(file)?;
                if header.dump_type() == mdmp::kernel::DumpType::TRIAGE {
                    triage::open(file)
                } else {
                    pages::open(file, header)
                }
            }
            Some(b"PAGEDUMP") => Err(refuse(file, "64-bit kernel dumps; this is a 32-bit one")),
            _ => Err(refuse(file, "\"MDMP\" (user minidump) or \"PAGEDU64\" (64-bit kernel dump)")),
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The machine and its modules.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What is damaged or doubtful, with its place.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The triage dump, if it is one: context, bugcheck, threads, stacks.
    pub fn triage(&self) -> Option<&Triage<'a>> {
        match &self.content {
            Content::Triage(triage) => Some(triage),
            _ => None,
        }
    }

    /// The user minidump's own threads; none in other dumps.
    pub fn user_threads(&self) -> &[UserThread<'a>] {
        match &self.content {
            Content::User(user) => &user.threads,
            _ => &[],
        }
    }

    /// The user minidump's exception, if it has one.
    pub fn user_exception(&self) -> Option<&UserException<'a>> {
        match &self.content {
            Content::User(user) => user.exception.as_ref(),
            _ => None,
        }
    }

    /// The system of a user minidump that is not of Windows, with its version: `macOS 10.15.7`.
    pub fn other_system(&self) -> Option<&str> {
        match &self.content {
            Content::User(user) => user.other_system.as_deref(),
            _ => None,
        }
    }

    /// The stack pointer of the processor that wrote a kernel dump that holds pages, on x64.
    pub fn stack_pointer(&self) -> Option<u64> {
        match &self.content {
            Content::Pages(pages) => pages.stack_pointer,
            _ => None,
        }
    }

    /// The captured memory as segments, of dumps that hold ranges and not pages.
    pub fn segments(&self) -> Option<&Segments<'a>> {
        match &self.content {
            Content::Triage(triage) => Some(triage.memory()),
            Content::User(user) => Some(&user.memory),
            Content::Pages(_) => None,
        }
    }
}

impl ReadMemory for Dump<'_> {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        match &self.content {
            Content::Triage(triage) => triage.memory().read(address, out),
            Content::User(user) => user.memory.read(address, out),
            Content::Pages(pages) => pages.read(address, out),
        }
    }
}

fn refuse(file: &[u8], allowed: &str) -> DumpError {
    let found = String::from_utf8_lossy(&file[..file.len().min(8)]);
    DumpError::malformed(0, "signature", format!("{found:?} in a file of {:#x} bytes", file.len()), allowed)
}

/// The last part of a path of either kind of separator.
fn file_name(path: &str) -> String {
    path.rsplit(['\\', '/']).next().unwrap_or_default().to_owned()
}
