//! `mkdump --etl …`: the main job.

use anyhow::Result;
use mkdump::report::Status;
use mkdump::{BuildOptions, Choice, Format, ListKind, NameFilter, Selection, Wanted};

use super::{Outcome, open, print_json, warn};
use crate::args::{self, BuildArgs, TalkArgs};
use crate::progress::Bars;
use crate::show::text;

/// Builds a dump and shows what became of it.
pub fn run(command: &BuildArgs, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    let source = open(&command.source)?;
    let format = Format::from(command.format);
    let options = BuildOptions {
        modules: command.modules.modules.clone(),
        output: command.output.clone().unwrap_or_else(|| source.default_output(format.extension())),
        at: command.select.at.clone(),
        names: NameFilter::new(&command.select.include, &command.select.exclude)?,
        import_optimization: command.import_optimization.into(),
        retpoline: command.retpoline.into(),
        memory: command.memory.into(),
        memory_list: command.memory_list.into(),
        format,
    };
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &bars)?;
    let report = mkdump::build(&source, &reading, &options, &bars)?;
    bars.finish();
    warn(&report.warnings, talk);
    if command.json {
        print_json(&report)?;
    } else if !talk.quiet {
        eprint!("{}", text::build(&report));
    }
    let amiss = report.modules.iter().any(|m| matches!(m.status, Status::Missing | Status::Mismatch));
    Ok(if command.strict && amiss { Outcome::Amiss } else { Outcome::Done })
}

impl From<args::Switch> for Choice {
    fn from(switch: args::Switch) -> Self {
        match switch {
            args::Switch::Auto => Self::Auto,
            args::Switch::On => Self::On,
            args::Switch::Off => Self::Off,
        }
    }
}

impl From<args::Memory> for Selection {
    fn from(memory: args::Memory) -> Self {
        match memory {
            args::Memory::Code => Self::Code,
            args::Memory::Headers => Self::Headers,
            args::Memory::Image => Self::Image,
        }
    }
}

impl From<args::MemoryList> for ListKind {
    fn from(list: args::MemoryList) -> Self {
        match list {
            args::MemoryList::Auto => Self::Auto,
            args::MemoryList::Bits32 => Self::Bits32,
            args::MemoryList::Bits64 => Self::Bits64,
        }
    }
}

impl From<args::Format> for Format {
    fn from(format: args::Format) -> Self {
        match format {
            args::Format::Minidump => Self::Minidump,
            args::Format::Triage => Self::Triage,
            args::Format::Elf => Self::Elf,
            args::Format::Raw => Self::Raw,
        }
    }
}
