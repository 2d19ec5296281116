//! What a person can do about an error of the library, in terms of this command.

use mkdump::ipt::choose::Condition;
use mkdump::{Error, FileKind};

/// How to record a trace that names kernel modules.
pub const HOW_TO_RECORD: &str = "\
Record the loaded modules, as administrator, with one of:
  wpr -start GeneralProfile          then   wpr -stop trace.etl
  xperf -on PROC_THREAD+LOADER       then   xperf -d trace.etl
Both log what is loaded when the recording starts or stops, and merge the files' identities into the trace.";

/// How to get Intel PT data into a trace.
pub const HOW_TO_RECORD_IPT: &str = "\
Windows 1803 and later attach it to up to four kinds of events of a kernel session, when a program asks for it:
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
        Error::NotIpt { .. } => "--ipt-bin".to_owned(),
        Error::Hex { .. } => "--ipt-hex".to_owned(),
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

/// What to do about an error, in lines of their own that hold nothing from a file; `None` when the error says it all.
pub fn of(error: &Error) -> Option<String> {
    match error {
        Error::NoModules { .. } => Some(HOW_TO_RECORD.to_owned()),
        Error::NoIpt { .. } => Some(HOW_TO_RECORD_IPT.to_owned()),
        Error::NoFiles { .. } => Some(WHERE_MODULES_ARE.to_owned()),
        Error::NothingTouched { .. } => {
            Some("Pass Intel PT data saved by hand with --ipt-hex or --ipt-bin.".to_owned())
        }
        Error::Architecture { .. } => Some("`mkdump modules` lists its modules with their bases and keys.".to_owned()),
        Error::Format { .. } => Some("Use --format minidump.".to_owned()),
        Error::Trace { path, .. } => not_a_trace(FileKind::of(path)?),
        Error::Dump { path, .. } => not_a_dump(FileKind::of(path)?),
        Error::NotIpt { kind, .. } => not_ipt(*kind),
        Error::Read { path, .. } if path.is_dir() => Some("That is a directory; name the file in it.".to_owned()),
        _ => None,
    }
}

fn not_a_trace(kind: FileKind) -> Option<String> {
    let what = match kind {
        FileKind::Dump => return Some("This is a Windows dump: pass it with --from-dump.".to_owned()),
        kind => described(kind)?,
    };
    Some(format!(
        "{what}. A trace is the .etl file that wpr -stop or xperf -d writes, or a raw log of the kernel's session."
    ))
}

fn not_a_dump(kind: FileKind) -> Option<String> {
    let what = match kind {
        FileKind::Trace => return Some("This is an ETW trace: pass it with --etl.".to_owned()),
        kind => described(kind)?,
    };
    Some(format!("{what}. A dump is a .dmp file: MEMORY.DMP, one of the Minidump directory, or a user minidump."))
}

fn not_ipt(kind: FileKind) -> Option<String> {
    let what = match kind {
        FileKind::Trace => "This is an ETW trace: pass it with --etl",
        FileKind::Dump => "This is a Windows dump: pass it with --from-dump",
        FileKind::Text => "This is text: pass hexadecimal text with --ipt-hex",
        kind => described(kind)?,
    };
    Some(format!("{what}. Intel PT data is a file of packets, or what ipt.sys hands out."))
}

/// The start of a sentence about the kinds that are none of these.
fn described(kind: FileKind) -> Option<&'static str> {
    Some(match kind {
        FileKind::Empty => "The file is empty: the copy or download may have failed",
        FileKind::Image => "This is a PE image: put module files in a directory and pass it with --modules",
        FileKind::Zip => "This is a zip archive: unpack it, the file that is wanted may be inside",
        FileKind::Cabinet => "This is a cabinet: expand it, the file that is wanted may be inside",
        FileKind::Gzip => "This is a gzip file: unpack it (gunzip), the file that is wanted may be inside",
        FileKind::SevenZip => "This is a 7z archive: unpack it, the file that is wanted may be inside",
        FileKind::Pdb => "This is a PDB with symbols, which only a debugger reads",
        FileKind::Text => "This is text: perhaps an export of the trace (tracerpt, xperf -a dumper), or an error page",
        // A damaged file of the right kind, or nothing known: the error itself says what does not fit.
        _ => return None,
    })
}
