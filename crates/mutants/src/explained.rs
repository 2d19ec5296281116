//! Survivors that cannot matter, each with its reason: `crates/NAME/mutants.txt`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

/// Reads the list of a crate: lines of a mutant's name without line and column, a tab, and the reason. A crate without
/// a list explains nothing.
pub fn read(path: &Path) -> Result<BTreeSet<String>> {
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let mut explained = BTreeSet::new();
    for (number, line) in (1..).zip(crate::read_text(path)?.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('\t') {
            Some((mutant, reason)) if !reason.trim().is_empty() => explained.insert(mutant.to_owned()),
            _ => bail!("{}:{number}: a mutant, a tab and a reason are wanted, found {line:?}", path.display()),
        };
    }
    Ok(explained)
}
