//! Ctrl-C in the middle of a build, under Wine: nothing half written is left.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use testkit::catalog::Module as File;
use testkit::trace::{Module, TraceFile};
use xtask::outcome::Outcome;
use xtask::{paths, program};

use super::wine::Wine;

/// What lies under the output's name before.
const OLD: &[u8] = b"what was here before";
/// Builds that may be over before they are interrupted.
const ATTEMPTS: usize = 20;

/// Interrupts a build that writes.
pub fn run(wine: &Wine) -> Result<Outcome> {
    // Wine has a console only on a terminal.
    if !program::exists("script") {
        return Ok(Outcome::skip("windows: Ctrl-C: no program `script`, which makes a terminal"));
    }
    let dir = paths::work("windows-runs")?.join("interrupt");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let out = dir.join("out");
    fs::create_dir_all(&out)?;
    write_machine(&dir)?;
    let helper = dir.join("interrupt.exe");
    wine.compile("interrupt.c", &helper)?;
    for _ in 0..ATTEMPTS {
        fs::write(out.join("out.dmp"), OLD)?;
        let words = "--etl trace.etl -m modules --no-cache --quiet -o out/out.dmp";
        let line = format!("wine interrupt.exe out '{}' {words}", wine.program().display());
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(&dir);
        let captured = program::capture(wine.environment(&mut script), Duration::from_secs(120))?;
        let left: Vec<String> = fs::read_dir(&out)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        match captured.code() {
            Some(0) => {
                ensure!(left == ["out.dmp"], "Ctrl-C left {left:?}");
                ensure!(fs::read(out.join("out.dmp"))? == OLD, "Ctrl-C left another file under the final name");
                println!("ok      Ctrl-C while a dump is written leaves what was there before");
                return Ok(Outcome::pass());
            }
            Some(1) => {}
            _ => bail!("Ctrl-C: {}: {}", captured.ending(), captured.stdout),
        }
    }
    Ok(Outcome::skip(format!("windows: Ctrl-C: {ATTEMPTS} builds were over before they were interrupted")))
}

/// A trace and its modules: enough code that writing it takes a while.
fn write_machine(dir: &Path) -> Result<()> {
    /// Where the PE header of these files has its TimeDateStamp.
    const TIMESTAMP: usize = 0x88;
    const CODE: usize = 4 << 20;
    fs::create_dir(dir.join("modules"))?;
    let size = 0x2000 + CODE as u32;
    let mut file = File { code: CODE, size_of_image: size, ..File::default() }.file();
    let mut trace = TraceFile::new();
    for index in 0..12_u32 {
        let stamp = 0x6000_0000 + index;
        file[TIMESTAMP..TIMESTAMP + 4].copy_from_slice(&stamp.to_le_bytes());
        let name = if index == 0 { "ntoskrnl.exe".to_owned() } else { format!("driver{index}.sys") };
        fs::write(dir.join("modules").join(&name), &file)?;
        let base = 0xffff_f800_0000_0000 + u64::from(index) * 0x1000_0000;
        let module = Module::kernel(&format!(r"\SystemRoot\System32\{name}"), base, size.into());
        trace.module(0, 2_000_000 + i64::from(index), &module.with_identity(stamp, 0));
    }
    Ok(fs::write(dir.join("trace.etl"), trace.finish())?)
}
