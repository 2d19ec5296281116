//! The table of kernels and layouts that the crate etw-sessions embeds, made from two tables of facts.
//!
//! `etw-builds.tsv` has a row for each kernel, `etw-layouts.tsv` two blocks of members, each with a line of layout names.
//! Embedded is the same without comments and without the column that says where a row is from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::paths;

/// The column that is left out.
const SOURCE: &str = "source";

/// An embedded table: where it lies in the repository, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// Makes the embedded tables from the directory with the two files.
///
/// # Errors
/// When a file cannot be read, or a line has another number of columns than its heading.
pub fn make(directory: &Path) -> Result<[Table; 2]> {
    let table = |from: &str, to: &str| -> Result<Table> {
        let path = directory.join(from);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = compact(&text).with_context(|| path.display().to_string())?;
        Ok(Table { path: paths::root().join("crates/etw-sessions/src/layout").join(to), text })
    };
    Ok([table("etw-builds.tsv", "kernels.tsv")?, table("etw-layouts.tsv", "layouts.tsv")?])
}

/// `cargo xtask session-layouts DIR [--check]`.
///
/// # Errors
/// As [`make`], and when a table cannot be written.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let (directory, is_check) = match arguments {
        [directory] => (directory, false),
        [directory, check] if check == "--check" => (directory, true),
        _ => bail!("session-layouts takes the directory of etw-builds.tsv and etw-layouts.tsv, and --check"),
    };
    if is_check {
        return check(Path::new(directory));
    }
    for table in make(Path::new(directory))? {
        std::fs::write(&table.path, &table.text).with_context(|| table.path.display().to_string())?;
        println!("{}: {} bytes", table.path.display(), table.text.len());
    }
    Ok(Outcome::default())
}

/// Whether the embedded tables are those of the directory. Without the directory it did not run, and says so.
///
/// # Errors
/// As [`make`].
pub fn check(directory: &Path) -> Result<Outcome> {
    if !directory.is_dir() {
        return Ok(Outcome::skip(format!("session layouts: no tables of facts, {} is missing", directory.display())));
    }
    let mut outcome = Outcome::default();
    for table in make(directory)? {
        if std::fs::read_to_string(&table.path).is_ok_and(|embedded| embedded == table.text) {
            outcome.add_pass();
        } else {
            outcome.add_failure(format!("{} is not what its generator makes", table.path.display()));
        }
    }
    Ok(outcome)
}

/// Without comments and the column of sources. A line whose first word is that of the first heading begins a new block.
fn compact(text: &str) -> Result<String> {
    let lines = || text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let first = lines().next().and_then(|line| line.split('\t').next()).context("no heading")?;
    let (mut out, mut left_out, mut columns) = (String::new(), None, 0);
    for line in lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        if cells[0] == first {
            left_out = cells.iter().position(|&cell| cell == SOURCE);
            columns = cells.len();
        }
        if cells.len() != columns {
            bail!("{} columns where the heading has {columns}: {line}", cells.len());
        }
        let kept = cells.iter().enumerate().filter(|(column, _)| Some(*column) != left_out);
        out += &kept.map(|(_, cell)| *cell).collect::<Vec<_>>().join("\t");
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn comments_and_sources_are_left_out() {
        let text = "# a comment\nversion\tsource\tpdb\n1.0\tX\tAB1\n";
        assert_eq!(compact(text).unwrap(), "version\tpdb\n1.0\tAB1\n");
        assert_eq!(
            compact("member\ta\tb\nx\t1\t-\nmember\tc\ny\t2\n").unwrap(),
            "member\ta\tb\nx\t1\t-\nmember\tc\ny\t2\n"
        );
        assert!(compact("member\ta\nx\n").is_err());
    }
}
