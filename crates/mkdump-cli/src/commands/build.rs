//! `mkdump --etl …`: the main job.

use anyhow::Result;
use mkdump::report::Status;
use mkdump::{BuildOptions, Choice, Format, ListKind, NameFilter, Reading, Selection, Wanted};

use super::{Outcome, open, print_json, search, warn};
use crate::args::{self, BuildArgs, TalkArgs};
use crate::progress::Bars;
use crate::show::text;

/// Builds a dump and shows what became of it.
pub fn run(command: &BuildArgs, talk: TalkArgs) -> Result<Outcome> {
    let bars = Bars::new(talk.quiet, talk.verbose);
    let source = open(&command.source)?;
    let format = Format::from(command.format);
    let mut options = BuildOptions {
        search: search(&command.modules),
        output: command.output.clone().unwrap_or_else(|| source.default_output(format.extension())),
        at: command.select.at.clone(),
        names: NameFilter::new(&command.select.include, &command.select.exclude)?,
        import_optimization: command.import_optimization.into(),
        retpoline: command.retpoline.into(),
        memory: command.memory.into(),
        memory_list: command.memory_list.into(),
        format,
        threads: command.threads,
        ipt: (&command.ipt).into(),
        touched: command.touched,
    };
    let reading = source.read(Wanted { ipt: true, ..Wanted::default() }, &bars)?;
    fetch_missing(command, &reading, &mut options, &bars)?;
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

/// Fetches what is missing, when a server was named, and adds the store to the places to look in.
#[cfg(feature = "fetch")]
fn fetch_missing(command: &BuildArgs, reading: &Reading<'_>, options: &mut BuildOptions, bars: &Bars) -> Result<()> {
    use mkdump::catalog::{ServerFile, SymbolPath};

    let Some(server) = &command.symbol_server else { return Ok(()) };
    let modules = super::kernel_modules(reading, &command.select)?;
    let index = options.search.index(&modules, bars)?;
    let missing = mkdump::missing(&modules, &index);
    let files: Vec<_> = missing.iter().filter_map(|module| ServerFile::image(&module.wanted()).ok()).collect();
    let store = super::fetch::store(command.store.clone(), &SymbolPath::from_environment());
    super::fetch::fetch_all(&files, std::slice::from_ref(server), store.clone(), bars)?;
    options.search.symbol_path.push(store);
    Ok(())
}

#[cfg(not(feature = "fetch"))]
fn fetch_missing(_: &BuildArgs, _: &Reading<'_>, _: &mut BuildOptions, _: &Bars) -> Result<()> {
    Ok(())
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
