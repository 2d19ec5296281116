//! lldb: `image list` for modules and UUIDs, `memory read` for bytes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use xtask::program;
use xtask::tools::{self, Found};

use super::{Reading, Subject, hex_number};

/// The debugger's name on the path.
pub fn find() -> Result<Found<String>> {
    tools::need(&["lldb-16", "lldb-19", "lldb-18", "lldb-17", "lldb"], "lldb-16")
}

/// Loads the dump as a core file.
pub fn read(subject: &Subject) -> Result<Found<Reading>> {
    let lldb = match find()? {
        Ok(name) => name,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut command = Command::new(&lldb);
    command.args(["--batch", "--no-lldbinit"]);
    command.arg("-o").arg(format!("target create --core \"{}\"", subject.dump.display()));
    command.args(["-o", "image list"]);
    for (address, length) in &subject.probes {
        command.arg("-o").arg(format!("memory read --format x --size 1 --count {length} {address:#x}"));
    }
    let captured = program::capture(&mut command, Duration::from_secs(120))?;
    if !captured.success() {
        bail!("{}\n{}{}", captured.ending(), captured.stdout, captured.stderr);
    }
    let version = program::capture(Command::new(&lldb).arg("--version"), Duration::from_secs(60))?;
    let mut reading = Reading {
        version: version.stdout.split_whitespace().nth(2).unwrap_or_default().to_owned(),
        ..Reading::default()
    };
    // Where the bytes of the current command began: a long row is continued on the next line.
    let mut start = 0;
    for line in captured.stdout.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(address) = line.strip_prefix("(lldb) memory read").and(words.last()) {
            start = hex_number(address).unwrap_or_default();
        } else if line.starts_with('[') && words.len() >= 4 {
            // [  4] B30924D6-06BB-99F7-4C4C-44205044422E-00000001 0xfffff80434560000 \SystemRoot\…\mkfilter.sys
            let Some(at) = words.iter().position(|word| word.starts_with("0x")) else { continue };
            let Some(base) = hex_number(words[at]) else { continue };
            reading.modules.insert(base, (None, words[at + 1..].join(" ")));
            if let Some((guid, age)) = words[at - 1].rsplit_once('-') {
                let age = u32::from_str_radix(age, 16).unwrap_or_default();
                reading.pdbs.insert(base, format!("{}{age:X}", guid.replace('-', "")));
            }
        } else if line.starts_with("0x") {
            let bytes = words[1..].iter().filter_map(|word| hex_number(word).and_then(|byte| u8::try_from(byte).ok()));
            reading.bytes.entry(start).or_default().extend(bytes);
        }
    }
    Ok(Ok(reading))
}
