//! `mkdump ipt`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mkdump::report::ipt::SymbolPattern;

use super::values::{id, level, range, seconds, symbol};
use super::{IptInputArgs, ModulesArgs, OverrideArgs, SourceArgs, Switch, exit};

/// `mkdump ipt`.
#[derive(Clone, Debug, Args)]
#[command(after_help = exit::IPT)]
pub struct IptCommand {
    /// Where the modules are named.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where their files are.
    #[command(flatten)]
    pub modules: ModulesArgs,
    /// Intel PT data besides the trace's own.
    #[command(flatten)]
    pub ipt: IptInputArgs,
    /// Which snapshots.
    #[command(flatten)]
    pub choice: SnapshotArgs,
    /// Follow code with import calls as rewritten by the kernel, or as linked: auto asks the data, then the build number
    #[arg(long, value_enum, default_value_t = Switch::Auto, value_name = "MODE")]
    pub import_optimization: Switch,
    /// Follow code with indirect branches as rewritten for retpoline, or as linked: auto asks the data
    #[arg(long, value_enum, default_value_t = Switch::Auto, value_name = "MODE")]
    pub retpoline: Switch,
    /// Function overrides.
    #[command(flatten)]
    pub overrides: OverrideArgs,
    /// Show each vote of the verdict: site, expected target, snapshot and packet
    #[arg(long, conflicts_with = "trace_flow")]
    pub evidence: bool,
    /// Print the executed code in order, by module and offset, with names where PDBs are at hand
    #[arg(long)]
    pub trace_flow: bool,
    /// Show the last N events before each snapshot, of its thread and on its processor, a line for each
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    #[arg(conflicts_with_all = ["trace_flow", "calls", "folded", "functions", "json", "from_dump"])]
    pub context: Option<u16>,
    /// Which calls.
    #[command(flatten)]
    pub calls: CallArgs,
    /// Say how the trace's Intel PT events are made, for a report about a trace that is misread: no names, no paths, no data
    #[arg(long, conflicts_with_all = ["trace_flow", "calls", "folded", "functions", "coverage", "evidence", "context", "json", "strict", "modules"])]
    pub diagnose: bool,
    /// Exit with 1 when the packets cannot be followed well, so that the result is not to be believed
    #[arg(long)]
    pub strict: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The call tree.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Calls")]
pub struct CallArgs {
    /// Print which function called which, as a tree, with repetitions folded
    #[arg(long, conflicts_with_all = ["trace_flow", "evidence"])]
    pub calls: bool,
    /// List the functions that ran, over all snapshots: calls, instructions, and by module
    #[arg(long, conflicts_with_all = ["trace_flow", "evidence", "calls", "folded"])]
    pub functions: bool,
    /// Only the last N lines of each tree, and the callers of what is in them
    #[arg(long, value_name = "N", requires = "calls")]
    pub last: Option<usize>,
    /// Only N levels of each tree
    #[arg(long, value_name = "N", requires = "calls", value_parser = level)]
    pub depth: Option<usize>,
    /// Only what begins at functions of this name: a glob pattern, with or without the module, as Fs* or ntfs!Fs*
    #[arg(long, value_name = "NAME", requires = "calls", value_parser = symbol)]
    pub from_symbol: Option<SymbolPattern>,
    /// Write the stacks of all calls with their instructions, a line for each, as flame graph tools read them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace_flow", "evidence"])]
    pub folded: Option<PathBuf>,
    /// Write which code ran, a basic block for each entry, as coverage tools read it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace_flow", "evidence", "calls", "functions", "folded", "context", "json"])]
    pub coverage: Option<PathBuf>,
    /// How the file of --coverage is written
    #[arg(long, value_enum, default_value_t = CoverageFormat::Drcov, value_name = "FORMAT", requires = "coverage")]
    pub coverage_format: CoverageFormat,
}

/// Forms of coverage files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CoverageFormat {
    /// The log of DynamoRIO's drcov, version 2, for Lighthouse and others.
    #[default]
    Drcov,
    /// Text: module+offset, a line for each block.
    Offsets,
}

/// Which snapshots: those for which everything given holds.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which snapshots")]
pub struct SnapshotArgs {
    /// By number, as the list of snapshots shows it: N, A-B, several with commas between
    #[arg(long, value_name = "N[,N|A-B]", value_delimiter = ',', value_parser = range)]
    pub snapshot: Vec<RangeInclusive<usize>>,
    /// Triggered at this time or later: seconds from the start of the trace, or as 1m40.5s
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub from: Option<f64>,
    /// Triggered at this time or earlier
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub to: Option<f64>,
    /// Of this process; repeatable
    #[arg(long, value_name = "NAME|PID")]
    pub process: Vec<String>,
    /// Of this thread, as 100 or 0x64; repeatable
    #[arg(long, value_name = "TID", value_parser = id)]
    pub thread: Vec<u32>,
    /// Of this logical processor; repeatable
    #[arg(long, value_name = "N")]
    pub cpu: Vec<u16>,
}
