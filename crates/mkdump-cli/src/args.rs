//! What the user typed. Nothing here touches a file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use mkdump::{GivenCapability, Moment};

mod check;
mod documents;
mod events;
mod exit;
mod extract;
mod ipt;
mod ipt_input;
mod sessions;
mod threads;
mod values;

pub use check::CheckCommand;
pub use documents::{CompletionsCommand, DemoCommand, ManCommand};
pub use events::{EventArgs, EventsCommand};
pub use extract::ExtractCommand;
pub use ipt::{CoverageFormat, IptCommand, SnapshotArgs};
pub use ipt_input::IptInputArgs;
pub use sessions::SessionsCommand;
pub use threads::ThreadsCommand;

const EXAMPLES: &str = "\
Examples:
  mkdump demo                                             try it on built-in data
  mkdump modules --etl trace.etl                          which modules does the trace name?
  mkdump fetch --etl trace.etl --list                     where to get them
  mkdump --etl trace.etl --modules C:\\symbols -o out.dmp  build the dump
  mkdump ipt --etl trace.etl --modules dir                what does the Intel PT data say?
  mkdump check out.dmp                                    will debuggers open it?";

/// Synthetic kernel memory dumps from Windows performance traces.
///
/// Takes an ETW trace recorded with Loader events and the module files that it names, and writes a minidump in which
/// every kernel module lies at the address it had, with its code as the kernel ran it: relocated, and with import calls
/// rewritten as the kernel's import optimization does. The dump opens in WinDbg and lldb and serves Intel PT decoders.
#[derive(Debug, Parser)]
#[command(name = "mkdump", version, after_help = format!("{EXAMPLES}\n\n{}", exit::BUILD))]
#[command(subcommand_negates_reqs = true, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// The dump to build, when no subcommand is given.
    #[command(flatten)]
    pub build: BuildArgs,

    /// Something other than building a dump.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How much to say.
    #[command(flatten)]
    pub talk: TalkArgs,

    /// Write log lines with times into a file, `-` for stderr
    #[arg(long, global = true, value_name = "FILE", help_heading = "Output options")]
    pub log: Option<PathBuf>,
}

impl Cli {
    /// Parses a command line. Options of the build in front of a subcommand would be ignored, so they are an error;
    /// those that go with everything may stand anywhere.
    ///
    /// # Errors
    /// As clap has them, help and version included.
    pub fn of(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let mut words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        name_source(&mut words, &command);
        let matches = command.try_get_matches_from_mut(words)?;
        if let Some(name) = matches.subcommand_name() {
            let given = |argument: &&clap::Arg| {
                !argument.is_global_set()
                    && matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
            };
            let stray = command.get_arguments().find(given).map(ToString::to_string);
            if let Some(argument) = stray {
                let why =
                    format!("{argument} is an option of the build, and means nothing before the subcommand {name}");
                return Err(command.error(ErrorKind::ArgumentConflict, why));
            }
        }
        Self::from_arg_matches(&matches)
    }
}

/// Puts the option before a trace or dump that is the first word: `mkdump trace.etl` means `mkdump --etl trace.etl`.
fn name_source(words: &mut Vec<OsString>, command: &clap::Command) {
    let Some(first) = words.get(1) else { return };
    if first.to_string_lossy().starts_with('-') || command.find_subcommand(first).is_some() {
        return;
    }
    let path = std::path::Path::new(first);
    if path.is_file() {
        let is_dump = mkdump::FileKind::of(path) == Some(mkdump::FileKind::Dump);
        words.insert(1, if is_dump { "--from-dump" } else { "--etl" }.into());
    }
}

/// How much to say.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct TalkArgs {
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output options")]
    pub quiet: bool,
    /// Print what is done and why
    #[arg(short, long, global = true, help_heading = "Output options")]
    pub verbose: bool,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", help_heading = "Output options")]
    pub color: Colour,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On terminals, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where the list of modules comes from.
#[derive(Clone, Debug, Args)]
#[group(id = "source", required = true, multiple = false)]
pub struct SourceArgs {
    /// An ETW trace with Loader events; repeatable for a recording in several files, such as those of the kernel's session
    /// and of a user session
    #[arg(long, value_name = "FILE")]
    pub etl: Vec<PathBuf>,
    /// A Windows dump: kernel triage, full or bitmap, or user minidump; several triage dumps of one boot are merged
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from_dump: Vec<PathBuf>,
}

