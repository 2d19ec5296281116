//! `mkdump --etl …`: the main job.

use std::io::Write;

use anyhow::{Result, bail};
use mkdump::report::{BuildReport, Status};
use mkdump::{
    BuildOptions, Choice, Format, Held, ListKind, NameFilter, Output, Progress, Reading, Selection, Source, Wanted,
};

use super::session::{open, print_json, search};
use super::{Outcome, Session};
use crate::args::{self, BuildArgs};
use crate::outputs;
use crate::progress::Bars;
use crate::show::html::{Page, render};
use crate::show::next::{Job, Next, after_build};
use crate::show::{summary, text, width};

/// Builds a dump and shows what became of it.
pub fn run(command: &BuildArgs, session: &Session) -> Result<Outcome> {
    let (outcome, next) = run_and_tell(command, session)?;
    session.suggest(&next);
    Ok(outcome)
}

/// The same, but what to do next is for the caller to say.
pub(super) fn run_and_tell(command: &BuildArgs, session: &Session) -> Result<(Outcome, Vec<Next>)> {
    refuse_without_effect(command)?;
    let bars = &session.bars;
    let source = open(&command.source)?;
    let format = Format::from(command.format);
    let mut options = BuildOptions {
        search: search(&command.modules),
        output: command.output.clone().unwrap_or_else(|| source.default_output(format.extension())),
        at: command.select.at,
        names: NameFilter::new(&command.select.include, &command.select.exclude)?,
        import_optimization: command.import_optimization.into(),
        retpoline: command.retpoline.into(),
        function_overrides: command.overrides.function_override.into(),
        capabilities: command.overrides.cpu_features.clone(),
        memory: command.memory.into(),
        memory_list: command.memory_list.into(),
        format,
        timestamp: source_date_epoch(),
        threads: command.threads,
        ipt: (&command.ipt).into(),
        touched: command.touched,
        page_hits: command.report.is_some(),
    };
    check_outputs(command, &options)?;
    let reading = session.read(&source, Wanted { ipt: true, ..Wanted::default() })?;
    if command.threads && !matches!(reading.held, Some(Held::Boot(_))) {
        bail!(
            "--threads: {} is {}, and only kernel triage dumps hold threads that can be put into the output",
            source.path().display(),
            text::source_kind(reading.summary.kind)
        );
    }
    fetch_missing(command, &source, &reading, &mut options, bars)?;
    // Created before the long work: a place that cannot be written to is found out at once.
    let page = command.report.as_deref().map(Output::create).transpose().map_err(mkdump::Error::from)?;
    let report = mkdump::build(&source, &reading, &options, bars)?;
    let job = Job { source: &command.source, modules: Some(&command.modules), select: &command.select };
    let next = after_build(&report, format, &job, &options.output);
    if let Some(page) = page {
        bars.phase("writing the page", None);
        write_page(page, &report, &next)?;
    }
    session.finish(&report.warnings);
    let (talk, width) = (session.talk, width::stderr());
    if talk.verbose {
        session.say(&summary::built_modules(&report, width));
        session.say(&summary::overridden_modules(&report, width));
    }
    let shown = summary::Shown { at: command.select.at, page: command.report.as_deref(), talk, width };
    session.say(&summary::build(&report, &reading.snapshot.machine, &shown));
    if command.json {
        print_json(&report)?;
    }
    let amiss = command.strict && !report.shortcomings.is_empty();
    if amiss {
        session.warn(&[format!("not complete: {}", report.shortcomings.join("; "))]);
    }
    // A dump without code serves no purpose, whatever was asked for.
    let empty = !report.modules.iter().any(|module| module.status == Status::Included);
    Ok((if empty || amiss { Outcome::Amiss } else { Outcome::Done }, next))
}

/// Refuses options that another one leaves without effect: their user expects something of them.
fn refuse_without_effect(command: &BuildArgs) -> Result<()> {
    let is_minidump = command.format == args::Format::Minidump;
    if command.memory_list != args::MemoryList::Auto && !is_minidump {
        bail!("--memory-list has an effect with --format minidump only");
    }
    if command.memory == args::Memory::Code && command.format == args::Format::Triage {
        bail!("--memory code cannot be used with --format triage: debuggers find a module's PDB by its header");
    }
    if command.threads && !is_minidump {
        bail!("--threads has an effect with --format minidump only: other formats have no list of threads");
    }
    if command.threads && command.source.from_dump.is_empty() {
        bail!("--threads needs --from-dump: a trace holds no thread's stack and registers");
    }
    Ok(())
}

/// Refuses outputs that would replace something.
fn check_outputs(command: &BuildArgs, options: &BuildOptions) -> Result<()> {
    let named = [Some(("--output", &*options.output)), command.report.as_deref().map(|path| ("--report", path))];
    let named: Vec<_> = named.into_iter().flatten().collect();
    outputs::check(&named, &[outputs::of_source(&command.source), outputs::of_ipt(&command.ipt)].concat())?;
    match options.format {
        Format::Raw => outputs::check_directory(&options.output),
        _ if command.output.is_none() => outputs::check_default(&options.output),
        _ => Ok(()),
    }
}

/// The time that tools for reproducible builds set for all outputs: SOURCE_DATE_EPOCH, in seconds from 1970.
fn source_date_epoch() -> Option<u64> {
    std::env::var("SOURCE_DATE_EPOCH").ok()?.trim().parse().ok()
}

fn write_page(mut output: Output, report: &BuildReport, next: &[Next]) -> Result<()> {
    let mut page = Page::from(report);
    page.next = next.iter().map(|next| (next.what.to_owned(), next.line.clone())).collect();
    output.write_all(render(&page).as_bytes())?;
    Ok(output.commit().map_err(mkdump::Error::from)?)
}

/// Fetches what is missing, when a server was named, and adds the store to the places to look in.
#[cfg(feature = "fetch")]
fn fetch_missing(
    command: &BuildArgs,
    source: &Source,
    reading: &Reading<'_>,
    options: &mut BuildOptions,
    bars: &Bars,
) -> Result<()> {
    use symstore::{ServerFile, SymbolPath};

    let Some(server) = &command.symbol_server else { return Ok(()) };
    let modules = super::session::kernel_modules(source, reading, &command.select)?;
    let index = options.search.index(&modules, bars).map_err(mkdump::Error::from)?;
    let missing = mkdump::missing(&modules, &index);
    let files: Vec<_> = missing.iter().filter_map(|module| ServerFile::image(&mkdump::wanted(module)).ok()).collect();
    let store = super::fetch::store(command.store.clone(), &SymbolPath::from_environment());
    super::fetch::fetch_all(&files, std::slice::from_ref(server), store.clone(), bars)?;
    options.search.symbol_path.push(store);
    Ok(())
}

#[cfg(not(feature = "fetch"))]
fn fetch_missing(_: &BuildArgs, _: &Source, _: &Reading<'_>, _: &mut BuildOptions, _: &Bars) -> Result<()> {
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
