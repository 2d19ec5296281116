//! Where things lie: the repository, the build directory, the sample data beside the repository.

use std::path::PathBuf;
use std::process::Command;

/// The repository's root: the directory with the lock file, above the package that cargo runs.
pub fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = manifest.ancestors().find(|dir| dir.join("Cargo.lock").is_file());
    root.unwrap_or(&manifest).to_path_buf()
}

/// Cargo's build directory, which may have been moved by CARGO_TARGET_DIR.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// A directory for what a task makes, created when missing: `target/xtask/NAME`.
pub fn work(name: &str) -> std::io::Result<PathBuf> {
    let dir = target().join("xtask").join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// `cargo` in the repository's root: the one that runs this task.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}
