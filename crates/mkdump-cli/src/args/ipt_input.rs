//! Intel PT data that was saved by hand.

use std::path::PathBuf;

use clap::Args;
use mkdump::ipt::Inputs;

/// Files with Intel PT data, used like the trace's own.
#[derive(Clone, Debug, Default, Args)]
pub struct IptInputArgs {
    /// Intel PT data as hexadecimal text, as copied from a viewer; used like the trace's own; repeatable
    #[arg(long, value_name = "FILE")]
    pub ipt_hex: Vec<PathBuf>,
    /// Intel PT data as bytes: packets, or what ipt.sys hands out; used like the trace's own; repeatable
    #[arg(long, value_name = "FILE")]
    pub ipt_bin: Vec<PathBuf>,
}

impl From<&IptInputArgs> for Inputs {
    fn from(args: &IptInputArgs) -> Self {
        Self { hex: args.ipt_hex.clone(), bin: args.ipt_bin.clone() }
    }
}
