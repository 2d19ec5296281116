//! Where the list of modules comes from: an ETW trace, or a Windows dump.
//!
//! A [`Source`] is an opened file; [`Source::read`] goes over it once and gives a [`Reading`]: the plain [`Snapshot`]
//! that everything else works on, and what else the source holds.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::map::FileBytes;
use crate::progress::Progress;
use crate::report::SourceReport;
use crate::snapshot::Snapshot;

pub mod dump;
mod etl;

/// An opened trace or dump.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Etl(FileBytes),
}

/// What one pass over a source found.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The machine and its modules.
    pub snapshot: Snapshot,
    /// The source, summed up.
    pub summary: SourceReport,
    /// Intel PT data in the source.
    pub ipt: Vec<etl_file::IptSnapshot<'a>>,
    /// Names of processes, by process id.
    pub processes: Vec<(u32, String)>,
    /// What is damaged or doubtful, with its place.
    pub warnings: Vec<String>,
    /// The moment that `--at` names when it is not given: the end, in seconds from the start.
    pub end: f64,
    clock: Option<etl_file::Clock>,
}

/// What to collect from a source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Modules of user processes too.
    pub user_modules: bool,
    /// Intel PT data, and the processes that it belongs to.
    pub ipt: bool,
}

impl Source {
    /// Opens an ETW trace.
    pub fn open_etl(path: &Path) -> Result<Self> {
        Ok(Self { kind: Kind::Etl(FileBytes::open(path)?) })
    }

    /// The file, or the first of several.
    pub fn path(&self) -> &Path {
        match &self.kind {
            Kind::Etl(bytes) => bytes.path(),
        }
    }

    /// Where a dump of this source goes when nothing is said: the source's name with another extension.
    pub fn default_output(&self, extension: &str) -> PathBuf {
        self.path().with_extension(extension)
    }

    /// Goes over the source.
    pub fn read(&self, wanted: Wanted, progress: &dyn Progress) -> Result<Reading<'_>> {
        match &self.kind {
            Kind::Etl(bytes) => etl::read(bytes, wanted, progress),
        }
    }
}

impl Reading<'_> {
    /// Resolves the value of `--at`: seconds from the start of the trace, or a raw timestamp of its clock. A number
    /// without a fraction that lies between the session's first and last tick is a raw timestamp.
    pub fn moment(&self, at: Option<&str>) -> Result<f64> {
        let Some(text) = at else { return Ok(self.end) };
        let bad = |why: &str| crate::Error::Option { option: "--at", value: text.to_owned(), why: why.to_owned() };
        let seconds: f64 = text.parse().map_err(|_| bad("neither seconds nor a raw timestamp"))?;
        if !seconds.is_finite() {
            return Err(bad("not a moment"));
        }
        if let (Some(clock), Ok(tick)) = (&self.clock, text.parse::<i64>())
            && tick >= clock.start().0
            && clock.start().0 > 0
        {
            return Ok(clock.seconds(etl_file::Tick(tick)));
        }
        Ok(seconds)
    }
}
