//! `mkdump demo`, `completions` and `man`: what the package brings along.

use std::path::PathBuf;

use clap::Args;

use super::exit;

/// `mkdump demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = exit::DEMO)]
pub struct DemoCommand {
    /// Directory to put the demo's trace, modules and dump into
    #[arg(default_value = "mkdump-demo", value_name = "DIR")]
    pub directory: PathBuf,
}

/// `mkdump completions`.
#[derive(Clone, Copy, Debug, Args)]
pub struct CompletionsCommand {
    /// The shell that is to complete mkdump's command lines
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `mkdump man`.
#[derive(Clone, Debug, Args)]
pub struct ManCommand {
    /// The subcommand whose page is wanted; without it, that of mkdump itself
    #[arg(value_name = "SUBCOMMAND")]
    pub subcommand: Option<String>,
}
