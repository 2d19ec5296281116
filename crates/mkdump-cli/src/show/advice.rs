//! What a person can do about an error of the library, in terms of this command.

use std::error::Error as _;
use std::path::Path;

use mkdump::ipt::InputErrorKind;
use mkdump::ipt::choose::Condition;
use mkdump::snapshot::SourceErrorKind;
use mkdump::{Error, FileKind, SearchErrorKind};

/// How to record a trace that names kernel modules.
pub const HOW_TO_RECORD: &str = "\
Record the loaded modules, as administrator, with one of:
  wpr -start GeneralProfile          then   wpr -stop trace.etl
  xperf -on PROC_THREAD+LOADER       then   xperf -d trace.etl
Both log what is loaded when the recording starts or stops, and merge the files' identities into the trace.
If the recording is in several files, name each with --etl.";

/// Which dumps name kernel modules.
const WHICH_DUMPS_NAME_MODULES: &str = "\
A user minidump names the modules of one process. Kernel modules are named by kernel dumps: a small memory dump \
(C:\\Windows\\Minidump) or MEMORY.DMP.";

/// How to get Intel PT data into a trace.
pub const HOW_TO_RECORD_IPT: &str = "\
Windows 1803 and later attach it to up to four kinds of events of a kernel session when a program asks for it:
  NtSetSystemInformation(SystemPerformanceTraceInformation) with the classes
  EventTraceProcessorTraceConfigurationInformation and EventTraceProcessorTraceEventListInformation.
Neither wpr nor xperf has a public option for it. Record the Loader events in the same session.
Data saved by hand works as well: --ipt-hex FILE, --ipt-bin FILE";

/// Where module files may come from.
const WHERE_MODULES_ARE: &str = "\
Pass a directory, symbol store, mounted Windows volume or zip archive with --modules; other files in it do no harm.
`mkdump fetch` gets the files from a symbol server.";

/// The option that led to an error, with its value where the error's own text does not say it.
pub fn option(error: &Error) -> Option<String> {
    Some(match error {
        Error::Moment(_) => "--at".to_owned(),
        Error::NoNameMatches { .. } => "--include, --exclude".to_owned(),
        Error::NothingTouched { .. } => "--touched".to_owned(),
        Error::Input(input) => match input.kind() {
            InputErrorKind::NotIpt => "--ipt-bin".to_owned(),
            InputErrorKind::NotHex => "--ipt-hex".to_owned(),
            _ => return None,
        },
        Error::Format { format, .. } => format!("--format {format}"),
        Error::Choice(choice) => match choice.condition {
            Condition::Number => "--snapshot".to_owned(),
            Condition::From => "--from".to_owned(),
            Condition::To => "--to".to_owned(),
            Condition::Cpu => "--cpu".to_owned(),
            Condition::Process => "--process".to_owned(),
            Condition::Thread => "--thread".to_owned(),
            _ => return None,
        },
        _ => return None,
    })
}

/// What a command works on: advice must not name an option that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// A trace or a dump, by option.
    Sources,
    /// Dumps, as its arguments.
    Dumps,
}

/// What to do about an error, in lines of their own that hold nothing from a file; `None` when the error says it all.
pub fn of(error: &Error, takes: Takes) -> Option<String> {
    match error {
        Error::NoModules { path, .. } if FileKind::of(path) == Some(FileKind::Dump) => {
            Some(WHICH_DUMPS_NAME_MODULES.to_owned())
        }
        Error::NoModules { .. } | Error::NoCode { .. } => Some(HOW_TO_RECORD.to_owned()),
        Error::NoIpt { .. } => Some(HOW_TO_RECORD_IPT.to_owned()),
        Error::Search(search) if search.kind() == SearchErrorKind::NoFiles => Some(WHERE_MODULES_ARE.to_owned()),
        Error::NothingTouched { .. } => {
            Some("Pass Intel PT data saved by hand with --ipt-hex or --ipt-bin.".to_owned())
        }
        Error::Architecture { .. } => Some("`mkdump modules` lists its modules with their bases and keys.".to_owned()),
        Error::Format { .. } => Some("Use --format minidump.".to_owned()),
        Error::Source(error) => match error.kind() {
            SourceErrorKind::NotATrace => not_a_trace(FileKind::of(error.path())?),
            SourceErrorKind::NotADump => not_a_dump(FileKind::of(error.path())?, takes),
            SourceErrorKind::Unreadable => unreadable(error.path()),
            _ => None,
        },
        Error::Input(error) => match error.found() {
            Some(kind) => Some(not_ipt(kind)),
            None => unreadable(error.path()),
        },
        Error::Read { path, .. } => unreadable(path),
        _ => None,
    }
}

fn unreadable(path: &Path) -> Option<String> {
    path.is_dir().then(|| "That is a directory; name the file in it.".to_owned())
}

