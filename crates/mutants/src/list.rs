//! The mutants of a crate, as cargo-mutants lists them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use xtask::{paths, program};

/// A place in a source file: line, counted from 1, and column in characters, counted from 0 as `proc_macro2` does.
pub type Place = (usize, usize);

/// One change to the source that a good test notices.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// What turns it on: its position in the list, counted from 1.
    pub number: u32,
    /// The source file, relative to the root of the workspace.
    pub file: String,
    /// What kind of change it is, in cargo-mutants' words.
    pub genre: String,
    /// The text that replaces the original; empty for a deletion.
    pub replacement: String,
    /// Where the changed text begins.
    pub start: Place,
    /// `FILE:LINE:COLUMN: what is changed`.
    pub name: String,
}

impl Mutant {
    /// The name without line and column, which move with every edit: `FILE: what is changed`.
    pub fn name_without_place(&self) -> String {
        let change = self.name.splitn(4, ':').nth(3).unwrap_or_default();
        format!("{}:{change}", self.file)
    }
}

/// Asks cargo-mutants for the mutants of a crate.
pub fn read(name: &str) -> Result<Vec<Mutant>> {
    let mut command = paths::cargo();
    command.current_dir(paths::root()).args(["mutants", "--package", name, "--list", "--json"]);
    let captured = program::capture(&mut command, Duration::from_secs(300))?;
    ensure!(captured.success(), "cargo mutants --list: {}\n{}", captured.ending(), captured.stderr);
    let listed: Vec<Value> = serde_json::from_str(&captured.stdout).context("the list of cargo-mutants")?;
    (1..).zip(&listed).map(|(number, entry)| mutant(number, entry).context("an entry of cargo-mutants' list")).collect()
}

fn mutant(number: u32, entry: &Value) -> Option<Mutant> {
    let text = |key: &str| entry[key].as_str().map(str::to_owned);
    let start = &entry["span"]["start"];
    let place = |key: &str| start[key].as_u64().and_then(|value| usize::try_from(value).ok());
    Some(Mutant {
        number,
        file: text("file")?,
        genre: text("genre")?,
        replacement: text("replacement").unwrap_or_default(),
        start: (place("line")?, place("column")?.checked_sub(1)?),
        name: text("name")?,
    })
}

#[cfg(test)]
mod tests {
    use super::mutant;

    #[test]
    fn an_entry() {
        let entry = serde_json::json!({
            "file": "crates/x/src/lib.rs", "genre": "BinaryOperator", "replacement": "|",
            "span": {"start": {"line": 22, "column": 21}, "end": {"line": 22, "column": 22}},
            "name": "crates/x/src/lib.rs:22:21: replace & with | in <impl From<A::B> for C>::from",
        });
        let mutant = mutant(1, &entry).unwrap();
        assert_eq!(mutant.start, (22, 20));
        assert_eq!(
            mutant.name_without_place(),
            "crates/x/src/lib.rs: replace & with | in <impl From<A::B> for C>::from"
        );
    }
}
