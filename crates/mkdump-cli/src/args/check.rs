//! Arguments of `mkdump check`.

use std::path::PathBuf;

use clap::Args;

use super::exit;

/// `mkdump check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = exit::CHECK)]
pub struct CheckCommand {
    /// The dump: user minidump, or kernel triage, full or bitmap dump
    #[arg(value_name = "DUMP")]
    pub dump: PathBuf,
    /// A real machine's dump to compare with, byte by byte
    #[arg(long, value_name = "REAL")]
    pub against: Option<PathBuf>,
    /// Directory, symbol store, mounted Windows volume or zip archive with module files, which tell the places that a
    /// loader may change; repeatable
    #[arg(short, long, value_name = "DIR", requires = "against")]
    pub modules: Vec<PathBuf>,
    /// Do not remember what was read of module files
    #[arg(long)]
    pub no_cache: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
