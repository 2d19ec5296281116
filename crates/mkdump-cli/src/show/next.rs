//! What to type next: whole command lines, with the real names of files, to be pasted as they are.

use std::path::Path;

use mkdump::Format;
use mkdump::report::{BuildReport, Status};

use crate::args::{ModulesArgs, SelectArgs, SourceArgs};

/// Something to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// What for, in a few words.
    pub what: &'static str,
    /// The line to type.
    pub line: String,
}

impl Next {
    /// A line to type.
    pub fn new(what: &'static str, line: impl Into<String>) -> Self {
        Self { what, line: line.into() }
    }
}

/// The arguments that name the source, the places of modules, and the choice of them: those of the command that ran, so
/// that the next one works on the same.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Where the modules are named.
    pub source: &'a SourceArgs,
    /// Where their files are; `None` for a command that looks for none.
    pub modules: Option<&'a ModulesArgs>,
    /// Which of them.
    pub select: &'a SelectArgs,
}

impl Job<'_> {
    /// `mkdump NAME` with the job's arguments; without a name, the build.
    pub fn command(&self, name: &str) -> Words {
        let mut words = Words(vec!["mkdump".to_owned()]);
        if !name.is_empty() {
            words.0.push(name.to_owned());
        }
        for etl in &self.source.etl {
            words = words.option("--etl", etl);
        }
        if let [first, rest @ ..] = &*self.source.from_dump {
            words = words.option("--from-dump", first);
            words.0.extend(rest.iter().map(|dump| quoted(&dump.to_string_lossy())));
        }
        for directory in self.modules.iter().flat_map(|modules| &modules.modules) {
            words = words.option("-m", directory);
        }
        if let Some(at) = self.select.at {
            words = words.option("--at", at.to_string());
        }
        for glob in &self.select.include {
            words = words.option("--include", glob);
        }
        for glob in &self.select.exclude {
            words = words.option("--exclude", glob);
        }
        words
    }

    /// Whether a directory lies below one that is looked through, so that it needs no mention. Without any the current
    /// directory is looked through.
    pub fn covers(&self, directory: &Path) -> bool {
        self.modules.is_some_and(|modules| match modules.modules.as_slice() {
            [] => directory.is_relative(),
            given => given.iter().any(|root| directory.starts_with(root)),
        })
    }

    /// The build with one more directory of modules, into `output`. When no directory was given, the current one was
    /// looked through, and has to be named now.
    pub fn build_with(&self, directory: &Path, output: Option<&Path>) -> String {
        let mut words = self.command("");
        if self.modules.is_some_and(|modules| modules.modules.is_empty()) && directory.is_absolute() {
            words = words.option("-m", Path::new("."));
        }
        if !self.covers(directory) {
            words = words.option("-m", directory);
        }
        if let Some(output) = output {
            words = words.option("-o", output);
        }
        words.line()
    }
}

/// A command line in the making.
#[derive(Clone, Debug)]
pub struct Words(Vec<String>);

impl Words {
    /// Adds an option with its value.
    pub fn option(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.0.push(name.to_owned());
        self.0.push(quoted(&value.as_ref().to_string_lossy()));
        self
    }

    /// The line.
    pub fn line(self) -> String {
        self.0.join(" ")
    }
}

/// A word as the shell of this system takes it.
pub fn quoted(word: &str) -> String {
    if cfg!(windows) { quoted_for_windows(word) } else { quoted_for_sh(word) }
}

