//! The lines of the Windows page, as they stand there, in Wine's `cmd.exe`.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::outcome::Outcome;
use xtask::{paths, program};

use super::wine::Wine;

/// Runs the `bat` blocks of `docs/windows.md`, one line after another; each has to end with 0.
pub fn run(wine: &Wine) -> Result<Outcome> {
    let page = fs::read_to_string(paths::root().join("docs/windows.md"))?;
    let dir = paths::work("windows-runs")?.join("page");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir(&dir)?;
    fs::copy(wine.program(), dir.join("mkdump.exe"))?;
    let lines = lines(&page);
    ensure!(lines.len() > 5, "docs/windows.md has {} lines to run", lines.len());
    let mut outcome = Outcome::default();
    for (number, line) in lines.iter().enumerate() {
        // A batch file: Wine would quote a line given as an argument once more.
        let batch = dir.join(format!("line{number}.bat"));
        fs::write(&batch, format!("@{line}\r\n@exit %errorlevel%\r\n"))?;
        let mut command = wine.run("cmd".as_ref());
        command.args(["/c", &format!("line{number}.bat")]).current_dir(&dir);
        let captured = program::capture(&mut command, Duration::from_secs(120))?;
        if captured.success() {
            println!("ok      {line}");
            outcome.add_pass();
        } else {
            outcome.add_failure(format!("docs/windows.md: {line}: {}\n{}", captured.ending(), captured.stderr));
        }
    }
    for written in ["try/out.dmp", "my demo/out 2.dmp"] {
        ensure!(dir.join(written).is_file(), "docs/windows.md: no {written} was written");
    }
    Ok(outcome)
}

/// The lines of the blocks that are marked as batch files.
fn lines(page: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(kind) => inside = kind == "bat",
            None if inside => lines.push(line),
            None => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_marked_blocks_are_run() {
        let page = "text\n```bat\nmkdump demo\n```\n```console\n$ other\n```\nmore\n```bat\nmkdump x\n```\n";
        assert_eq!(super::lines(page), ["mkdump demo", "mkdump x"]);
    }
}
