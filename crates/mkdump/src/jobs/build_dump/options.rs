//! What to build.

use std::path::PathBuf;

use kernel_code::{Choice, GivenCapability, Search};
use kernel_snapshot::Moment;

use crate::ipt::Inputs;
use crate::select::NameFilter;

/// A dump to build from a source.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Where module files are looked for.
    pub search: Search,
    /// The dump.
    pub output: PathBuf,
    /// The moment to show; the end when `None`.
    pub at: Option<Moment>,
    /// Which modules.
    pub names: NameFilter,
    /// Whether import calls were rewritten.
    pub import_optimization: Choice,
    /// Whether indirect branches were rewritten.
    pub retpoline: Choice,
    /// Whether calls of overridden functions were re-pointed.
    pub function_overrides: Choice,
    /// Capabilities of the machine that decide where such calls lead, as far as they are known from elsewhere.
    pub capabilities: Vec<GivenCapability>,
    /// What of each module goes in.
    pub memory: Selection,
    /// Kind of memory list in a minidump.
    pub memory_list: ListKind,
    /// Kind of file.
    pub format: Format,
    /// The time that debuggers show, in seconds from 1970, for reproducible outputs; the source's own when `None`.
    pub timestamp: Option<u64>,
    /// All threads found in a dump that is the source, not only its current one.
    pub threads: bool,
    /// Intel PT data besides the source's own.
    pub ipt: Inputs,
    /// Only modules that the Intel PT data touches, closed over direct import calls.
    pub touched: bool,
    /// Count where the Intel PT data names addresses, page by page, for [`crate::report::BuildReport::heat`].
    pub page_hits: bool,
}

/// What of each module goes into a dump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Code sections.
    Code,
    /// Code sections and the header page.
    #[default]
    Headers,
    /// The whole image.
    Image,
}

impl From<Selection> for pe_image::Selection {
    fn from(selection: Selection) -> Self {
        match selection {
            Selection::Code => Self::Code,
            Selection::Headers => Self::Headers,
            Selection::Image => Self::Image,
        }
    }
}

/// Kind of memory list in a minidump: debuggers take one per file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// A 32-bit list while it fits (3.9 GiB), then a 64-bit one.
    #[default]
    Auto,
    /// MemoryList.
    Bits32,
    /// Memory64List.
    Bits64,
}

/// Kind of file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// User minidump (MDMP).
    #[default]
    Minidump,
    /// Kernel triage dump (PAGEDU64).
    Triage,
    /// ELF core.
    Elf,
    /// Directory of files.
    Raw,
}

impl Format {
    /// Its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minidump => "minidump",
            Self::Triage => "triage",
            Self::Elf => "elf",
            Self::Raw => "raw",
        }
    }

    /// The extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Minidump | Self::Triage => "dmp",
            Self::Elf => "core",
            Self::Raw => "raw",
        }
    }
}