fn quoted_for_sh(word: &str) -> String {
    if is_plain(word, "-_./:=+,@%") { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// In double quotes, the only ones that cmd.exe, PowerShell and the programs' own parser all know. That parser takes a
/// backslash before a quote for an escape, so those at the end are doubled. PowerShell splits bare words at `,` and takes
/// `@` for an operator. What is expanded inside of double quotes, `%NAME%` by cmd.exe and `$` and the backtick by
/// PowerShell, has no form that both take; the guide says what to do.
fn quoted_for_windows(word: &str) -> String {
    if is_plain(word, r"-_./:=+\~") {
        return word.to_owned();
    }
    let mut out = String::from('"');
    let mut backslashes = 0;
    for c in word.chars() {
        if c == '"' {
            out.extend(std::iter::repeat_n('\\', backslashes + 1));
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        out.push(c);
    }
    out.extend(std::iter::repeat_n('\\', backslashes));
    out.push('"');
    out
}

fn is_plain(word: &str, marks: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || marks.contains(c))
}

/// After a build: how to open the result, and how to get what is missing.
pub fn after_build(report: &BuildReport, format: Format, job: &Job<'_>, output: &Path) -> Vec<Next> {
    let with = |status| report.modules.iter().filter(move |module| module.status == status).count();
    let mut next = if with(Status::Included) > 0 { open(format, output) } else { Vec::new() };
    if with(Status::Missing) + with(Status::Mismatch) > 0 {
        if cfg!(feature = "fetch") {
            next.push(Next::new("get Windows' own modules", job.command("fetch").line()));
        }
        let script = Path::new("mkdump-request.ps1");
        next.push(Next::new("ask the trace's owner", job.command("request").option("-o", script).line()));
    }
    next
}

/// How to open a dump.
fn open(format: Format, output: &Path) -> Vec<Next> {
    let file = output.to_string_lossy();
    let windbg = || {
        // WinDbg itself reads the environment's path.
        let symbols = match std::env::var_os("_NT_SYMBOL_PATH") {
            Some(path) if !path.is_empty() => String::new(),
            _ => format!(" -y \"srv*{}\"", symstore::MICROSOFT_SERVER),
        };
        Next::new("open in WinDbg", format!("windbg -z {}{symbols}", bare(&file)))
    };
    let lldb = || Next::new("open in lldb", format!("lldb --core {}", quoted(&file)));
    match format {
        Format::Minidump => vec![windbg(), lldb()],
        Format::Triage => vec![windbg()],
        Format::Elf => vec![lldb(), Next::new("disassemble", format!("objdump -d {}", quoted(&file)))],
        Format::Raw => {
            let show = if cfg!(windows) { "type" } else { "cat" };
            let arguments = output.join("ptxed.args");
            vec![Next::new("arguments for ptxed", format!("{show} {}", quoted(&arguments.to_string_lossy())))]
        }
    }
}

/// A file name as cmd.exe, PowerShell and sh all take it.
fn bare(file: &str) -> String {
    if file.contains(|c: char| c.is_whitespace() || "&();,'$`*?[]{}!@#%^".contains(c)) {
        format!("\"{file}\"")
    } else {
        file.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Job, quoted_for_windows};
    use crate::args::{ModulesArgs, SelectArgs, SourceArgs};

    #[test]
    #[cfg(unix)]
    fn words_survive_the_shell() {
        use super::quoted;
        for word in ["plain.etl", "two words.etl", "it's", "$HOME", "*.sys", "", "a\"b", "#1", "\u{e9}.etl"] {
            let shell = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(word))).output();
            assert_eq!(String::from_utf8_lossy(&shell.unwrap().stdout), word, "{}", quoted(word));
        }
    }

    /// A line's words as a program of Microsoft's C runtime gets them ("Parsing C command-line arguments").
    fn parsed(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted, mut backslashes) = (Vec::new(), String::new(), false, 0);
        for c in line.chars().chain([' ']) {
            if c == '\\' {
                backslashes += 1;
                continue;
            }
            let kept = if c == '"' { backslashes / 2 } else { backslashes };
            word.extend(std::iter::repeat_n('\\', kept));
            let is_escaped = c == '"' && backslashes % 2 == 1;
            backslashes = 0;
            match c {
                '"' if !is_escaped => quoted = !quoted,
                ' ' if !quoted => words.push(std::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        words
    }

    #[test]
    fn words_survive_the_shells_of_windows() {
        // The word, and how it is written: unquoted only when neither cmd.exe nor PowerShell finds anything in it.
        for (word, expected) in [
            (r"C:\a\b.etl", r"C:\a\b.etl"),
            (r"C:\my mods\", r#""C:\my mods\\""#),
            (r"C:\", r"C:\"),
            (r"\\server\a share\\", r#""\\server\a share\\\\""#),
            ("a,b.etl", r#""a,b.etl""#),
            ("@x", r#""@x""#),
            ("100%.etl", r#""100%.etl""#),
            ("a&b", r#""a&b""#),
            ("hal*", r#""hal*""#),
            ("it's", r#""it's""#),
            (r#"a"b"#, r#""a\"b""#),
            (r#"a\"b"#, r#""a\\\"b""#),
            ("", r#""""#),
            ("\u{e9}.etl", "\u{e9}.etl"),
        ] {
            assert_eq!(quoted_for_windows(word), expected, "{word}");
            let line = format!("{} -o {}", quoted_for_windows(word), quoted_for_windows("out.dmp"));
            assert_eq!(parsed(&line), [word, "-o", "out.dmp"], "{line}");
        }
    }

    #[test]
    fn the_next_command_works_on_the_same() {
        let source = SourceArgs { etl: vec!["a.etl".into()], from_dump: vec![] };
        let select =
            SelectArgs { at: Some(mkdump::Moment::Seconds(1.5)), include: vec![], exclude: vec!["v.sys".into()] };
        let line = |roots: &[&str], store: &str| {
            let modules = ModulesArgs { modules: roots.iter().map(PathBuf::from).collect(), no_cache: false };
            Job { source: &source, modules: Some(&modules), select: &select }
                .build_with(Path::new(store), Some(Path::new("o.dmp")))
        };
        for (roots, store, expected) in [
            (&[][..], "symbols", ""),
            (&["m", "n"], "symbols", " -m m -m n"),
            (&["m"], "m/symbols", " -m m"),
            (&["symbols"], "symbols", " -m symbols"),
        ] {
            let more = if expected.is_empty() || expected.contains(store) || store.starts_with("m/") {
                ""
            } else {
                " -m symbols"
            };
            assert_eq!(
                line(roots, store),
                format!("mkdump --etl a.etl{expected} --at 1.5 --exclude v.sys{more} -o o.dmp"),
                "{roots:?} {store}"
            );
        }
    }
}