/// Where module files are looked for.
#[derive(Clone, Debug, Default, Args)]
pub struct ModulesArgs {
    /// Directory, symbol store, mounted Windows volume or zip archive with module files; repeatable [default: .]
    #[arg(short, long, value_name = "DIR")]
    pub modules: Vec<PathBuf>,
    /// Do not remember what was read of module files
    #[arg(long)]
    pub no_cache: bool,
}

/// Which of a source's modules.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectArgs {
    /// The moment to look at: seconds from the start of the trace, as 100.5 or 1m40.5s, or a raw timestamp [default: a build takes the end of
    /// the trace, lists have every module that was ever loaded]
    #[arg(long, value_name = "TIME", value_parser = values::moment, allow_negative_numbers = true)]
    pub at: Option<Moment>,
    /// Only modules whose name matches; repeatable
    #[arg(long, value_name = "GLOB", value_parser = values::glob)]
    pub include: Vec<String>,
    /// Leave out modules whose name matches; repeatable
    #[arg(long, value_name = "GLOB", value_parser = values::glob)]
    pub exclude: Vec<String>,
}

/// Building a dump.
#[derive(Clone, Debug, Args)]
pub struct BuildArgs {
    /// Where the modules are named.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where their files are.
    #[command(flatten)]
    pub modules: ModulesArgs,
    /// The dump to write [default: the source's name with .dmp]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Which modules.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Intel PT data besides the trace's own.
    #[command(flatten)]
    pub ipt: IptInputArgs,
    /// Only modules that the Intel PT data reaches, and those that they call directly
    #[arg(long)]
    pub touched: bool,
    /// Whether the kernel had rewritten import calls: auto asks the Intel PT data, then the build number
    #[arg(long, value_enum, default_value_t = Switch::Auto, value_name = "MODE")]
    pub import_optimization: Switch,
    /// Whether the kernel had rewritten indirect branches for retpoline
    #[arg(long, value_enum, default_value_t = Switch::Auto, value_name = "MODE")]
    pub retpoline: Switch,
    /// Function overrides.
    #[command(flatten)]
    pub overrides: OverrideArgs,
    /// What of each module goes into the dump
    #[arg(long, value_enum, default_value_t = Memory::Headers, value_name = "WHAT")]
    pub memory: Memory,
    /// Kind of memory list in a minidump; a minidump has only one, and readers differ
    #[arg(long, value_enum, default_value_t = MemoryList::Auto, value_name = "BITS")]
    pub memory_list: MemoryList,
    /// Kind of file
    #[arg(long, value_enum, default_value_t = Format::Minidump, value_name = "KIND")]
    pub format: Format,
    /// With --from-dump and a triage dump: put all threads found in it into the minidump, not only the current one
    #[arg(long)]
    pub threads: bool,
    /// Fetch missing modules from this symbol server while building
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "URL")]
    pub symbol_server: Option<String>,
    /// Symbol store that fetched files go into [default: the cache in _NT_SYMBOL_PATH, else ./symbols]
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "DIR", requires = "symbol_server")]
    pub store: Option<PathBuf>,
    /// Write a page that shows the result: what is missing, the address space, the code reached by Intel PT
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Exit with 1 when anything is missing or doubtful: a module without its file, a file that may be the wrong one, or
    /// any warning about the source
    #[arg(long)]
    pub strict: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Three ways to answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Find out.
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// Function overrides: direct calls that the kernel re-points by processor.
#[derive(Clone, Debug, Args)]
pub struct OverrideArgs {
    /// Whether the kernel had re-pointed calls of functions such as memset, as it does from Windows 11 24H2 on: auto asks the
    /// build number
    #[arg(long, value_enum, default_value_t = Switch::Auto, value_name = "MODE")]
    pub function_override: Switch,
    /// What the processor can do, which decides where such calls lead: hexadecimal capability numbers, such as 0 for ERMS; with
    /// - in front for what it cannot
    #[arg(long, value_name = "HEX[,HEX]", value_delimiter = ',', value_parser = values::capability, allow_hyphen_values = true)]
    pub cpu_features: Vec<GivenCapability>,
}

/// What of each module goes into the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Memory {
    /// Code sections only.
    Code,
    /// Code sections and the header page.
    Headers,
    /// The whole image.
    Image,
}

