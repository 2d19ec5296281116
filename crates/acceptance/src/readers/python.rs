//! Readers written in Python, or packaged for it: each in a virtual environment of its own under the build directory.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask::tools::{self, Found};
use xtask::{paths, program};

use super::{Reading, Subject, codeview_key, hex_bytes, hex_number};

/// A script of `crates/acceptance/readers`, and the packages it imports.
#[derive(Debug)]
pub struct Script {
    /// What the file is called, without its ending, and the environment.
    pub name: &'static str,
    /// As pip takes them.
    pub requirements: &'static [&'static str],
}

const SKELSEC: Script = Script { name: "skelsec", requirements: &["minidump>=0.0.24"] };
const UDMP: Script = Script { name: "udmp", requirements: &["udmp-parser>=0.7"] };
/// cle does not run with newer releases of bitstring, and does not say so itself.
const CLE: Script = Script { name: "angr", requirements: &["cle>=9.2", "bitstring<4.3"] };

/// Builds the environments that are missing.
pub fn prepare() -> Result<()> {
    for script in [SKELSEC, UDMP, CLE] {
        // Why one cannot be built is told by the check that needs it.
        let _ = environment(&script)?;
    }
    Ok(())
}

/// skelsec's `minidump`.
pub fn skelsec(subject: &Subject) -> Result<Found<Reading>> {
    read(subject, &SKELSEC)
}

/// 0vercl0k's udmp-parser, through its Python binding.
pub fn udmp(subject: &Subject) -> Result<Found<Reading>> {
    read(subject, &UDMP)
}

/// cle, the loader of angr.
pub fn cle(subject: &Subject) -> Result<Found<Reading>> {
    read(subject, &CLE)
}

/// Runs the script in its environment, and takes its lines.
fn read(subject: &Subject, script: &Script) -> Result<Found<Reading>> {
    let python = match environment(script)? {
        Ok(python) => python,
        Err(reason) => return Ok(Err(reason)),
    };
    let captured = program::capture(
        Command::new(python)
            .arg(paths::root().join("crates/acceptance/readers").join(format!("{}.py", script.name)))
            .arg(&subject.dump)
            .args(subject.probes.iter().map(|(address, length)| format!("{address:#x}:{length}"))),
        Duration::from_secs(120),
    )?;
    if !captured.success() {
        bail!("{}\n{}", captured.ending(), captured.stderr);
    }
    let mut reading = Reading::default();
    for line in captured.stdout.lines() {
        take(&mut reading, line).with_context(|| format!("a line that is not understood: {line:?}"))?;
    }
    Ok(Ok(reading))
}

fn take(reading: &mut Reading, line: &str) -> Option<()> {
    let (kind, rest) = line.split_once(' ')?;
    if kind == "version" {
        rest.clone_into(&mut reading.version);
        return Some(());
    }
    let (address, rest) = rest.split_once(' ')?;
    let address = hex_number(address)?;
    match kind {
        "module" => {
            let (size, name) = rest.split_once(' ')?;
            let size = u32::try_from(hex_number(size)?).ok()?;
            reading.modules.insert(address, (Some(size), name.to_owned()));
        }
        "codeview" => {
            reading.pdbs.insert(address, codeview_key(&hex_bytes(rest)?)?);
        }
        "bytes" => {
            reading.bytes.insert(address, hex_bytes(rest)?);
        }
        _ => return None,
    }
    Some(())
}

/// The interpreter of a virtual environment with these packages; built once, and again when the list changes.
pub fn environment(script: &Script) -> Result<Found<PathBuf>> {
    let Script { name, requirements } = script;
    let python = match tools::need(&["python3"], "python3")? {
        Ok(python) => python,
        Err(reason) => return Ok(Err(reason)),
    };
    let dir = paths::work("venv")?.join(name);
    let interpreter = dir.join("bin/python");
    let stamp = dir.join("complete");
    let wanted = requirements.join("\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(Ok(interpreter));
    }
    let make =
        || program::capture(Command::new(&python).args(["-m", "venv", "--clear"]).arg(&dir), Duration::from_secs(120));
    if !make()?.success() {
        // Debian keeps the module apart from the interpreter.
        if let Some(reason) = tools::install(&["python3-venv"])? {
            return Ok(Err(format!("no virtual environment: {reason}")));
        }
        let second = make()?;
        if !second.success() {
            return Ok(Err(format!("no virtual environment: {}", second.stderr.trim())));
        }
    }
    println!("installing {} for {name}", requirements.join(" "));
    let mut last = String::new();
    for pause in [5, 20, 0] {
        let mut pip = Command::new(&interpreter);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        let captured = program::capture(pip.args(requirements.iter()), Duration::from_secs(600))?;
        if captured.success() {
            std::fs::write(&stamp, &wanted)?;
            return Ok(Ok(interpreter));
        }
        last = captured.stderr.lines().rfind(|line| !line.is_empty()).unwrap_or("no reason given").to_owned();
        println!("pip install {} failed: {last}", requirements.join(" "));
        std::thread::sleep(Duration::from_secs(pause));
    }
    Ok(Err(format!("pip cannot install {}: {last}", requirements.join(" "))))
}
