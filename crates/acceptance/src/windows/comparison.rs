//! One run of the command here and under Wine, and what must not differ between them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask::{paths, program};

const PATIENCE: Duration = Duration::from_secs(120);

/// A fresh directory with the samples in it.
pub fn place(name: &str) -> Result<PathBuf> {
    let dir = paths::work("windows-runs")?.join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let samples = paths::root().join("testdata");
    for kind in ["dumps", "traces"] {
        let to = dir.join("testdata").join(kind);
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(samples.join(kind))? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(dir)
}

/// What a run ended with and printed.
pub struct Answer {
    code: i32,
    printed: String,
    said: String,
}

/// Runs the command with these arguments in a directory.
pub fn answer(mut mkdump: Command, dir: &Path, arguments: &[&str]) -> Result<Answer> {
    // The time in the dumps' headers is the same on both sides then. Without a terminal help is as wide as it may be.
    mkdump.current_dir(dir).args(arguments).env("SOURCE_DATE_EPOCH", "1700000000").env_remove("_NT_SYMBOL_PATH");
    let captured = program::capture(&mut mkdump, PATIENCE)?;
    let code = captured.code().with_context(|| format!("{}: {}", program::shown(&mkdump), captured.ending()))?;
    Ok(Answer { code, printed: captured.stdout, said: captured.stderr })
}

/// The same exit code, and the same output but for the separators of paths and the program's own name.
pub fn compare(ours: &Answer, theirs: &Answer) -> Result<()> {
    ensure!(ours.code == theirs.code, "exit code {} here, {} under Wine: {}", ours.code, theirs.code, theirs.said);
    let value =
        |answer: &Answer| serde_json::from_str::<Value>(&answer.printed).map(|value| neutral(&value.to_string()));
    match (value(ours), value(theirs)) {
        (Ok(ours), Ok(theirs)) => ensure!(ours == theirs, "{ours}\nhere, under Wine\n{theirs}"),
        (Err(_), Err(_)) => ensure!(
            neutral(&ours.printed) == neutral(&theirs.printed),
            "{}\nhere, under Wine\n{}",
            ours.printed,
            theirs.printed
        ),
        _ => bail!("JSON on one side only"),
    }
    Ok(())
}

/// Text with one kind of path separator, and without the suffix of programs. In JSON a backslash is written twice.
fn neutral(text: &str) -> String {
    text.replace("mkdump.exe", "mkdump").replace("\\\\", "/").replace('\\', "/")
}

/// The files below a directory, without the samples: paths with `/`.
pub fn written(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            if name != "testdata" {
                names.extend(written(&entry.path())?.into_iter().map(|inner| format!("{name}/{inner}")));
            }
        } else {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The same bytes; in a page and in a list of arguments paths may have the other separator.
pub fn same_file(ours: &Path, theirs: &Path) -> Result<()> {
    let (ours_bytes, theirs_bytes) =
        (fs::read(ours).context("missing here")?, fs::read(theirs).context("missing under Wine")?);
    if ours_bytes == theirs_bytes {
        return Ok(());
    }
    let holds_paths = ours.extension().is_some_and(|extension| extension == "html" || extension == "args");
    if holds_paths {
        let text = |bytes: &[u8]| neutral(&String::from_utf8_lossy(bytes));
        ensure!(text(&ours_bytes) == text(&theirs_bytes), "differs by more than the separators of paths");
        return Ok(());
    }
    let at = ours_bytes.iter().zip(&theirs_bytes).position(|(a, b)| a != b);
    bail!("{} and {} bytes, first difference at {at:?}", ours_bytes.len(), theirs_bytes.len())
}
