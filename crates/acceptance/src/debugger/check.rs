//! Checks as a table: a debugger command, what its answer must hold, what it must not.

use std::path::Path;

use anyhow::{Result, anyhow};
use xtask::outcome::Outcome;

use super::rig::{Engine, Rig};

/// A command and what is known about its answer.
#[derive(Clone, Debug)]
pub struct Check {
    command: String,
    expected: Vec<String>,
    forbidden: Vec<String>,
}

impl Check {
    /// A command, of which nothing is known yet.
    pub fn new(command: impl Into<String>) -> Check {
        Check { command: command.into(), expected: Vec::new(), forbidden: Vec::new() }
    }

    /// Some line of the answer must match; see [`matches()`].
    pub fn has(mut self, pattern: impl Into<String>) -> Check {
        self.expected.push(pattern.into());
        self
    }

    /// No line of the answer may match.
    pub fn lacks(mut self, pattern: impl Into<String>) -> Check {
        self.forbidden.push(pattern.into());
        self
    }
}

/// A dump, how its symbols are found, and the checks on it.
pub struct Suite<'a> {
    /// What the lines of the report begin with.
    pub name: &'a str,
    /// The dump.
    pub dump: &'a Path,
    /// The symbol path of each engine, as Windows sees it. Engines run at the same time, so none may write where another reads.
    pub symbols: &'a (dyn Fn(Engine) -> String + Sync),
    /// What the text up to the prompt must hold and must not: the harness's steps and the engine's warnings.
    pub opening: Check,
    /// What is asked then.
    pub checks: Vec<Check>,
}

impl Suite<'_> {
    /// Runs the suite in both engines at the same time, one session each, and prints a line per check.
    pub fn run(&self, rig: &Rig, outcome: &mut Outcome) -> Result<()> {
        let commands: Vec<String> = self.checks.iter().map(|check| check.command.clone()).collect();
        let sessions = std::thread::scope(|scope| {
            let open = |engine| rig.session(engine, self.dump, &(self.symbols)(engine), &commands);
            let running = Engine::ALL.map(|engine| (engine, scope.spawn(move || open(engine))));
            running.map(|(engine, thread)| (engine, thread.join()))
        });
        for (engine, session) in sessions {
            let session = session.map_err(|_| anyhow!("the session's thread panicked"))??;
            let place = format!("{}, dbgeng {}", self.name, engine.version());
            if session.code != Some(0) {
                outcome.add_failure(format!("{place}: not opened, status {:?}\n{}", session.code, session.opening));
                continue;
            }
            self.opening.judge(&place, &session.opening, outcome);
            for (index, check) in self.checks.iter().enumerate() {
                match session.answers.get(index) {
                    Some(answer) => check.judge(&place, answer, outcome),
                    None => outcome.add_failure(format!("{place}: {}: no answer, the engine stopped", check.command)),
                }
            }
        }
        Ok(())
    }
}

impl Check {
    fn judge(&self, place: &str, answer: &str, outcome: &mut Outcome) {
        match self.complaint(answer) {
            None => {
                println!("ok      {place}: {}", self.command);
                outcome.add_pass();
            }
            Some(complaint) => {
                outcome.add_failure(format!("{place}: {}: {complaint}\n{}", self.command, indented(answer)));
            }
        }
    }

    fn complaint(&self, answer: &str) -> Option<String> {
        let found = |pattern: &String| answer.lines().any(|line| matches(pattern, line));
        if let Some(pattern) = self.expected.iter().find(|pattern| !found(pattern)) {
            return Some(format!("no line like {pattern:?}"));
        }
        if let Some(pattern) = self.forbidden.iter().find(|pattern| found(pattern)) {
            return Some(format!("a line like {pattern:?}"));
        }
        None
    }
}

/// Whether a pattern occurs in a line. `*` stands for any text; runs of blanks count as one, in both.
pub fn matches(pattern: &str, line: &str) -> bool {
    let (pattern, line) = (squeezed(pattern), squeezed(line));
    let mut rest = line.as_str();
    for part in pattern.split('*') {
        // The first occurrence is as good as any: what follows a `*` may stand anywhere after it.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// An address as the debugger prints it: `fffff804`12341000`.
pub fn address(value: u64) -> String {
    format!("{:08x}`{:08x}", value >> 32, value & 0xffff_ffff)
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("        {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{address, matches};

    #[test]
    fn patterns() {
        for (pattern, line, expected) in [
            ("call nt!NtCreateFile", "e8ab0000   call    nt!NtCreateFile (fffff804`1)", true),
            ("mov * r10", "mov r11, r10", true),
            ("r10 * mov", "mov r10", false),
            ("*", "", true),
            ("abc*abc", "abc", false),
        ] {
            assert_eq!(matches(pattern, line), expected, "{pattern:?} in {line:?}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address(0xffff_f804_1000_0000), "fffff804`10000000");
    }
}
