//! LLVM's obj2yaml: the module list with its CodeView records, and the MemoryList's ranges with their bytes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask::program;
use xtask::tools::{self, Found};

use super::{Reading, Subject, codeview_key, hex_bytes, hex_number};

/// The tool's name on the path.
pub fn find() -> Result<Found<String>> {
    tools::need(&["obj2yaml-16", "obj2yaml-19", "obj2yaml-18", "obj2yaml-17", "obj2yaml"], "llvm-16")
}

/// Turns the dump into YAML and reads that.
pub fn read(subject: &Subject) -> Result<Found<Reading>> {
    let tool = match find()? {
        Ok(name) => name,
        Err(reason) => return Ok(Err(reason)),
    };
    let captured = program::capture(Command::new(&tool).arg(&subject.dump), Duration::from_secs(120))?;
    if !captured.success() {
        bail!("{}\n{}", captured.ending(), captured.stderr);
    }
    let version = program::capture(Command::new(&tool).arg("--version"), Duration::from_secs(60))?;
    let mut reading = Reading {
        version: version
            .stdout
            .split("version ")
            .nth(1)
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_default()
            .to_owned(),
        ..Reading::default()
    };
    let (mut base, mut size, mut start) = (0, None, 0);
    for line in captured.stdout.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim().trim_matches('\'');
        match key.trim().trim_start_matches("- ") {
            "Base of Image" => base = hex_number(value).context("Base of Image")?,
            "Size of Image" => size = hex_number(value).and_then(|size| u32::try_from(size).ok()),
            "Module Name" => {
                reading.modules.insert(base, (size, value.to_owned()));
            }
            "CodeView Record" => {
                let record = hex_bytes(value).context("CodeView Record")?;
                reading.pdbs.insert(base, codeview_key(&record).context("a CodeView record that is no RSDS")?);
            }
            "Start of Memory Range" => start = hex_number(value).context("Start of Memory Range")?,
            "Content" => {
                let range = hex_bytes(value).context("Content")?;
                reading.bytes.extend(subject.found_in(start, &range));
            }
            _ => {}
        }
    }
    Ok(Ok(reading))
}
