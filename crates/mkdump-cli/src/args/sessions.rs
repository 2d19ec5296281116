//! `mkdump sessions`: its arguments.

use std::path::PathBuf;

use clap::Args;

use super::exit;

/// One line a paragraph: clap breaks lines where the terminal's width asks for it.
const AFTER: &str = "\
Trace sessions keep their last events in the kernel's memory, and some keep them nowhere else. A full or kernel memory dump has all sessions, a triage dump those that were started to be copied (mode bit 0x80000000). Where the kernel has its sessions differs by update: the kernel's PDB says it, which is looked up by its GUID in the symbol stores of --modules and _NT_SYMBOL_PATH; without it a table of known kernels, the kernel's own data for debuggers, and trying the layouts of the dump's build serve, in this order.

Examples:
  mkdump sessions MEMORY.DMP
  mkdump sessions MEMORY.DMP --pdb ntkrnlmp.pdb --save 2 ckcl.etl
  mkdump sessions MEMORY.DMP --save \"Circular Kernel Context Logger\" ckcl.etl
  mkdump sessions MEMORY.DMP --all traces";

/// `mkdump sessions`.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("{AFTER}\n\n{}", exit::SESSIONS))]
pub struct SessionsCommand {
    /// A kernel dump: full, bitmap or triage
    #[arg(value_name = "DUMP")]
    pub dump: PathBuf,
    /// Write a session's buffers as a trace: its id, its name, or the address of its context, then the trace to write;
    /// repeatable
    #[arg(long, num_args = 2, value_names = ["ID|NAME", "FILE.etl"])]
    pub save: Vec<String>,
    /// Write every session that has events into this new directory
    #[arg(long, value_name = "DIR")]
    pub all: Option<PathBuf>,
    /// The kernel's PDB
    #[arg(long, value_name = "FILE")]
    pub pdb: Option<PathBuf>,
    /// Symbol store to look for the kernel's PDB in; repeatable
    #[arg(short, long, value_name = "DIR")]
    pub modules: Vec<PathBuf>,
    /// Exit with 1 when anything is doubtful: any warning, or buffers that could not be read
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
