//! `mkdump extract`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Args;
use etl_extract::Provider;

use super::values::range;
use super::{exit, values};

/// One line a paragraph: clap breaks lines where the terminal's width asks for it.
const AFTER: &str = "\
Kept are kernel image events with their identities, the kernel's base, the system's version and processors, the clock, Intel PT data with its triggers, and of processes and threads the ids and page tables. Paths outside of Windows and program folders are cut to file names. Left out are the computer's name, names and command lines of processes, users, and the events of every other provider.

Examples:
  mkdump extract --etl trace.etl -o share.etl --audit
  mkdump extract --etl trace.etl -o share.etl --time 1.5-3 --keep Microsoft-Windows-Kernel-LiveDump";

/// `mkdump extract`.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("{AFTER}\n\n{}", exit::EXTRACT))]
pub struct ExtractCommand {
    /// An ETW trace
    #[arg(long, value_name = "FILE", required = true)]
    pub etl: PathBuf,
    /// The trace to write
    #[arg(short, long, value_name = "FILE", required = true)]
    pub output: PathBuf,
    /// Keep the events of this provider too, with all they say: a GUID, or the name of a kernel class such as Registry;
    /// repeatable
    #[arg(long, value_name = "PROVIDER")]
    pub keep: Vec<Provider>,
    /// Only Intel PT data of this time, in seconds from the start of the trace; modules, processes and threads are kept
    /// whenever they were logged
    #[arg(long, value_name = "A-B", value_parser = seconds)]
    pub time: Option<RangeInclusive<f64>>,
    /// Only these snapshots of Intel PT data, by number, as `mkdump ipt` lists them
    #[arg(long, value_name = "N[,N|A-B]", value_delimiter = ',', value_parser = range)]
    pub snapshot: Vec<RangeInclusive<usize>>,
    /// Do not compress
    #[arg(long)]
    pub plain: bool,
    /// List every text that is left in the file
    #[arg(long)]
    pub audit: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Two times with a hyphen between, each as lists show it.
fn seconds(text: &str) -> Result<RangeInclusive<f64>, String> {
    let allowed = || "allowed are two times, such as 1.5-3 or 1m40s-2m".to_owned();
    let number = |text: &str| values::seconds(text).ok().filter(|number| *number >= 0.0);
    let (from, to) = text.split_once('-').ok_or_else(allowed)?;
    let (from, to) = number(from).zip(number(to)).ok_or_else(allowed)?;
    if to < from { Err(format!("{to} comes before {from}")) } else { Ok(from..=to) }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times() {
        assert_eq!(seconds("1.5-3"), Ok(1.5..=3.0));
        for bad in ["", "1", "3-1", "a-b", "-1-2", "1-nan", "1-inf"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
