//! The `mkdump` command as the checks run it.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The command that was built together with this program and lies beside it.
///
/// # Errors
/// When it is missing, which means that this program was not started by `cargo xtask`.
pub fn mkdump() -> Result<Command> {
    let this = std::env::current_exe().context("cannot find the running program")?;
    let path = this.with_file_name(format!("mkdump{}", std::env::consts::EXE_SUFFIX));
    ensure!(path.is_file(), "{} is missing; run this check with `cargo xtask`, which builds it", path.display());
    Ok(Command::new(path))
}
