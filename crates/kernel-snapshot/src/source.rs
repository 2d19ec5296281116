//! Where the list of modules comes from: an ETW trace, or a Windows dump.
//!
//! A [`Source`] is an opened file; [`Source::read`] goes over it once and gives a [`Reading`]: the plain [`Snapshot`]
//! that everything else works on, and what else the source holds.

use std::path::{Path, PathBuf};

use crate::dump::{self, Boot, Dump};
use crate::file_bytes::FileBytes;
use crate::moment::{self, Moment, MomentError};
use crate::progress::Progress;
use crate::snapshot::{OsVersion, Snapshot};

mod dumps;
mod error;
mod etl;
mod in_dump;
mod losses;
mod recording;

pub use error::{SourceError, SourceErrorKind};
pub use recording::OtherRecording;

/// An opened trace or dump.
#[derive(Debug)]
pub struct Source {
    kind: Kind,
    /// Traces in a dump.
    in_dump: in_dump::Traces,
}

#[derive(Debug)]
enum Kind {
    /// At least one, of one recording.
    Etl(Vec<FileBytes>),
    /// At least one.
    Dumps(Vec<FileBytes>),
}

/// What a dump holds besides its module list.
#[derive(Debug)]
pub enum Held<'a> {
    /// Triage dumps of one boot, or a single one.
    Boot(Box<Boot<'a>>),
    /// A dump of another kind.
    Dump(Box<Dump<'a>>),
}

/// What one pass over a source found.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The machine and its modules.
    pub snapshot: Snapshot,
    /// The source, summed up.
    pub summary: Summary,
    /// Intel PT data in the source.
    pub ipt: Vec<etl_file::IptSnapshot<'a>>,
    /// Processes, by id and time; collected with Intel PT data.
    pub processes: Vec<etl_file::Process>,
    /// Threads, by id and time; collected with Intel PT data.
    pub threads: Vec<etl_file::Thread>,
    /// What is damaged or doubtful, with its place.
    pub warnings: Vec<String>,
    /// Noteworthy facts about a source that is not damaged.
    pub notes: Vec<String>,
    /// What was lost of a trace and what follows from it, in a sentence; `None` when nothing says that anything was.
    pub lost: Option<String>,
    /// Names of trace files beside the source that were recorded at the same time, when the source is a single trace and
    /// lacks kernel modules, or Intel PT data that was asked for: they may hold it.
    pub siblings: Vec<String>,
    /// The dump, when the source is one.
    pub held: Option<Held<'a>>,
    /// The end of the trace in seconds from its start; infinite when it is not known, and for a dump.
    pub end: f64,
    clock: Option<etl_file::Clock>,
}

/// A source, summed up.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What it is.
    pub kind: SourceKind,
    /// File name; of several files all names, with ", " between.
    pub name: String,
    /// Windows version.
    pub os: OsVersion,
    /// Number of logical processors, when known.
    pub processors: Option<u32>,
    /// 4 or 8.
    pub pointer_size: u8,
    /// When the trace began or the dump was taken: UTC, ISO 8601.
    pub start: Option<String>,
    /// Seconds that the trace covers; `None` for one that was never finalised, and for a dump.
    pub duration: Option<f64>,
    /// Every event with a whole header and body.
    pub events: u64,
    /// Events that the session lost, as the log file header says.
    pub events_lost: u64,
    /// Every buffer whose header is there.
    pub buffers: u64,
    /// Events that carry Intel PT data.
    pub ipt_events: u64,
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// An ETW trace.
    Trace,
    /// A dump.
    Dump(dump::Kind),
}

