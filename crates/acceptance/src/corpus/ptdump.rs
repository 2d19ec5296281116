//! libipt's hand-made cases: the packets against the expected output of ptdump, runs of blanks collapsed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use intel_pt::{LastIp, Packet, Packets};
use xtask::outcome::Outcome;

/// Cases of which a part is not compared, and why. A case in this list that has no such part fails, and so does one
/// that has it and is not in the list.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("bad_cpu", "the line about errata of an unknown processor: errata are no part of packets"),
    ("cbr-cyc", TIME),
    ("cbr-mtc-cyc-mtc", TIME),
    ("cbr-tsc-cyc-tma", TIME),
    ("cbr-tsc-tma-mtc-cyc", TIME),
    ("mtc", TIME),
    ("mtc-cyc_calibrate", TIME),
    ("mtc-ovf_keep-cyc", TIME),
    ("mtc-ovf_reset-cyc", TIME),
];
const TIME: &str = "ptdump's estimate of time (the column tsc ±N and its calibration errors): the crate has no clock";

pub fn run(data: &Path) -> Result<Outcome> {
    let folder = data.join("pt/libipt");
    let table = fs::read_to_string(folder.join("cases.tsv")).context("cases.tsv")?;
    let mut expectations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((stem, _)) = name.split_once("-ptdump") {
            expectations.entry(stem.to_owned()).or_default().push(name);
        }
    }
    let mut outcome = Outcome::default();
    for row in table.lines().filter(|row| !row.starts_with('#')) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (stem, options) = (columns[0], columns.get(3).copied().unwrap_or_default());
        let Some(mut files) = expectations.remove(stem) else { continue };
        files.sort();
        let found = dump(&fs::read(folder.join(format!("{stem}.pt")))?, options);
        for file in files {
            let text = fs::read_to_string(folder.join(&file))?;
            let all: Vec<String> = text.lines().map(collapse).collect();
            let expected: Vec<String> = all.iter().filter_map(|line| packet_line(line)).collect();
            match (expected == found, expected != all, NOT_COMPARED.iter().find(|(name, _)| *name == stem)) {
                (true, false, None) => outcome.add_pass(),
                (true, true, Some((_, why))) => {
                    println!("{file}: not compared: {why}");
                    outcome.add_pass();
                }
                (true, ..) => outcome.add_failure(format!("{file}: the list of parts not compared is out of date")),
                (false, ..) => outcome.add_failure(format!(
                    "{file}: differs\nexpected:\n{}\nfound:\n{}",
                    expected.join("\n"),
                    found.join("\n")
                )),
            }
        }
    }
    for stem in expectations.keys() {
        outcome.add_failure(format!("{stem}: has expected output and no row in cases.tsv"));
    }
    Ok(outcome)
}

/// The packets as ptdump prints them, blanks collapsed.
fn dump(trace: &[u8], options: &str) -> Vec<String> {
    let sync = !options.split(' ').any(|option| option == "--no-sync");
    let with_last_ip = options.split(' ').any(|option| option == "--lastip");
    let mut last = LastIp::unknown();
    let mut lines = Vec::new();
    for item in if sync { Packets::new(trace) } else { Packets::at(trace, 0) } {
        let (offset, packet) = match item {
            Ok(found) => found,
            Err(gap) => {
                lines.push(format!("[{gap}]"));
                continue;
            }
        };
        // ptdump prints what a packet comes to in a column of its own.
        let tracked = match packet {
            Packet::Pip(pip) => format!(" cr3 {:016x}", pip.cr3),
            Packet::Vmcs(vmcs) => format!(" vmcs {:016x}", vmcs.base),
            Packet::Psb => {
                last = LastIp::after_psb();
                String::new()
            }
            _ => match packet.ip().filter(|_| with_last_ip).map(|ip| last.update(ip)) {
                Some(Some(ip)) => format!(" ip {ip:016x}"),
                Some(None) => " ip <suppressed>".to_owned(),
                None => String::new(),
            },
        };
        lines.push(collapse(&format!("{offset:016x} {packet}{tracked}")));
    }
    lines
}

fn collapse(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A line of ptdump's without its estimate of time; nothing for its remarks, which stand in brackets.
fn packet_line(line: &str) -> Option<String> {
    if line.starts_with('[') {
        return None;
    }
    let untimed = [" tsc +", " tsc -"].iter().find_map(|column| line.split_once(column)).map(|(packet, _)| packet);
    Some(untimed.unwrap_or(line).to_owned())
}
