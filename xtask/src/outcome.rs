//! What came of a task: checks that passed, failed, or could not run.
//!
//! A check that could not run is neither passed nor failed. It is printed with its reason, counted, and shown again in
//! the summary, so that nobody takes "not run" for "fine".

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

    /// The counts behind the verdict: "12 passed, 1 skipped".
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
