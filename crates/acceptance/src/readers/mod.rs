//! Our output in the readers that other people wrote: each must find the same modules, bases, PDB ids and bytes.
//!
//! The table at the end is the one in the README. A reader that cannot be installed is reported as skipped.

mod breakpad;
mod lldb;
mod llvm;
pub mod python;
mod rust_minidump;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xtask::outcome::Outcome;
use xtask::paths;
use xtask::tools::Found;

use crate::system::System;
use crate::{dump, system};

/// What a reader is given: a dump, and places to read.
#[derive(Debug)]
pub struct Subject {
    /// The dump.
    pub dump: PathBuf,
    /// Addresses and lengths.
    pub probes: Vec<(u64, usize)>,
}

impl Subject {
    /// The probes that lie wholly in a range that begins at `start`, with their bytes.
    fn found_in(&self, start: u64, range: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let inside = |address: u64, length: usize| {
            let at = usize::try_from(address.checked_sub(start)?).ok()?;
            Some((address, range.get(at..at.checked_add(length)?)?.to_vec()))
        };
        self.probes.iter().filter_map(|&(address, length)| inside(address, length)).collect()
    }
}

/// What a reader says about a dump.
#[derive(Debug, Default)]
pub struct Reading {
    /// The reader's own version.
    pub version: String,
    /// Modules by base: size where it is told, and the path.
    pub modules: BTreeMap<u64, (Option<u32>, String)>,
    /// PDB keys by module base: GUID and age as a symbol store has them.
    pub pdbs: BTreeMap<u64, String>,
    /// Bytes by address.
    pub bytes: BTreeMap<u64, Vec<u8>>,
}

/// A reader.
struct Reader {
    name: &'static str,
    layout: Layout,
    /// Whether it tells PDB ids at all.
    tells_pdbs: bool,
    read: fn(&Subject) -> Result<Found<Reading>>,
}

/// Which of the two memory lists the dump has: no file can carry both, and no list pleases every reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// MemoryList, the default.
    Memory32,
    /// Memory64List: `--memory-list 64`.
    Memory64,
}

const READERS: &[Reader] = &[
    Reader { name: "lldb", layout: Layout::Memory32, tells_pdbs: true, read: lldb::read },
    Reader { name: "lldb", layout: Layout::Memory64, tells_pdbs: true, read: lldb::read },
    Reader { name: "rust-minidump", layout: Layout::Memory32, tells_pdbs: true, read: rust_minidump::read },
    Reader { name: "rust-minidump", layout: Layout::Memory64, tells_pdbs: true, read: rust_minidump::read },
    Reader { name: "breakpad minidump_dump", layout: Layout::Memory32, tells_pdbs: true, read: breakpad::read },
    Reader { name: "LLVM obj2yaml", layout: Layout::Memory32, tells_pdbs: true, read: llvm::read },
    Reader { name: "skelsec minidump", layout: Layout::Memory32, tells_pdbs: false, read: python::skelsec },
    Reader { name: "skelsec minidump", layout: Layout::Memory64, tells_pdbs: false, read: python::skelsec },
    Reader { name: "udmp-parser", layout: Layout::Memory64, tells_pdbs: true, read: python::udmp },
    Reader { name: "cle (angr)", layout: Layout::Memory64, tells_pdbs: false, read: python::cle },
];

/// Fetches the readers, and judges nothing.
pub fn prepare() -> Result<()> {
    // A reason why one cannot be had is given again, and counted, when the checks run.
    let _ = lldb::find()?;
    let _ = llvm::find()?;
    let _ = breakpad::find()?;
    python::prepare()
}

/// `cargo xtask readers`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("readers takes no arguments, {argument:?} given");
    }
    let work = paths::work("readers")?;
    let system = match system::build()? {
        Ok(system) => system,
        Err(reason) => return Ok(Outcome::skip(format!("readers: {reason}"))),
    };
    let memory32 = dump::build(&system, &work.join("memory32.dmp"), &["--memory-list", "32"])?.path;
    let memory64 = dump::build(&system, &work.join("memory64.dmp"), &["--memory-list", "64"])?.path;
    let probes = probes(&system)?;

    let mut outcome = Outcome::default();
    let mut table = vec![String::from(
        "| reader | memory list | modules, bases | PDB ids | bytes |\n| --- | --- | --- | --- | --- |",
    )];
    for reader in READERS {
        let dump = if reader.layout == Layout::Memory32 { &memory32 } else { &memory64 };
        table.push(row(reader, dump, &probes, &system, &mut outcome));
    }
    println!("\n{}", table.join("\n"));
    Ok(outcome)
}

