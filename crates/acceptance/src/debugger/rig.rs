//! The rig: Microsoft's dbgeng, two versions of it, under Wine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use xtask::tools::{Found, UNAVAILABLE};
use xtask::{paths, program};

/// An engine of the rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// dbgeng 10.0.15063.400, of the Windows 10 1703 SDK.
    V10,
    /// dbgeng 6.3.9600.16384, of the Windows 8.1 SDK.
    V6,
}

impl Engine {
    /// Both engines.
    pub const ALL: [Engine; 2] = [Engine::V10, Engine::V6];

    fn argument(self) -> &'static str {
        match self {
            Engine::V10 => "10",
            Engine::V6 => "6",
        }
    }

    /// Its version, as the checks print it.
    pub fn version(self) -> &'static str {
        match self {
            Engine::V10 => "10.0.15063.400",
            Engine::V6 => "6.3.9600.16384",
        }
    }
}

/// A rig that is ready.
#[derive(Debug)]
pub struct Rig {
    home: PathBuf,
}

/// What an engine printed: before the first command, and for each command.
#[derive(Debug)]
pub struct Session {
    /// Everything up to the first command: the harness's steps and the engine's banner.
    pub opening: String,
    /// The answer to each command, in order.
    pub answers: Vec<String>,
    /// The harness's exit code: 0 when the dump was opened.
    pub code: Option<i32>,
}

/// Installs what is missing of the rig; the reason when it cannot be had here.
pub fn set_up() -> Result<Found<Rig>> {
    let script = paths::root().join("crates/acceptance/rig/setup.sh");
    let home = home();
    println!("$ {} {}", script.display(), home.display());
    let captured = program::capture(Command::new("bash").arg(script).arg(&home), Duration::from_secs(1200))?;
    print!("{}", captured.stderr);
    match captured.code() {
        Some(0) => Ok(Ok(Rig { home })),
        Some(UNAVAILABLE) => {
            let reason = captured.stderr.lines().rfind(|line| line.contains("SKIPPED")).unwrap_or("no reason given");
            Ok(Err(reason.to_owned()))
        }
        _ => bail!("setting up the rig: {}", captured.ending()),
    }
}

/// $RIG_HOME, else a cache directory of the user: the rig serves every clone.
fn home() -> PathBuf {
    let cache = || {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        base.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
    };
    std::env::var_os("RIG_HOME")
        .map(PathBuf::from)
        .or_else(|| cache().map(|dir| dir.join("mkdump-rig")))
        .unwrap_or_else(|| paths::target().join("xtask/rig"))
}

impl Rig {
    /// Opens a dump and runs commands. `symbols` is a symbol path as Windows sees it.
    pub fn session(&self, engine: Engine, dump: &Path, symbols: &str, commands: &[String]) -> Result<Session> {
        let script = paths::root().join("crates/acceptance/rig/dbg.sh");
        let captured = program::capture(
            Command::new("bash")
                .arg(script)
                .arg(engine.argument())
                .arg(dump)
                .args(commands)
                .env("RIG_HOME", &self.home)
                .env("RIG_SYMPATH", symbols),
            Duration::from_secs(180),
        )?;
        let mut parts = captured.stdout.split("\n[rig] > ");
        let opening = parts.next().unwrap_or_default().to_owned() + &captured.stderr;
        let answers: Vec<String> =
            parts.map(|part| part.split_once('\n').map_or("", |(_, answer)| answer).to_owned()).collect();
        Ok(Session { opening, answers, code: captured.code() })
    }
}

/// A local path as programs under Wine see it.
pub fn windows_path(path: &Path) -> String {
    format!("Z:{}", path.display()).replace('/', "\\")
}
