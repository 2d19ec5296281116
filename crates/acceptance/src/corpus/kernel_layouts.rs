//! Where kernels have their trace sessions: what the tables say against a real dump, and against the table that the checks
//! of sessions use.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use xtask::outcome::Outcome;

use session_kernels::layouts::{self, Layout};

/// The kernel of the triage dump.
const DUMPED: (&str, &str) = ("19041.804", "5278AFF86C341677D7D7835C85B7B8441");

/// A block of tab-separated columns: the cells of each row by the heads.
type Rows = Vec<BTreeMap<String, String>>;

/// Compares the tables with the dump's kernel, and with `session-kernels/src/layouts.tsv`.
pub fn run(data: &Path) -> Result<Outcome> {
    let vectors = data.join("../specs/vectors");
    let mut outcome = Outcome::default();
    let builds = blocks(&vectors.join("etw-builds.tsv"), "version")?.remove(0);
    let members = blocks(&vectors.join("etw-layouts.tsv"), "member")?;
    table(&builds, &members, &mut outcome)?;
    let dump = data.join("dumps/triage_x64.dmp");
    if dump.is_file() {
        real(&builds, &fs::read(dump)?, &mut outcome)?;
    } else {
        outcome.add_skip(format!("corpus kernel-layouts: no dump, {} is missing", dump.display()));
    }
    Ok(outcome)
}

fn blocks(path: &Path, head: &str) -> Result<Vec<Rows>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut heads: Vec<&str> = Vec::new();
    let mut blocks: Vec<Rows> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        if cells[0] == head {
            heads = cells;
            blocks.push(Rows::new());
        } else {
            let pairs = heads.iter().zip(cells).map(|(head, cell)| ((*head).to_owned(), cell.to_owned()));
            blocks.last_mut().with_context(|| format!("a row before the first head: {line:?}"))?.push(pairs.collect());
        }
    }
    ensure!(!blocks.is_empty(), "{} has no table", path.display());
    Ok(blocks)
}

/// Every number of the table that the made kernels are built from.
fn table(builds: &Rows, members: &[Rows], outcome: &mut Outcome) -> Result<()> {
    let kernels = layouts::kernels()?;
    for kernel in &kernels {
        let row = builds.iter().find(|row| row["version"] == kernel.version);
        let row = row.with_context(|| format!("no kernel {} in the vectors", kernel.version))?;
        let same = row["context"] == kernel.names.0
            && row["silo"] == kernel.names.1
            && row["pdb_guid_age"] == kernel.pdb.unwrap_or("-")
            && kernel.places.iter().all(|(head, place)| row[*head] == format!("{place:x}"));
        judge(outcome, same, || format!("{}: {row:?}, the checks have {kernel:?}", kernel.version));
        for (layout, name) in [(&kernel.context, kernel.names.0), (&kernel.silo, kernel.names.1)] {
            let column = |rows: &Rows| -> BTreeMap<String, String> {
                let cells = rows.iter().filter_map(|row| Some((row["member"].clone(), row.get(name)?.clone())));
                cells.filter(|(_, cell)| cell != "-").collect()
            };
            let wanted = members.iter().map(column).find(|column| !column.is_empty()).unwrap_or_default();
            let ours = |layout: &Layout| -> BTreeMap<String, String> {
                layout.iter().map(|(member, offset)| ((*member).to_owned(), format!("{offset:x}"))).collect()
            };
            judge(outcome, ours(layout) == wanted, || format!("{name}: {wanted:?}, the checks have {layout:?}"));
        }
    }
    println!("{} kernels of the checks are those of the vectors", kernels.len());
    Ok(())
}

/// Compares addresses in the dump with those of the table of symbols. The table comes from the kernel's PDB, the dump from a
/// machine without it.
fn real(builds: &Rows, dump: &[u8], outcome: &mut Outcome) -> Result<()> {
    let (version, key) = DUMPED;
    let row = builds.iter().find(|row| row["pdb_guid_age"] == key);
    let row = row.with_context(|| format!("no kernel with the PDB {key} in the vectors"))?;
    judge(outcome, row["version"] == version, || format!("{key} is {}, not {version}", row["version"]));
    let long = |at: usize| -> Result<u64> {
        let field = dump.get(at..at + 8).with_context(|| format!("the dump ends before {at:#x}"))?;
        Ok(u64::from_le_bytes(field.try_into()?))
    };
    // TRIAGE_DUMP64.DebuggerDataOffset, and in KDDEBUGGER_DATA64 the kernel's base and EtwpDebuggerData.
    let data = usize::try_from(long(0x2070)? & 0xffff_ffff)?;
    ensure!(dump.get(data + 0x10..data + 0x14) == Some(b"KDBG"), "no debugger data at {data:#x} of the dump");
    let base = long(data + 0x18)?;
    let facts = [
        ("EtwpDebuggerData", long(data + 0x330)?),
        ("KdDebuggerDataBlock", long(0x80)?),
        ("PsLoadedModuleList", long(0x20)?),
    ];
    for (symbol, address) in facts {
        let wanted = base + u64::from_str_radix(&row[symbol], 16).with_context(|| format!("{symbol} of {version}"))?;
        println!("{symbol} of {version}: {address:#x}");
        judge(outcome, address == wanted, || format!("{symbol}: the dump has {address:#x}, the table {wanted:#x}"));
    }
    Ok(())
}

fn judge(outcome: &mut Outcome, passed: bool, reason: impl FnOnce() -> String) {
    if passed {
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("corpus kernel-layouts: {}", reason()));
    }
}