impl SourceKind {
    /// The name in JSON: `etl`, or the kind of dump.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "etl",
            Self::Dump(kind) => kind.name(),
        }
    }
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
    pub fn open_etl(path: &Path) -> Result<Self, SourceError> {
        Self::open_etls(&[path.to_owned()])
    }

    /// Opens the trace files of one recording: that of the kernel's session and those of others. Whether they belong
    /// together is found out when they are read.
    pub fn open_etls(paths: &[PathBuf]) -> Result<Self, SourceError> {
        let traces: Vec<_> = paths.iter().map(|path| FileBytes::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { kind: Kind::Etl(traces), in_dump: in_dump::Traces::new() })
    }

    /// Opens a Windows dump, or several triage dumps of one boot.
    pub fn open_dumps(paths: &[PathBuf]) -> Result<Self, SourceError> {
        let dumps: Vec<_> = paths.iter().map(|path| FileBytes::open(path)).collect::<Result<_, _>>()?;
        Ok(Self { kind: Kind::Dumps(dumps), in_dump: in_dump::Traces::new() })
    }

    /// The traces, their headers read; none for a dump.
    ///
    /// # Errors
    /// When a file is not a trace.
    pub fn traces(&self) -> Result<Vec<etl_file::Trace<'_>>, SourceError> {
        match &self.kind {
            Kind::Etl(files) => etl::open(files),
            Kind::Dumps(_) => Ok(Vec::new()),
        }
    }

    /// Whether it is a trace.
    pub fn is_trace(&self) -> bool {
        matches!(self.kind, Kind::Etl(_))
    }

    /// The file, or the first of several.
    pub fn path(&self) -> &Path {
        self.files().first().map_or(Path::new(""), FileBytes::path)
    }

    /// All files of it, in the order in which they were given.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files().iter().map(FileBytes::path)
    }

    fn files(&self) -> &[FileBytes] {
        match &self.kind {
            Kind::Etl(files) | Kind::Dumps(files) => files,
        }
    }

    /// Where a dump of this source goes when nothing is said: the source's name with another extension.
    pub fn default_output(&self, extension: &str) -> PathBuf {
        match &self.kind {
            Kind::Etl(_) => self.path().with_extension(extension),
            // The source has that extension already.
            Kind::Dumps(_) => self.path().with_extension(format!("mkdump.{extension}")),
        }
    }

    /// Goes over the source.
    pub fn read(&self, wanted: Wanted, progress: &dyn Progress) -> Result<Reading<'_>, SourceError> {
        match &self.kind {
            Kind::Etl(traces) => etl::read(traces, wanted, progress),
            Kind::Dumps(dumps) => {
                let mut reading = dumps::read(dumps, progress)?;
                if wanted.ipt {
                    in_dump::add(&mut reading, &self.in_dump);
                }
                Ok(reading)
            }
        }
    }
}

/// The names of files, with ", " between.
fn names(files: &[FileBytes]) -> String {
    files.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn name(file: &FileBytes) -> String {
    file.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Reading<'_> {
    /// Seconds from the start of the trace to a tick of its clock; `None` when the source is not a trace.
    pub fn seconds(&self, tick: etl_file::Tick) -> Option<f64> {
        self.clock.as_ref().map(|clock| clock.seconds(tick))
    }

    /// The end of a sentence about what the source lacks: the traces beside it that may hold `what`; empty without any.
    pub fn siblings_may_hold(&self, what: &str) -> String {
        match &*self.siblings {
            [] => String::new(),
            [one] => format!("; {one} beside it was recorded at the same time and may hold {what}"),
            more => format!("; {} beside it were recorded at the same time and may hold {what}", more.join(", ")),
        }
    }

    /// The tick nearest to a time in seconds from the start of the trace; `None` when the source is not a trace.
    pub fn tick(&self, seconds: f64) -> Option<etl_file::Tick> {
        self.clock.as_ref().map(|clock| clock.tick_at_seconds(seconds))
    }

    /// Resolves a moment to seconds from the start of the trace; the end when none is named.
    ///
    /// # Errors
    /// When the source does not have the moment.
    pub fn moment(&self, at: Option<Moment>) -> Result<f64, MomentError> {
        at.map_or(Ok(self.end), |at| moment::resolve(at, self.clock.as_ref(), self.end))
    }
}
