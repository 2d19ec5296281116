//! What every command does around its own work: open and read the source, show progress, warn, print.

use std::io::{self, Write};

use anyhow::Result;
use mkdump::snapshot::Module;
use mkdump::{NameFilter, Reading, Search, Source, Wanted};
use serde::Serialize;
use symstore::{Cache, SymbolPath};

use crate::args::{ModulesArgs, SelectArgs, SourceArgs, TalkArgs};
use crate::log;
use crate::progress::Bars;
use crate::show::next::Next;
use crate::show::{json, summary, text};

/// One run of a command: how much it says, and the progress that it shows.
pub struct Session {
    /// How much to say.
    pub talk: TalkArgs,
    /// What it is doing.
    pub bars: Bars,
}

impl Session {
    /// Nothing is shown yet.
    pub fn new(talk: TalkArgs) -> Self {
        Self { talk, bars: Bars::new(talk.quiet, talk.verbose) }
    }

    /// Goes over a source.
    pub fn read<'s>(&self, source: &'s Source, wanted: Wanted) -> Result<Reading<'s>> {
        Ok(source.read(wanted, &self.bars).map_err(mkdump::Error::from)?)
    }

    /// Prints warnings on stderr, under the progress shown so far.
    pub fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            log::line("warn", warning);
            if !self.talk.quiet {
                let _ = writeln!(io::stderr(), "{}", text::warning(warning, self.talk));
            }
        }
    }

    /// Ends the work: removes the progress, and prints the warnings.
    pub fn finish(&self, warnings: &[String]) {
        self.bars.finish();
        self.warn(warnings);
    }

    /// Prints talk on stderr; it may be lost.
    pub fn say(&self, talk: &str) {
        if !self.talk.quiet {
            let _ = io::stderr().write_all(talk.as_bytes());
        }
    }

    /// Says on stderr which source was read.
    pub fn introduce(&self, reading: &Reading<'_>) {
        self.say(&summary::source(&(&reading.summary).into(), &reading.snapshot.machine));
    }

    /// Prints what to do next on stderr.
    pub fn suggest(&self, next: &[Next]) {
        self.say(&summary::next(next, self.talk));
    }
}

/// Opens the trace or dump that the arguments name.
pub fn open(source: &SourceArgs) -> Result<Source> {
    let opened = match &*source.etl {
        [] => Source::open_dumps(&source.from_dump),
        traces => Source::open_etls(traces),
    };
    Ok(opened.map_err(mkdump::Error::from)?)
}

/// Where module files are looked for: the directories given, and those of the environment's symbol path.
pub fn search(modules: &ModulesArgs) -> Search {
    let mut search = Search::new(modules.modules.clone(), &SymbolPath::from_environment());
    if modules.no_cache {
        search.cache = Cache::Off;
    }
    search
}

/// Places where module files are looked for only if they were given: the current directory is not looked through unasked.
pub fn search_given(modules: &ModulesArgs) -> Search {
    Search { roots: modules.modules.clone(), ..search(modules) }
}

/// The kernel modules of a source that the arguments select.
///
/// # Errors
/// When the source names no kernel modules, or the choice leaves none.
pub fn kernel_modules(source: &Source, reading: &Reading<'_>, select: &SelectArgs) -> Result<Vec<Module>> {
    let mut modules = mkdump::require_kernel_modules(source, reading)?;
    let names = NameFilter::new(&select.include, &select.exclude)?;
    let moment = select.at.map(|at| reading.moment(Some(at))).transpose().map_err(mkdump::Error::from)?;
    names.require_match(&modules).map_err(mkdump::Error::from)?;
    modules
        .retain(|module| names.rejects(&module.name).is_none() && moment.is_none_or(|moment| module.live_at(moment)));
    Ok(modules)
}

/// Prints a value as JSON on stdout.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    print(&json::pretty(value)?)
}

/// Prints text on stdout.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