/// Kind of memory list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MemoryList {
    /// 32 up to 3.9 GiB, then 64.
    Auto,
    /// MemoryList, flags 0x6000.
    #[value(name = "32")]
    Bits32,
    /// Memory64List, flags 0x6002.
    #[value(name = "64")]
    Bits64,
}

/// Kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// User minidump: the widest set of readers.
    Minidump,
    /// Kernel triage dump: native nt! in WinDbg.
    Triage,
    /// ELF core: ptxed, perf, every disassembler.
    Elf,
    /// A directory with a file per range, ptxed.args and manifest.json.
    Raw,
}

/// Subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// List the modules that a trace or dump names
    Modules(ModulesCommand),
    /// Show what the trace's Intel PT data says: modules, what is missing, load-time changes, the flow
    Ipt(Box<IptCommand>),
    /// Print the events of a trace, a line for each, or count them
    Events(Box<EventsCommand>),
    /// Fetch missing modules from a symbol server, or list where they are
    #[cfg(feature = "fetch")]
    Fetch(FetchCommand),
    /// Write a script that collects the modules a symbol server does not have, for the trace's owner
    Request(RequestCommand),
    /// Write a trace that can be shared: what a dump needs of another one, and nothing else
    Extract(ExtractCommand),
    /// List the threads of a triage dump
    Threads(ThreadsCommand),
    /// List the trace sessions that a kernel dump holds, and save their events as traces
    Sessions(SessionsCommand),
    /// Check a dump against the rules of its format, and compare it with a real one
    Check(CheckCommand),
    /// Do the whole job on built-in data
    Demo(DemoCommand),
    /// Print completions for a shell
    Completions(CompletionsCommand),
    /// Print a manual page, in the form that `man` reads
    Man(ManCommand),
}

/// `mkdump modules`.
#[derive(Clone, Debug, Args)]
#[command(after_help = exit::MODULES)]
pub struct ModulesCommand {
    /// Where the modules are named.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which of them.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Look for the modules' files here and say which are there: a directory, symbol store, mounted Windows volume or zip
    /// archive; repeatable
    #[arg(short, long, value_name = "DIR")]
    pub modules: Vec<PathBuf>,
    /// Do not remember what was read of module files
    #[arg(long, requires = "modules")]
    pub no_cache: bool,
    /// User-mode modules too
    #[arg(long)]
    pub user: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `mkdump fetch`.
#[cfg(feature = "fetch")]
#[derive(Clone, Debug, Args)]
#[command(after_help = exit::FETCH)]
pub struct FetchCommand {
    /// Where the modules are named.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where files are already.
    #[command(flatten)]
    pub modules: ModulesArgs,
    /// Which modules.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Ask this server; repeatable [default: those in _NT_SYMBOL_PATH, else Microsoft's]
    #[arg(long, value_name = "URL")]
    pub symbol_server: Vec<String>,
    /// Symbol store that files go into [default: the cache in _NT_SYMBOL_PATH, else ./symbols]
    #[arg(long, value_name = "DIR", conflicts_with = "list")]
    pub store: Option<PathBuf>,
    /// Fetch the modules' PDBs too
    #[arg(long)]
    pub pdbs: bool,
    /// Print name, key and URL of each missing file, for fetching on another machine; no network
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `mkdump request`.
#[derive(Clone, Debug, Args)]
#[command(after_help = exit::REQUEST)]
pub struct RequestCommand {
    /// Where the modules are named.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where files are already.
    #[command(flatten)]
    pub modules: ModulesArgs,
    /// Which modules.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Ask this server first, fetch what it has, and request only the rest
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "URL")]
    pub symbol_server: Option<String>,
    /// Symbol store that fetched files go into [default: the cache in _NT_SYMBOL_PATH, else ./symbols]
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "DIR", requires = "symbol_server")]
    pub store: Option<PathBuf>,
    /// The script to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_options_of_everything_may_stand_before_a_subcommand() {
        for (words, expected) in [
            ("mkdump --quiet demo", true),
            ("mkdump demo --quiet", true),
            ("mkdump --log - modules --etl a", true),
            ("mkdump --etl a modules --etl b", false),
            ("mkdump --strict demo", false),
            ("mkdump --etl a", true),
            ("mkdump --etl a --from-dump b", false),
            ("mkdump --strict", false),
        ] {
            assert_eq!(Cli::of(words.split(' ')).is_ok(), expected, "{words}");
        }
    }
}
