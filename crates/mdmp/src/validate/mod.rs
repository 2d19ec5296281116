//! Checks a dump, whoever wrote it, against everything that readers are known to want.

mod report;
mod rules;
mod triage;
mod user;

use crate::Error;
use report::Findings;

pub use report::{Finding, Format, Report};
pub use rules::{RULES, Rule, Severity};

/// Checks a dump against all rules that are known: see [`RULES`].
///
/// Reads the whole file's structures and none of its memory, but where two memory ranges overlap. Untrusted input:
/// never panics; memory used is at most 8 times the file's size, for tables of hostile files that are nothing but
/// tables.
///
/// # Errors
/// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) when the file is not a dump at all. A dump that is cut or damaged is a report with findings.
pub fn validate(file: &[u8]) -> Result<Report, Error> {
    let mut findings = Findings::default();
    let format = match file.get(..4) {
        Some(b"MDMP") => {
            user::check(file, &mut findings);
            Format::UserMinidump
        }
        Some(b"PAGE") => {
            triage::check(file, &mut findings)?;
            Format::KernelTriage
        }
        other => {
            let found = other.map_or_else(|| format!("{} bytes", file.len()), |bytes| format!("{bytes:02x?}"));
            return Err(Error::malformed(0, "Signature", found, "\"MDMP\" or \"PAGE\""));
        }
    };
    Ok(Report { format, findings: findings.kept, omitted: findings.omitted })
}
