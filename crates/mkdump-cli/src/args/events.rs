//! `mkdump events`.

use std::path::PathBuf;

use clap::Args;
use etw_decode::EventChoice;

use super::exit;
use super::values::{id, seconds};

/// One line a paragraph: clap breaks lines where the terminal's width asks for it.
const AFTER: &str = "\
A line has the time in seconds from the start of the trace, the processor, process and thread, the provider or kernel class, the event by name or number, and what it says: its sentence or its fields. Named are kernel events, TraceLogging events, live dumps, and the events of given manifests; of others there are id, version and payload.

Examples:
  mkdump events --etl trace.etl --count
  mkdump events --etl trace.etl --provider Process --event ProcessStart
  mkdump events --etl trace.etl --provider Microsoft-Windows-Kernel-LiveDump
  mkdump events --etl trace.etl --from 1.5 --to 1.6 --cpu 0 --json";

/// `mkdump events`.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("{AFTER}\n\n{}", exit::EVENTS))]
pub struct EventsCommand {
    /// An ETW trace
    #[arg(long, value_name = "FILE", required = true)]
    pub etl: PathBuf,
    /// An instrumentation manifest that names a provider's events and fields; repeatable
    #[arg(long, value_name = "FILE")]
    pub manifest: Vec<PathBuf>,
    /// Which events.
    #[command(flatten)]
    pub choice: EventArgs,
    /// Print how many events there are of each provider and kind
    #[arg(long, conflicts_with = "last")]
    pub count: bool,
    /// Exit with 1 when the trace is damaged, or events are missing from it
    #[arg(long)]
    pub strict: bool,
    /// Print JSON, an object a line
    #[arg(long)]
    pub json: bool,
}

/// Which events: those for which everything given holds.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which events")]
pub struct EventArgs {
    /// Of this provider or kernel class, by name or GUID; repeatable
    #[arg(long, value_name = "NAME|GUID")]
    pub provider: Vec<String>,
    /// Events of this name, id or hook id, as CSwitch, 12 or 0x524; repeatable
    #[arg(long, value_name = "NAME|ID")]
    pub event: Vec<EventChoice>,
    /// Of this process; repeatable
    #[arg(long, value_name = "PID", value_parser = id)]
    pub process: Vec<u32>,
    /// Of this thread, as 100 or 0x64; of context switches those to it and from it; repeatable
    #[arg(long, value_name = "TID", value_parser = id)]
    pub thread: Vec<u32>,
    /// Of this logical processor; repeatable
    #[arg(long, value_name = "N")]
    pub cpu: Vec<u16>,
    /// At this time or later: seconds from the start of the trace, or as 1m40.5s
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_negative_numbers = true)]
    pub from: Option<f64>,
    /// At this time or earlier
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_negative_numbers = true)]
    pub to: Option<f64>,
    /// Only the last N of them
    #[arg(long, value_name = "N")]
    pub last: Option<u64>,
}
