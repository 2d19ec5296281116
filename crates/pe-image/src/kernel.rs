//! What is known of the kernel itself: the names of its file, and which kernels optimize imports.

use std::fmt;

/// File names of the kernel. Importers and forwarders say `ntoskrnl.exe`; the file's own name follows the machine that it
/// was built for: multiprocessor, with physical address extension (x86), with 5-level paging.
pub const KERNEL_FILE_NAMES: [&str; 5] =
    ["ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe", "ntkrla57.exe"];

/// True for a file name of the kernel, in any case, with or without its extension.
pub fn is_kernel_file_name(name: &str) -> bool {
    KERNEL_FILE_NAMES.iter().any(|kernel| {
        name.eq_ignore_ascii_case(kernel)
            || kernel.strip_suffix(".exe").is_some_and(|stem| name.eq_ignore_ascii_case(stem))
    })
}

/// What a build of Windows does about import optimization unless it was switched off, on x64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ImportOptimizationDefault {
    /// The kernel does not know it.
    Absent,
    /// The kernel knows it, and whether it is on depends on more than the build: on the revision where that is not given,
    /// or on the processor's mitigations. Most likely it is on.
    Undecided,
    /// It is on.
    On,
}

impl fmt::Display for ImportOptimizationDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "not there",
            Self::Undecided => "undecided, most likely on",
            Self::On => "on",
        })
    }
}

/// Windows 10 1809.
const RS5: u32 = 17763;
/// The revision of 1809 that brought import optimization: KB4482887 of 1 March 2019, 17763.348. What of that is sourced:
/// docs/decisions/import-optimization-default.md.
const RS5_REVISION: u32 = 348;
/// Windows 10 2004, the first whose switch depends neither on the processor nor on retpoline.
const VB: u32 = 19041;

/// Whether a kernel of this build and revision optimizes imports by default. `revision` is the last number of the file
/// version, such as 4652 of 10.0.26100.4652.
///
/// | build | default |
/// | --- | --- |
/// | before 17763 (1809) | not there |
/// | 17763 | from revision 348 (March 2019) on |
/// | 17763 from then on, 18362 and 18363 (1903, 1909) | on where the mitigation's other prerequisites hold: undecided |
/// | 19041 (2004) and later | on |
pub fn import_optimization_by_default(build: u32, revision: Option<u32>) -> ImportOptimizationDefault {
    match (build, revision) {
        (..RS5, _) => ImportOptimizationDefault::Absent,
        (RS5, Some(..RS5_REVISION)) => ImportOptimizationDefault::Absent,
        (..VB, _) => ImportOptimizationDefault::Undecided,
        _ => ImportOptimizationDefault::On,
    }
}
