//! The experiments with both forms of import call (e1, e2, e4), and the retpoline one that libipt loops on (e5).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use call_forms::{Importer, Input, Site, detect};
use intel_pt::flow::{BlockId, Blocks, Stop, Table, Visitor, Walker};
use xtask::outcome::Outcome;

const BASE: u64 = 0x10_0000;

pub fn run(data: &Path) -> Result<Outcome> {
    let folder = data.join("pt/import-forms");
    let read = |name: String| fs::read(folder.join(&name)).context(name);
    let mut outcome = Outcome::default();
    for stem in ["e1", "e2", "e4"] {
        for truth in ["off", "on"] {
            let name = format!("{stem}.truth_{truth}.pt");
            if !folder.join(&name).is_file() {
                // e2 was recorded as linked only.
                continue;
            }
            let trace = read(name.clone())?;
            // With the image in the form that was recorded, the walk runs through.
            let image = read(format!("{stem}.{truth}.bin"))?;
            let (_, stop) = walk(&image, &trace);
            check(&mut outcome, stop == Stop::End, || format!("{name}: the walk over its own image: {stop:x?}"));
            // With either image the one witness votes right.
            for form in ["off", "on"] {
                let image = read(format!("{stem}.{form}.bin"))?;
                let code: &[(u64, &[u8])] = &[(BASE, &image)];
                let site =
                    Site { va: BASE, slot: BASE + 0x1a, target: Some(BASE + 0x15), call: true, can_be_direct: true };
                let importer = Importer { name: stem.to_owned(), sites: vec![site], stub: None };
                let verdict = detect(&Input::new(code, vec![importer], vec![&trace]));
                let expected = if truth == "on" { (1, 0) } else { (0, 1) };
                let found = (verdict.votes_on, verdict.votes_off);
                check(&mut outcome, found == expected, || format!("{name} over {form}: votes {found:?}"));
            }
        }
    }
    // The stub's return goes elsewhere than to its call, so a decoder that does not pop there never ends.
    let (executed, stop) = walk(&read("e5_retpoline.bin".to_owned())?, &read("e5_retpoline.pt".to_owned())?);
    let offsets: Vec<u64> = executed.iter().map(|ip| ip - BASE).collect();
    let expected = [0x00, 0x0b, 0x14, 0x18, 0x19, 0x1a, 0x05, 0x07, 0x08];
    check(&mut outcome, stop == Stop::End && offsets == expected, || format!("e5: {stop:x?}, executed {offsets:x?}"));
    Ok(outcome)
}

fn check(outcome: &mut Outcome, good: bool, text: impl FnOnce() -> String) {
    if good { outcome.add_pass() } else { outcome.add_failure(text()) }
}

fn walk(image: &[u8], trace: &[u8]) -> (Vec<u64>, Stop) {
    let code: &[(u64, &[u8])] = &[(BASE, image)];
    let mut executed = Executed::default();
    let stop = Walker::new(trace).run(&mut Blocks::new(code), &mut executed);
    (executed.0, stop)
}

#[derive(Default)]
struct Executed(Vec<u64>);

impl Visitor for Executed {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            self.0.extend(table.addresses(*id));
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        self.0.extend(table.addresses(id).take(instructions as usize));
    }
}
