//! `mkdump ipt --coverage`: which code ran.

use std::path::Path;

use anyhow::Result;
use mkdump::report::ipt::{cover, write_drcov, write_offsets};
use mkdump::{IptOptions, Output, Reading};

use super::conclude;
use crate::args::{CoverageFormat, IptCommand};
use crate::commands::{Outcome, Session};
use crate::outputs;
use crate::show::text::{count, printable};

/// Writes the file, and says what is in it.
pub fn run(
    command: &IptCommand,
    path: &Path,
    reading: &Reading<'_>,
    options: &IptOptions,
    session: &Session,
) -> Result<Outcome> {
    outputs::check(&[("--coverage", path)], &outputs::of_source(&command.source))?;
    let report = cover(reading, options, &session.bars)?;
    session.finish(&report.summary.warnings);
    let mut output = Output::create(path).map_err(mkdump::Error::from)?;
    let blocks = match command.calls.coverage_format {
        CoverageFormat::Drcov => write_drcov(&mut output, &report.modules)?,
        CoverageFormat::Offsets => write_offsets(&mut output, &report.modules)?,
    };
    output.commit().map_err(mkdump::Error::from)?;
    let outcome = conclude(command, &report.summary, session);
    let elsewhere = match report.elsewhere {
        0 => String::new(),
        some => format!("; {} in no module, left out", count(some as u64, "block")),
    };
    session.say(&format!(
        "{}: {} of {}{elsewhere}\n",
        printable(&path.to_string_lossy()),
        count(blocks as u64, "block"),
        count(report.modules.len() as u64, "module"),
    ));
    Ok(outcome)
}
