//! What is known of a dumped kernel before its sessions are looked for.

use etl_file::FileTime;

use crate::types::{KernelTypes, PdbKey};

/// What is known of a kernel, all of it plain facts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel<'k> {
    /// Where the kernel's image lies.
    pub base: u64,
    /// Build of Windows, such as 19041, as the dump's header says it.
    pub build: u32,
    /// The PDB that the image names in its debug directory.
    pub pdb: Option<PdbKey>,
    /// What that PDB says, when it is at hand. It must be the PDB of `pdb`, or its word is believed wrongly.
    pub types: Option<&'k KernelTypes>,
    /// Address of `KdDebuggerDataBlock`.
    pub debugger_data: Option<u64>,
    /// Bytes that the dump holds: of buffers and lists no more is read than this.
    pub held: u64,
    /// Logical processors.
    pub processors: u32,
    /// When the dump was made.
    pub time: FileTime,
}
