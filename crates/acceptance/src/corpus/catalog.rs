//! Real kernel images are found by the identity that the samples' table gives them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use symstore::{Cache, Guid, Index, IndexOptions, Lookup, PdbId, Wanted, image_key};
use xtask::outcome::Outcome;

/// A line of the table in the samples' README: `pe/…`, and what was measured of that file.
struct Sample {
    path: String,
    wanted: Wanted,
}

/// Indexes the images and asks for each one.
pub fn run(data: &Path) -> Result<Outcome> {
    let table = fs::read_to_string(data.join("README.md")).context("the samples' README.md")?;
    let samples: Vec<Sample> = table.lines().filter_map(sample).collect();
    let started = Instant::now();
    let options = IndexOptions {
        roots: vec![data.join("pe")],
        wanted: samples.iter().map(|sample| sample.wanted.clone()).collect(),
        cache: Cache::Off,
        ..Default::default()
    };
    let index = Index::build(&options)?;
    println!("{} files looked at, {} modules, {:?}", index.looked_at(), index.files().len(), started.elapsed());

    let mut outcome = Outcome::default();
    let mut keys = BTreeSet::new();
    for Sample { path, wanted } in &samples {
        keys.insert(image_key(wanted.timestamp.unwrap_or_default(), wanted.size));
        match index.find(wanted) {
            Lookup::Found { file, doubts } if file.location.file().ends_with(path) && doubts.is_empty() => {
                outcome.add_pass();
            }
            other => outcome.add_failure(format!("{path}: {other:?}")),
        }
        let newer = Wanted { timestamp: wanted.timestamp.map(|stamp| stamp ^ 1), ..wanted.clone() };
        match index.find(&newer) {
            Lookup::Mismatch { .. } => outcome.add_pass(),
            other => outcome.add_failure(format!("{path} with another stamp: {other:?}")),
        }
    }
    for note in index.notes() {
        outcome.add_failure(format!("a note about a good file: {note}"));
    }
    println!("{} samples in the table, {} keys", samples.len(), keys.len());
    Ok(outcome)
}

/// Columns of the table: file, bytes, source, version, SizeOfImage, TimeDateStamp, "GUID age name", ….
fn sample(line: &str) -> Option<Sample> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let path = columns.get(1)?.trim_matches('`');
    let hex = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let mut pdb = columns.get(7)?.split(' ');
    let (guid, age) = (Guid::parse(pdb.next()?)?, pdb.next()?.parse().ok()?);
    let wanted = Wanted {
        name: path.rsplit('/').next()?.to_owned(),
        size: hex(columns.get(5)?)?,
        timestamp: Some(hex(columns.get(6)?)?),
        pdb: Some(PdbId { guid, age }),
        ..Default::default()
    };
    path.starts_with("pe/").then(|| Sample { path: path.trim_start_matches("pe/").to_owned(), wanted })
}