/// What a file is that was taken for a trace or a dump, and why it cannot be read: the reason with its bytes when
/// `verbose`, or when nothing better is known. `None` for other errors.
pub fn wrong_file(error: &Error, verbose: bool) -> Option<String> {
    let Error::Source(error) = error else { return None };
    let (wanted, right) = match error.kind() {
        SourceErrorKind::NotATrace => ("an ETW trace", FileKind::Trace),
        SourceErrorKind::NotADump => ("a Windows dump", FileKind::Dump),
        _ => return None,
    };
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let source = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let kind = FileKind::of(error.path()).filter(|kind| *kind != right);
    let path = error.path().display();
    Some(match kind.map(|kind| (kind, what(kind))) {
        // A damaged file of the right kind, or one that cannot be looked at again.
        None => format!("{path}: not {wanted} that can be read: {source}"),
        Some((_, Some(what))) if verbose => format!("{path}: not {wanted}: this is {what} ({source})"),
        Some((_, Some(what))) => format!("{path}: not {wanted}: this is {what}"),
        Some((_, None)) if verbose => format!("{path}: not {wanted}: {source}"),
        Some((_, None)) => format!("{path}: not {wanted} (-v says what is in it)"),
    })
}

fn not_a_trace(kind: FileKind) -> Option<String> {
    Some(match kind {
        FileKind::Trace => return None,
        FileKind::Dump => "Pass a Windows dump with --from-dump.".to_owned(),
        kind => after(
            kind,
            "A trace is the .etl file that wpr -stop or xperf -d writes, or a raw log of the kernel's session.",
        ),
    })
}

fn not_a_dump(kind: FileKind, takes: Takes) -> Option<String> {
    Some(match kind {
        FileKind::Dump => return None,
        FileKind::Trace if takes == Takes::Sources => "Pass an ETW trace with --etl.".to_owned(),
        FileKind::Trace => "This command takes dumps only: a trace holds no thread's stack and no memory.".to_owned(),
        kind => after(kind, "A dump is a .dmp file: MEMORY.DMP, one of the Minidump directory, or a user minidump."),
    })
}

fn not_ipt(kind: FileKind) -> String {
    let what = what(kind).map(|what| format!("This is {what}. ")).unwrap_or_default();
    let hint = match kind {
        FileKind::Trace => "Pass it with --etl.",
        FileKind::Dump => "Pass it with --from-dump.",
        FileKind::Text => "Pass hexadecimal text with --ipt-hex.",
        _ => "Intel PT data is a file of packets, or what ipt.sys hands out.",
    };
    format!("{what}{hint}")
}

/// What to do with a file of another kind, and what is wanted instead.
fn after(kind: FileKind, wanted: &str) -> String {
    let hint = match kind {
        FileKind::Empty | FileKind::Zeros => {
            "The copy or download may have failed, or the machine crashed while it was written."
        }
        FileKind::Image => "Put module files in a directory and pass it with --modules.",
        FileKind::Zip | FileKind::Cabinet | FileKind::SevenZip | FileKind::Rar => {
            "Unpack it: the file that is wanted may be inside."
        }
        FileKind::Gzip | FileKind::Xz | FileKind::Bzip2 | FileKind::Zstd => {
            "Unpack it: the file that is wanted may be inside."
        }
        FileKind::Text => "It may be an export of the trace (tracerpt, xperf -a dumper), or an error page.",
        FileKind::EventLog => "It holds events for people to read, and does not say which modules were loaded where.",
        FileKind::EtlX => "Take the .etl file that it was made from.",
        FileKind::RtBackup => "It is made for the session that wrote it. Record a trace into a file instead.",
        _ => return wanted.to_owned(),
    };
    format!("{hint}\n{wanted}")
}

/// A kind of file with its article; `None` when nothing is known of it.
fn what(kind: FileKind) -> Option<&'static str> {
    Some(match kind {
        FileKind::Empty => "an empty file",
        FileKind::Zeros => "a file of zeros",
        FileKind::Trace => "an ETW trace",
        FileKind::Dump => "a Windows dump",
        FileKind::Image => "a PE image",
        FileKind::Zip => "a zip archive",
        FileKind::Cabinet => "a cabinet",
        FileKind::SevenZip => "a 7z archive",
        FileKind::Rar => "a RAR archive",
        FileKind::Gzip => "a gzip file",
        FileKind::Xz => "an xz file",
        FileKind::Bzip2 => "a bzip2 file",
        FileKind::Zstd => "a Zstandard file",
        FileKind::Pdb => "a PDB with symbols, which only a debugger reads",
        FileKind::Text => "text",
        FileKind::EventLog => "a Windows event log (.evtx)",
        FileKind::NetTrace => "a trace of the .NET runtime (.nettrace)",
        FileKind::EtlX => "a trace that PerfView has converted (.etlx)",
        FileKind::Capture => "a network capture",
        FileKind::RtBackup => "a backup of a real-time session (RtBackup)",
        FileKind::PerfData => "data of Linux perf",
        FileKind::Ctf => "a trace in the Common Trace Format",
        FileKind::Registry => "a registry hive",
        FileKind::Sqlite => "an SQLite database",
        FileKind::Elf => "an ELF file",
        _ => return None,
    })
}
