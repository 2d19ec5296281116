//! Files of the repository that are made by a program: written by it, and compared with what it would write.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use xtask::outcome::Outcome;

/// Files by name, with `/` between directories.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Writes the files into the directory, which then holds nothing else.
pub fn write(dir: &Path, files: &Files) -> Result<Outcome> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
        std::fs::write(&path, bytes)?;
        println!("{:>8} {name}", bytes.len());
    }
    Ok(Outcome::pass())
}

/// Checks that the directory holds these files and no others; `task` is what writes them.
pub fn check(dir: &Path, files: &Files, task: &str) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (name, bytes) in files {
        match std::fs::read(dir.join(name)) {
            Ok(found) if found == *bytes => outcome.add_pass(),
            Ok(_) => outcome.add_failure(format!("{name} differs from what `cargo xtask {task}` writes")),
            Err(error) => outcome.add_failure(format!("{name}: {error}; `cargo xtask {task}` writes it")),
        }
    }
    for name in listed(dir)? {
        if !files.contains_key(&name) {
            outcome.add_failure(format!("{}: `cargo xtask {task}` does not write {name}", dir.display()));
        }
    }
    Ok(outcome)
}

/// Files below a directory, as paths relative to it with `/`.
fn listed(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            names.extend(listed(&entry.path())?.into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            names.push(name);
        }
    }
    Ok(names)
}
