//! libipt's hand-made cases: the flow's instructions and events against the expected output of ptxed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use intel_pt::flow::{BlockId, Blocks, Event, Stop, Table, Visitor, Walker};
use intel_pt::{Exec, Packet, Pwre, Pwrx};
use xtask::outcome::Outcome;

/// Cases that differ, and why. An entry that does not differ any more fails too, so that the list stays true.
const DIFFERENCES: &[(&str, &str)] = &[];

/// One line of ptxed's output, or several events at one place: their order there is the tool's own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Instruction(u64),
    Events(Vec<String>),
    /// `--quiet --stat:insn`.
    Count(u64),
}

pub fn run(data: &Path) -> Result<Outcome> {
    let folder = data.join("pt/libipt");
    let table = fs::read_to_string(folder.join("cases.tsv")).context("cases.tsv")?;
    let mut expectations: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((stem, rest)) = name.split_once("-ptxed")
            && rest.ends_with(".exp")
        {
            expectations.entry(stem.to_owned()).or_default().push(name);
        }
    }
    let mut outcome = Outcome::default();
    for row in table.lines().filter(|row| !row.starts_with('#')) {
        let columns: Vec<&str> = row.split('\t').collect();
        let (stem, options) = (columns[0], columns.get(4).copied().unwrap_or_default());
        let Some(files) = expectations.get_mut(stem) else {
            // Some cases are about packets alone.
            continue;
        };
        files.sort();
        let org = u64::from_str_radix(columns[1].trim_start_matches("0x"), 16).context("cases.tsv: org")?;
        let trace = fs::read(folder.join(format!("{stem}.pt")))?;
        let code = fs::read(folder.join(format!("{stem}.bin")))?;
        let (found, stop) = flow(org, &code, &trace, options);
        for file in files {
            let expected = parse(&fs::read_to_string(folder.join(&*file))?);
            let equal = match expected.as_slice() {
                [Line::Count(n)] => {
                    *n == found.iter().filter(|line| matches!(line, Line::Instruction(_))).count() as u64
                }
                _ => expected == found,
            };
            let explained = DIFFERENCES.iter().find(|(name, _)| *name == stem);
            match (equal && stop == Stop::End, explained) {
                (true, None) => outcome.add_pass(),
                (false, Some((_, why))) => {
                    println!("{file}: differs: {why}");
                    outcome.add_pass();
                }
                (true, Some(_)) => outcome.add_failure(format!("{file}: listed as different, but equal")),
                (false, None) => outcome.add_failure(format!(
                    "{file}: differs, stop {stop:x?}\nexpected {expected:x?}\nfound    {found:x?}"
                )),
            }
        }
    }
    Ok(outcome)
}

fn flow(org: u64, code: &[u8], trace: &[u8], options: &str) -> (Vec<Line>, Stop) {
    let image: &[(u64, &[u8])] = &[(org, code)];
    let mut log = Log { lines: Vec::new(), with_ip: options.contains("--event:ip"), options };
    let stop = Walker::new(trace).run(&mut Blocks::new(image), &mut log);
    (grouped(log.lines), stop)
}

struct Log<'a> {
    lines: Vec<Line>,
    with_ip: bool,
    options: &'a str,
}

impl Visitor for Log<'_> {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            self.lines.extend(table.addresses(*id).map(Line::Instruction));
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        self.lines.extend(table.addresses(id).take(instructions as usize).map(Line::Instruction));
    }

    fn event(&mut self, _: usize, event: &Event) {
        let text = match *event {
            Event::Enabled { resumed: true, .. } => "resumed".to_owned(),
            Event::Enabled { .. } => "enabled".to_owned(),
            Event::Disabled { at: Some(at), .. } if self.with_ip => format!("disabled, at: {at:016x}"),
            Event::Disabled { .. } => "disabled".to_owned(),
            Event::Interrupt { .. } => "interrupt".to_owned(),
            Event::Aborted => "aborted".to_owned(),
            Event::Overflow { .. } => "overflow".to_owned(),
            Event::Exec(exec) => self.mode(exec),
            Event::Paging(pip) => format!("paging, cr3: {:016x}", pip.cr3),
            Event::Vmcs(vmcs) => format!("vmcs, base: {:016x}", vmcs.base),
            Event::Stopped => "stopped".to_owned(),
            Event::Status { packet, ip } => {
                let ip = ip.filter(|_| self.with_ip).map_or(String::new(), |ip| format!(", ip: {ip:016x}"));
                format!("{}{ip}", status(&packet))
            }
            _ => return,
        };
        self.lines.push(Line::Events(vec![text]));
    }
}

impl Log<'_> {
    fn mode(&self, exec: Exec) -> String {
        if self.options.contains("iflags") {
            return format!("interrupts {}", if exec.interrupts { "enabled" } else { "disabled" });
        }
        let bits = match (exec.cs_l, exec.cs_d) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        };
        format!("exec mode: {bits}-bit")
    }
}

fn status(packet: &Packet) -> String {
    // A C-state is counted from 1, and 15 stands for C0.
    let state = |raw: u8| format!("c{}", (raw + 1) & 0xf);
    match *packet {
        Packet::Cbr(ratio) => format!("cbr: {ratio:x}"),
        Packet::Mnt(payload) => format!("mnt: {payload:x}"),
        Packet::Exstop { .. } => "exstop".to_owned(),
        Packet::Mwait { hints, extensions } => format!("mwait {hints:x} {extensions:x}"),
        Packet::Pwre(Pwre { state: raw, sub_state, hardware }) => {
            format!("pwre {}.{}{}", state(raw), (sub_state + 1) & 0xf, if hardware { " hw" } else { "" })
        }
        Packet::Pwrx(Pwrx { last, deepest, wake }) => {
            let reason = match wake {
                1 => "int: ",
                4 => "st: ",
                8 => "hw: ",
                _ => "",
            };
            format!("pwrx {reason}{} ({})", state(last), state(deepest))
        }
        Packet::Trig(trigger) => format!("trig {:x}", trigger.triggers),
        ref other => format!("{other:?}"),
    }
}

fn parse(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.trim().trim_start_matches("? ").trim();
        if let Some(event) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            // A time stamp of 16 digits may come first.
            let event = match event.split_once(' ') {
                Some((first, rest)) if first.len() == 16 && u64::from_str_radix(first, 16).is_ok() => rest.trim(),
                _ => event,
            };
            // What the tool says about itself, and clock ticks, which are asked for by `--event:tick`.
            let own = event.contains("config error") || event == "end of trace" || event == "tick";
            if !own {
                lines.push(Line::Events(vec![event.to_owned()]));
            }
        } else if let Some(count) = line.strip_prefix("insn:") {
            let count = count.trim().trim_end_matches('.');
            lines.extend(count.parse().ok().map(Line::Count));
        } else if let Ok(address) = u64::from_str_radix(line, 16) {
            lines.push(Line::Instruction(address));
        }
    }
    grouped(lines)
}

/// Events at one place as one line, in alphabetical order.
fn grouped(lines: Vec<Line>) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    for line in lines {
        match (out.last_mut(), line) {
            (Some(Line::Events(group)), Line::Events(more)) => {
                group.extend(more);
                group.sort();
            }
            (_, line) => out.push(line),
        }
    }
    out
}
