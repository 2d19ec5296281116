//! The rules of `mkdump check`, held against the engines: what an engine takes they must take, what it refuses they must
//! refuse in its name.

use mkdump::check::{SeverityReport, ValidationReport, validate};
use xtask::outcome::Outcome;

/// A dump that the engines open: no rule of theirs, or of anybody's, may be broken.
pub fn accepted(name: &str, dump: &[u8], outcome: &mut Outcome) {
    match validate(dump) {
        Some(report) if !report.is_broken() => pass(&format!("{name}: all rules kept"), outcome),
        report => outcome.add_failure(format!("check: {name} is a good dump, and breaks rules: {report:#?}")),
    }
}

/// A dump that the engines refuse: a rule that is named after them says so.
pub fn refused(name: &str, dump: &[u8], outcome: &mut Outcome) {
    let broken = |report: &ValidationReport| {
        let for_engine =
            |readers: &[&str]| readers.iter().any(|reader| reader.starts_with("dbgeng") || *reader == "all readers");
        let mut refusing = report.findings.iter().filter(|f| f.severity == SeverityReport::Refused);
        refusing.find(|finding| for_engine(&finding.readers)).map(|finding| finding.rule)
    };
    match validate(dump).as_ref().and_then(broken) {
        Some(rule) => pass(&format!("refused: {name}: rule {rule}"), outcome),
        None => outcome.add_failure(format!("check: nothing found in a dump that the engines refuse: {name}")),
    }
}

fn pass(what: &str, outcome: &mut Outcome) {
    println!("ok      check: {what}");
    outcome.add_pass();
}
