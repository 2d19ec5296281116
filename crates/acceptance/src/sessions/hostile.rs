//! Dumps in which a kernel's structures are damaged, one thing at a time: the rest must be listed, the damage told with its
//! place, and nothing may hang.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use testkit::dump::kernel::Mapped;
use xtask::outcome::Outcome;

use super::kernel::{self, Made};
use super::product;
use super::withheld::{point, poke};
use session_kernels::truth::{BUFFER_SIZE, HEADER};

/// What must come of a dump.
enum Wanted {
    /// So many sessions, and a warning that holds these words.
    Listed(usize, &'static str),
    /// All sessions, and at this place of the report this value: what is lost is counted there.
    Shown(&'static str, &'static str),
    /// An error that holds these words.
    Refused(&'static str),
}

use Wanted::{Listed, Refused, Shown};

/// A damage, whether the PDB is at hand, and what must come of it.
struct Case {
    name: &'static str,
    damage: fn(&Made, &mut Mapped) -> Result<()>,
    has_pdb: bool,
    wanted: Wanted,
}

const fn case(name: &'static str, damage: fn(&Made, &mut Mapped) -> Result<()>, has_pdb: bool, wanted: Wanted) -> Case {
    Case { name, damage, has_pdb, wanted }
}

/// A canonical address at which nothing is.
const NOWHERE: u64 = 0xffff_c000_dead_0000;

/// The address of a member of a session's context.
fn member(made: &Made, session: usize, name: &str) -> Result<u64> {
    let member = made.member(&made.sessions[session], name)?;
    member.ok_or_else(|| anyhow::anyhow!("the kernel's context has no {name}"))
}

/// The link of a buffer of the first session.
fn link(made: &Made, index: usize) -> Result<u64> {
    Ok(made.buffer(&made.sessions[0], index)? + 0x38)
}

const CASES: &[Case] = &[
    case(
        "a buffer that follows itself",
        |made, mapped| {
            point(mapped, link(made, 0)?, link(made, 0)?);
            Ok(())
        },
        true,
        Listed(3, "0x"),
    ),
    case(
        "a list that misses its head",
        |made, mapped| {
            point(mapped, link(made, 3)?, link(made, 1)?);
            Ok(())
        },
        true,
        Listed(3, "0x"),
    ),
    case(
        "a link to nowhere",
        |made, mapped| {
            point(mapped, link(made, 1)?, NOWHERE + 0x38);
            Ok(())
        },
        true,
        Listed(3, "dead00"),
    ),
    case(
        "a link to a program's memory",
        |made, mapped| {
            point(mapped, link(made, 1)?, 0x1_0038);
            Ok(())
        },
        true,
        Listed(3, "0x"),
    ),
    case(
        "a link that is not an address",
        |made, mapped| {
            point(mapped, link(made, 1)?, 0x7fff_ffff_ffff_ffff);
            Ok(())
        },
        true,
        Listed(3, "0x"),
    ),
    case(
        "a node to nowhere",
        |made, mapped| {
            point(mapped, made.address("LogBNode0")? + 0x20, NOWHERE);
            Ok(())
        },
        true,
        Shown("/sessions/1/left_out/unreadable", "1"),
    ),
    case(
        "a name at nowhere",
        |made, mapped| {
            point(mapped, member(made, 0, "LoggerName")? + 8, NOWHERE);
            Ok(())
        },
        true,
        Shown("/sessions/0/name", "null"),
    ),
    case(
        "a name of 65,534 bytes",
        |made, mapped| {
            poke(mapped, member(made, 0, "LoggerName")?, &[0xfe, 0xff, 0xfe, 0xff]);
            Ok(())
        },
        true,
        Listed(3, ""),
    ),
    case(
        "an id in another's place",
        |made, mapped| {
            poke(mapped, member(made, 1, "LoggerId")?, &6u32.to_le_bytes());
            Ok(())
        },
        true,
        Listed(3, "LoggerId at address 0x"),
    ),
    case(
        "a context at nowhere",
        |made, mapped| {
            point(mapped, made.array()? + 8 * 7, NOWHERE);
            Ok(())
        },
        true,
        Listed(3, "dead00"),
    ),
    case(
        "four billion slots",
        |made, mapped| {
            let at = made.address("HostState")? + u64::from(made.kernel.silo["MaxLoggers"]);
            poke(mapped, at, &u32::MAX.to_le_bytes());
            Ok(())
        },
        true,
        Listed(3, "no array of contexts"),
    ),
    case(
        "four billion buffers",
        |made, mapped| {
            poke(mapped, member(made, 0, "NumberOfBuffers")?, &u32::MAX.to_le_bytes());
            point(mapped, link(made, 3)?, link(made, 1)?);
            Ok(())
        },
        true,
        Listed(3, "0x"),
    ),
    case(
        "buffers of 4 GiB",
        |made, mapped| {
            poke(mapped, member(made, 0, "BufferSize")?, &u32::MAX.to_le_bytes());
            poke(mapped, made.buffer(&made.sessions[0], 0)?, &u32::MAX.to_le_bytes());
            Ok(())
        },
        true,
        Listed(3, "0x"),
    ),
    case(
        "data beyond the buffer",
        |made, mapped| {
            let offsets = [u32::MAX.to_le_bytes(), u32::MAX.to_le_bytes()].concat();
            poke(mapped, made.buffer(&made.sessions[0], 2)? + 4, &offsets);
            Ok(())
        },
        true,
        Listed(3, ""),
    ),
    case(
        "an event that goes beyond the data",
        |made, mapped| {
            poke(mapped, made.buffer(&made.sessions[0], 2)? + u64::from(HEADER) + 4, &[0xff, 0xff]);
            Ok(())
        },
        true,
        Shown("/sessions/0/buffer_list/2/cut", "1232"),
    ),
    case(
        "an event of no bytes",
        |made, mapped| {
            poke(mapped, made.buffer(&made.sessions[1], 0)? + u64::from(HEADER), &[0, 0]);
            Ok(())
        },
        true,
        Shown("/sessions/1/buffer_list/0/cut", "2448"),
    ),
    case(
        "half of a buffer is not in the dump",
        |made, mapped| {
            mapped.absent.insert(made.buffer(&made.sessions[0], 0)? + u64::from(BUFFER_SIZE) / 2);
            Ok(())
        },
        true,
        Shown("/sessions/0/buffer_list/0/cut", "4200"),
    ),
    case(
        "the array is not in the dump",
        |made, mapped| {
            let at = made.address("HostState")? + u64::from(made.kernel.silo["EtwpLoggerContext"]);
            point(mapped, at, NOWHERE);
            Ok(())
        },
        true,
        Listed(3, "dead0000"),
    ),
    case(
        "no context knows the silo",
        |made, mapped| {
            for index in 0..made.sessions.len() {
                point(mapped, member(made, index, "SiloState")?, 0);
            }
            point(mapped, made.address("KdDebuggerDataBlock")? + 0x330, 0);
            Ok(())
        },
        false,
        Refused("ntkrnlmp.pdb"),
    ),
    case(
        "a build from the future",
        |made, mapped| {
            mapped.build = 99_999;
            poke(mapped, made.address("EtwpDebuggerData")? + 1, &[9]);
            Ok(())
        },
        false,
        Refused("ntkrnlmp.pdb"),
    ),
];

/// Runs every case on one kernel.
pub fn check(made: &Made, work: &Path, outcome: &mut Outcome) -> Result<()> {
    let pdb = made.dir.join("ntkrnlmp.pdb");
    for (index, case) in CASES.iter().enumerate() {
        let mut machine = kernel::machine(made)?;
        (case.damage)(made, &mut machine)?;
        let dump = work.join("dumps").join(format!("damaged-{index}.dmp"));
        std::fs::write(&dump, if index % 2 == 0 { machine.bitmap() } else { machine.full() })?;
        let start = Instant::now();
        let captured = product::run(&dump, case.has_pdb.then_some(pdb.as_path()), &[])?;
        let judged = judge(&case.wanted, &captured, start.elapsed());
        match judged {
            Ok(told) => {
                println!("ok      {}: {told}", case.name);
                outcome.add_pass();
            }
            Err(error) => outcome.add_failure(format!("damaged dump, {}: {error:#}", case.name)),
        }
    }
    Ok(())
}

/// What was told of the damage.
fn judge(wanted: &Wanted, captured: &xtask::program::Captured, time: Duration) -> Result<String> {
    ensure!(captured.status.is_some(), "it hangs");
    ensure!(time < Duration::from_secs(20), "it takes {:.1} s", time.as_secs_f64());
    match (wanted, captured.code()) {
        (Listed(sessions, words), Some(0)) => {
            let report: Value = serde_json::from_str(&captured.stdout)?;
            let found = report["sessions"].as_array().map_or(0, Vec::len);
            ensure!(found == *sessions, "{found} sessions, {sessions} expected: {}", report["warnings"]);
            let warnings: Vec<&str> =
                report["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let told = warnings.iter().find(|warning| warning.contains(words));
            match told {
                Some(told) => Ok((*told).to_owned()),
                None if words.is_empty() => Ok("nothing".to_owned()),
                None => bail!("no warning has {words:?}: {warnings:?}"),
            }
        }
        (Shown(place, value), Some(0)) => {
            let report: Value = serde_json::from_str(&captured.stdout)?;
            ensure!(report["sessions"].as_array().map_or(0, Vec::len) == 3, "not all sessions: {}", report["sessions"]);
            let found = report.pointer(place).map(ToString::to_string);
            ensure!(found.as_deref() == Some(*value), "{place} is {found:?}, not {value}");
            Ok(format!("{place} is {value}"))
        }
        (Refused(words), Some(2)) => {
            let told = captured.stderr.lines().find(|line| line.starts_with("error") && line.contains(words));
            Ok(told.ok_or_else(|| anyhow::anyhow!("no error has {words:?}: {}", captured.stderr))?.to_owned())
        }
        _ => bail!("{}\n{}", captured.ending(), captured.stderr),
    }
}
