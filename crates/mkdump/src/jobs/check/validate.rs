//! The rules of a dump's format, and what the dump says about how it was made.

use kernel_snapshot::dump::Dump;
use mdmp::kernel::DumpType;
use mdmp::user::{Directory, StreamType};
use mdmp::{Finding, Severity};

use super::report::{FindingReport, ProvenanceReport, SeverityReport, ValidationReport};
use crate::error::in_full;
use crate::hex::Hex;
use crate::provenance::{PROVENANCE_STREAM, Provenance};

/// Checks a file against every rule that is known for its format; `None` when it is not a dump of a known kind.
///
/// User minidumps and kernel triage dumps are checked against [`mdmp::RULES`]. Of full and bitmap kernel dumps header,
/// page map, page tables and module list are read, and what is wrong there is reported.
pub fn validate(file: &[u8]) -> Option<ValidationReport> {
    match file.get(..8) {
        Some(b"PAGEDU64") if is_paged(file) => Some(pages(file)),
        Some(b"PAGEDU64" | [b'M', b'D', b'M', b'P', ..]) => Some(match mdmp::validate(file) {
            Ok(report) => ValidationReport {
                limits: None,
                findings: report.findings.iter().map(finding).collect(),
                omitted: report.omitted,
            },
            // The signature is a dump's, and what has to follow is not there.
            Err(error) => unreadable(error.to_string(), None),
        }),
        _ => None,
    }
}

/// A kernel dump that is not a triage dump. One that is too short to say so is checked as the latter.
fn is_paged(file: &[u8]) -> bool {
    mdmp::read::Header::parse(file).is_ok_and(|header| header.dump_type() != DumpType::TRIAGE)
}

fn pages(file: &[u8]) -> ValidationReport {
    let limits = "of full and bitmap kernel dumps header, page map, page tables and module list are checked".to_owned();
    match Dump::open(file) {
        Err(error) => unreadable(in_full(&error), Some(limits)),
        Ok(dump) => {
            let mut findings: Vec<_> = dump.warnings().iter().map(|warning| kernel_pages(warning.clone())).collect();
            if dump.snapshot().modules.is_empty() && findings.is_empty() {
                findings.push(kernel_pages("PsLoadedModuleList names no module".into()));
            }
            ValidationReport { limits: Some(limits), findings, omitted: 0 }
        }
    }
}

fn kernel_pages(message: String) -> FindingReport {
    FindingReport {
        rule: "kernel-pages",
        severity: SeverityReport::Degraded,
        // No other reader was asked about damaged dumps of these kinds.
        readers: vec!["mkdump"],
        offset: Hex(0),
        message,
        text: "page map, page tables and module list of a full or bitmap dump are whole; else memory is missing",
    }
}

fn unreadable(message: String, limits: Option<String>) -> ValidationReport {
    let finding = FindingReport {
        rule: "format",
        severity: SeverityReport::Refused,
        readers: vec!["all readers"],
        offset: Hex(0),
        message,
        text: "structures lie inside the file and have the sizes that the format gives them",
    };
    ValidationReport { limits, findings: vec![finding], omitted: 0 }
}

fn finding(finding: &Finding) -> FindingReport {
    FindingReport {
        rule: finding.rule.id,
        severity: match finding.rule.severity {
            Severity::Note => SeverityReport::Note,
            Severity::Degraded => SeverityReport::Degraded,
            Severity::Refused => SeverityReport::Refused,
        },
        readers: finding.rule.readers.to_vec(),
        offset: Hex(finding.offset),
        message: finding.message.clone(),
        text: finding.rule.text,
    }
}

/// What made a dump and the comments in it, and what of that could not be read. Other programs' dumps have comments at
/// most; a triage dump has a comment alone.
pub fn provenance(file: &[u8]) -> (Option<ProvenanceReport>, Vec<String>, Vec<String>) {
    let mut warnings = Vec::new();
    if let Ok(header) = mdmp::read::Header::parse(file) {
        let comment = header.comment();
        return (None, if comment.is_empty() { Vec::new() } else { vec![comment] }, warnings);
    }
    let Ok(directory) = Directory::parse(file) else { return (None, Vec::new(), warnings) };
    let stream = |kind| directory.find(kind).and_then(|entry| Some((entry.offset, directory.stream(entry).ok()?)));
    let provenance = stream(StreamType(PROVENANCE_STREAM)).and_then(|(offset, json)| {
        let parsed = Provenance::parse(json);
        parsed.map_err(|error| warnings.push(format!("provenance stream at {offset:#x}: {error}"))).ok()
    });
    let provenance = provenance.map(ProvenanceReport::from);
    let narrow = stream(StreamType::COMMENT_A).map(|(_, text)| {
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    });
    let wide = stream(StreamType::COMMENT_W).map(|(_, text)| {
        let units = text.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let units: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
        String::from_utf16_lossy(&units)
    });
    (provenance, narrow.into_iter().chain(wide).collect(), warnings)
}
