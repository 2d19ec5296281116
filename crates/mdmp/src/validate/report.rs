//! What a check found: the report for callers, and its collector.

use std::collections::HashMap;
use std::fmt;

use super::rules::{Rule, Severity};
use crate::Error;

/// Which kind of dump a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub enum Format {
    /// MDMP.
    UserMinidump,
    /// PAGEDU64 with DumpType 4.
    KernelTriage,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::UserMinidump => "user minidump",
            Format::KernelTriage => "kernel triage dump",
        })
    }
}

/// A place in a dump that breaks a rule.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// The rule, with the readers that it is for.
    pub rule: &'static Rule,
    /// File offset of the structure.
    pub offset: u64,
    /// The structure, what was found, what is allowed.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { rule, offset, message } = self;
        write!(f, "{} at {offset:#x}: {message} [{}: {}]", rule.severity, rule.id, rule.readers.join(", "))
    }
}

/// What [`validate`](super::validate) found.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The kind of dump.
    pub format: Format,
    /// In the order of the checks; at most [`Report::PER_RULE`] for each rule.
    pub findings: Vec<Finding>,
    /// Findings that were left out because their rule had enough.
    pub omitted: u64,
}

impl Report {
    /// Most findings kept for one rule.
    pub const PER_RULE: u64 = 16;

    /// The findings that are at least as bad as `severity`.
    pub fn at_least(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.rule.severity >= severity)
    }
}

/// Collects findings, a bounded number for each rule: a damaged table of a million entries does not fill the report.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(super) kept: Vec<Finding>,
    counts: HashMap<&'static str, u64>,
    pub(super) omitted: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, rule: &'static Rule, offset: u64, message: impl FnOnce() -> String) {
        let count = self.counts.entry(rule.id).or_default();
        *count += 1;
        if *count > Report::PER_RULE {
            self.omitted += 1;
            return;
        }
        self.kept.push(Finding { rule, offset, message: message() });
    }

    /// The value, or a finding that says why it is missing.
    pub(crate) fn take<T>(&mut self, rule: &'static Rule, result: Result<T, Error>) -> Option<T> {
        result
            .map_err(|error| {
                self.add(rule, error.offset().unwrap_or(0), || error.to_string());
            })
            .ok()
    }
}
