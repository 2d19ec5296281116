//! The body of the fuzz target `check`: two damaged dumps side by side.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;

use mkdump::check::{CheckOptions, Class, check as check_dump};
use mkdump::{Search, Silent};
use symstore::Cache;
use testkit::dump::pair::{Pair, Wish};

thread_local! {
    static PAIRS: RefCell<BTreeMap<u8, Pair>> = const { RefCell::new(BTreeMap::new()) };
    static FILES: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// Checks one dump of a pair of testkit's against the other, both and a module file with edits. The first byte chooses the
/// pair; then edits of 5 bytes follow: which file (0 this dump, 1 the other, else a module), offset (3 bytes), value.
/// Nothing may panic, and every differing byte is in one class.
pub fn check(input: &[u8]) {
    let Some((&seed, edits)) = input.split_first() else { return };
    let seed = seed & 0x8f;
    let wish = Wish { seed: u64::from(seed % 16), flips: 4, breakpoints: 4, without_files: seed & 0x80 != 0 };
    // To make a pair takes longer than to check it.
    let mut pair = PAIRS.with_borrow_mut(|pairs| pairs.entry(seed).or_insert_with(|| Pair::random(&wish)).clone());
    for edit in edits.chunks_exact(5) {
        let count = pair.files.len();
        let file = match edit[0] {
            0 => &mut pair.dump,
            1 => &mut pair.real,
            number => &mut pair.files[usize::from(number) % count].1,
        };
        let at = u32::from_le_bytes([edit[1], edit[2], edit[3], 0]) as usize % file.len();
        file[at] = edit[4];
    }
    let dir = FILES.with_borrow_mut(|dir| dir.get_or_insert_with(|| tempfile::tempdir().unwrap()).path().to_owned());
    let mut roots = Vec::new();
    for (name, bytes) in &pair.files {
        roots.push(dir.join(name));
        fs::write(dir.join(name), bytes).unwrap();
    }
    let (dump, against) = (dir.join("ours.dmp"), dir.join("real.dmp"));
    fs::write(&dump, &pair.dump).unwrap();
    fs::write(&against, &pair.real).unwrap();
    let search = Search { roots, symbol_path: Vec::new(), cache: Cache::Off };
    let Ok(report) = check_dump(&CheckOptions { dump, against: Some(against), search }, &Silent) else { return };
    let _ = serde_json::to_string(&report).unwrap();
    let Some(comparison) = report.comparison else { return };
    for module in &comparison.modules {
        let classed: u64 = Class::ALL.iter().map(|&class| module.differences.of(class).bytes).sum();
        assert_eq!(classed, module.differing, "{}", module.name);
        assert!(module.differing <= module.bytes, "{}", module.name);
    }
}