/// Places where the bytes are known: every module's DOS header and every import site.
fn probes(system: &System) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut probes: BTreeMap<u64, Vec<u8>> =
        system.modules.iter().map(|module| (module.base, module.image.bytes[..16].to_vec())).collect();
    probes.extend(system.sites()?.into_iter().map(|site| (site.address, site.bytes.to_vec())));
    Ok(probes)
}

/// Lets one reader read, judges it, and returns its row of the table.
fn row(
    reader: &Reader,
    dump: &Path,
    probes: &BTreeMap<u64, Vec<u8>>,
    system: &System,
    outcome: &mut Outcome,
) -> String {
    let list = if reader.layout == Layout::Memory32 { "32" } else { "64" };
    let place = format!("{}, memory list {list}", reader.name);
    let subject = Subject {
        dump: dump.to_owned(),
        probes: probes.iter().map(|(address, bytes)| (*address, bytes.len())).collect(),
    };
    let reading = match (reader.read)(&subject) {
        Ok(Ok(reading)) => reading,
        Ok(Err(reason)) => {
            outcome.add_skip(format!("{place}: {reason}"));
            return format!("| {} | {list} | not run | | |", reader.name);
        }
        Err(error) => {
            outcome.add_failure(format!("{place}: {error:#}"));
            return format!("| {} | {list} | FAILED | | |", reader.name);
        }
    };
    let mut column = |what: &str, complaint: Option<String>| match complaint {
        None => {
            println!("ok      {place}: {what}");
            outcome.add_pass();
            "yes"
        }
        Some(complaint) => {
            outcome.add_failure(format!("{place}: {what}: {complaint}"));
            "FAILED"
        }
    };
    let modules = column("modules and bases", modules_differ(&reading, system));
    let pdbs = if reader.tells_pdbs { column("PDB ids", pdbs_differ(&reading, system)) } else { "not told" };
    let bytes = column("bytes", bytes_differ(&reading, probes));
    format!("| {} {} | {list} | {modules} | {pdbs} | {bytes} |", reader.name, reading.version)
}

fn modules_differ(reading: &Reading, system: &System) -> Option<String> {
    for module in &system.modules {
        let name = module.image.name();
        let Some((size, path)) = reading.modules.get(&module.base) else {
            return Some(format!("{name} is not at {:#x}; found {:x?}", module.base, reading.modules));
        };
        if path.rsplit(['\\', '/']).next() != Some(&name) {
            return Some(format!("{name} at {:#x} is called {path:?}", module.base));
        }
        if size.is_some_and(|size| size != module.image.size) {
            return Some(format!("{name} has size {size:x?}, not {:#x}", module.image.size));
        }
    }
    (reading.modules.len() != system.modules.len())
        .then(|| format!("{} modules, not {}", reading.modules.len(), system.modules.len()))
}

fn pdbs_differ(reading: &Reading, system: &System) -> Option<String> {
    system.modules.iter().find_map(|module| {
        let expected = module.image.pdb.as_ref()?.key();
        let found = reading.pdbs.get(&module.base);
        (found != Some(&expected)).then(|| format!("{}: {found:?}, not {expected}", module.image.name()))
    })
}

fn bytes_differ(reading: &Reading, probes: &BTreeMap<u64, Vec<u8>>) -> Option<String> {
    probes.iter().find_map(|(address, expected)| {
        let found = reading.bytes.get(address);
        (found != Some(expected)).then(|| format!("at {address:#x}: {found:02x?}, not {expected:02x?}"))
    })
}

/// The store key of a CodeView record: `RSDS`, GUID, age, name.
fn codeview_key(record: &[u8]) -> Option<String> {
    let (guid, age) = (record.get(4..20)?, record.get(20..24)?);
    let id = system::PdbId {
        name: String::new(),
        guid: guid.try_into().ok()?,
        age: u32::from_le_bytes(age.try_into().ok()?),
    };
    record.starts_with(b"RSDS").then(|| id.key())
}

fn hex_number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x").trim_start_matches("0X"), 16).ok()
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
