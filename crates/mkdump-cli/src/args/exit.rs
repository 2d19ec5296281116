//! What the exit codes mean, for the help of each command.
//!
//! The rule of all: 0 when everything is as asked, 1 when the work was done and its result is not good, 2 when the work
//! could not be done. A source that does not hold what a command works on is the last kind.

/// The build.
pub const BUILD: &str = "Exit codes: 0 the dump is written; 1 it is written but contains no code, or, with --strict, \
    a module's file is missing, of another build, or doubtful; 2 nothing is written, because of wrong use, a file that \
    cannot be read or written, or a source without kernel modules.";

/// `mkdump modules`.
pub const MODULES: &str = "Exit codes: 0 modules are listed; 2 the source cannot be read, or names no modules.";

/// `mkdump ipt`.
pub const IPT: &str = "Exit codes: 0 the data is shown; 1 it is shown and, with --strict, is not reliable; 2 there is no \
    Intel PT data, or a file cannot be read.";

/// `mkdump events`.
pub const EVENTS: &str = "Exit codes: 0 events are printed or counted; 1 they are and, with --strict, some are missing or \
    damaged; 2 the file is not a trace, a manifest cannot be read, or no event is what was asked for.";

/// `mkdump fetch`.
#[cfg(feature = "fetch")]
pub const FETCH: &str = "Exit codes: 0 every file is there or listed; 1 some files could not be fetched; 2 the source \
    cannot be read or names no kernel modules, or an address cannot be used.";

/// `mkdump request`.
pub const REQUEST: &str = "Exit codes: 0 the script is written, or nothing is missing; 2 the source cannot be read or \
    names no kernel modules, or the script cannot be written.";

/// `mkdump extract`.
pub const EXTRACT: &str = "Exit codes: 0 the extract is written; 2 it is not, because the file is not a trace, has no \
    such snapshot, or cannot be read or written.";

/// `mkdump threads`.
pub const THREADS: &str = "Exit codes: 0 the threads are listed; 2 the source is not a kernel triage dump, or a file \
    cannot be read.";

/// `mkdump sessions`.
pub const SESSIONS: &str = "Exit codes: 0 the sessions are listed, and saved as asked; 1 the same and, with --strict, \
    anything is doubtful; 2 the source is not a kernel dump with sessions, the layout of its kernel is not known, no or \
    more than one session is named so, or a file cannot be read or written.";

/// `mkdump check`.
pub const CHECK: &str = "Exit codes: 0 no rule is broken and every difference is explained; 1 a rule is broken that \
    some reader minds, a difference is unexplained, or import or retpoline sites have another form than in REAL, so that \
    the dump is not the code that ran there; 2 the check could not be done, or the two dumps hold no byte of the same \
    module.";

/// `mkdump demo`.
pub const DEMO: &str = "Exit codes: 0 the demo is written; 2 it is not, because a file cannot be written, or is there \
    already and is not the demo's.";
