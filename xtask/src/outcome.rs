//! What came of a task: checks that passed, failed, or could not run.
//!
//! A check that could not run is neither passed nor failed. It is printed with its reason, counted, and shown again in
//! the summary, so that "not run" is not mistaken for "fine".

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// The variable that names the file into which a program started by `cargo xtask` writes its outcome.
pub const FILE_VARIABLE: &str = "MKDUMP_OUTCOME";

/// The result of a task, or of one step of `ci`.
#[derive(Debug, Default)]
pub struct Outcome {
    passed: usize,
    failures: Vec<String>,
    skipped: Vec<String>,
}

impl Outcome {
    /// Everything was one check, and it passed.
    pub fn pass() -> Outcome {
        Outcome { passed: 1, ..Outcome::default() }
    }

    /// Nothing could run.
    pub fn skip(reason: impl Into<String>) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.add_skip(reason);
        outcome
    }

    /// Everything was one check, and it failed.
    pub fn fail(reason: impl Into<String>) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.add_failure(reason);
        outcome
    }

    /// Counts a check that passed.
    pub fn add_pass(&mut self) {
        self.passed += 1;
    }

    /// Counts a check that failed, and says so at once.
    pub fn add_failure(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        println!("FAILED: {reason}");
        self.failures.push(reason);
    }

    /// Counts a check that could not run, and says so at once.
    pub fn add_skip(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        println!("SKIPPED: {reason}");
        self.skipped.push(reason);
    }

    /// Takes over the counts of a part.
    pub fn absorb(&mut self, part: Outcome) {
        self.passed += part.passed;
        self.failures.extend(part.failures);
        self.skipped.extend(part.skipped);
    }

    /// Whether a check failed.
    pub fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// The reasons of the checks that could not run.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// One word for the summary: failed, SKIPPED where nothing at all ran, or passed.
    pub fn verdict(&self) -> &'static str {
        if self.failed() {
            "FAILED"
        } else if self.passed == 0 && !self.skipped.is_empty() {
            "SKIPPED"
        } else {
            "passed"
        }
    }

    /// The counts that the verdict comes from: "12 passed, 1 skipped".
    pub fn counts(&self) -> String {
        let mut parts = vec![format!("{} passed", self.passed)];
        if self.failed() {
            parts.push(format!("{} failed", self.failures.len()));
        }
        if !self.skipped.is_empty() {
            parts.push(format!("{} skipped", self.skipped.len()));
        }
        parts.join(", ")
    }

    /// How a program ends that has this outcome: prints it, writes it where [`FILE_VARIABLE`] says, and gives the status.
    pub fn finish(&self) -> ExitCode {
        match std::env::var_os(FILE_VARIABLE) {
            None => self.print(),
            Some(path) => {
                if let Err(error) = self.save(Path::new(&path)) {
                    eprintln!("{error:#}");
                    return ExitCode::from(2);
                }
            }
        }
        if self.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Writes the outcome as text: one line for the count, and one for each check that failed or did not run.
    fn save(&self, path: &Path) -> Result<()> {
        let mut text = format!("passed {}\n", self.passed);
        for (kind, reasons) in [("failed", &self.failures), ("skipped", &self.skipped)] {
            for reason in reasons {
                text += &format!("{kind} {}\n", reason.replace('\\', "\\\\").replace('\n', "\\n"));
            }
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads what another program wrote on finishing.
    ///
    /// # Errors
    /// When the file is missing or does not hold an outcome: that program did not end as it should.
    pub fn load(path: &Path) -> Result<Outcome> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut outcome = Outcome::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("passed", count)) => outcome.passed = count.parse()?,
                Some(("failed", reason)) => outcome.failures.push(unescape(reason)),
                Some(("skipped", reason)) => outcome.skipped.push(unescape(reason)),
                _ => bail!("{}: not an outcome: {line:?}", path.display()),
            }
        }
        Ok(outcome)
    }

    /// Prints the verdict, and again what failed or did not run: the lines above may be far away.
    pub fn print(&self) {
        if self.passed == 0 && self.failures.is_empty() && self.skipped.is_empty() {
            return;
        }
        println!();
        for reason in &self.skipped {
            println!("SKIPPED: {}", first_line(reason));
        }
        for reason in &self.failures {
            println!("FAILED:  {}", first_line(reason));
        }
        println!("{}: {}", self.verdict(), self.counts());
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some(other)) => out.push(other),
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn an_outcome_survives_its_file() {
        let path = std::env::temp_dir().join(format!("outcome-{}", std::process::id()));
        let mut outcome = Outcome::pass();
        outcome.add_failure("two\nlines, a \\ and a \\n");
        outcome.add_skip("no tool");
        outcome.save(&path).unwrap();
        let loaded = Outcome::load(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(format!("{loaded:?}"), format!("{outcome:?}"));
    }
}
