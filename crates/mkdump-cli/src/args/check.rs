//! Arguments of `mkdump check`.

use std::path::PathBuf;

use clap::Args;

const EXIT: &str = "\
Exit codes: 0 all rules kept and every difference explained; 1 a rule is broken that some reader minds, a difference is
unexplained, or import or retpoline sites have another form than in REAL, so that the dump is not the code that ran there;
2 the check could not be done, or the two dumps hold no byte of the same module.";

/// `mkdump check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXIT)]
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
