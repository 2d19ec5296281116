//! Dumps that the engines must refuse: our own, with one rule broken each.
//!
//! They show that the rig can say no, and that the rules which `mdmp` enforces are the engines' and not superstition.

use std::path::Path;

use anyhow::{Context, Result};
use xtask::outcome::Outcome;

use super::rig::{Engine, Rig};
use super::rules;

/// A broken rule.
struct Refusal {
    name: &'static str,
    /// The dump to start from: its name among the cases.
    dump: &'static str,
    /// Breaks it.
    damage: fn(&mut [u8]) -> Result<()>,
    /// What the engine says, or the failing step.
    answer: &'static str,
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "Memory64List without the full-memory flag",
        dump: "memory64",
        damage: |dump| change_u32(dump, FLAGS, |flags| flags & !2),
        answer: "Partial memory minidumps can't have Memory64ListStreams",
    },
    Refusal {
        name: "MemoryList with the full-memory flag",
        dump: "minidump",
        damage: |dump| change_u32(dump, FLAGS, |flags| flags | 2),
        answer: "Full-memory minidump must have a Memory64ListStream",
    },
    Refusal {
        name: "another version",
        dump: "minidump",
        damage: |dump| change_u32(dump, VERSION, |version| version ^ 1),
        answer: "Could not match Dump File signature",
    },
    Refusal {
        name: "no system information",
        dump: "minidump",
        damage: |dump| drop_stream(dump, SYSTEM_INFO),
        answer: "Minidump does not have system info",
    },
    Refusal {
        name: "triage dump without its end mark",
        dump: "triage",
        damage: |dump| change_u32(dump, read_u32(dump, TRIAGE + VALID_OFFSET)? as usize, |mark| mark ^ 1),
        answer: "[rig] OpenDumpFile hr=80070570",
    },
    Refusal {
        name: "triage dump without a processor block",
        dump: "triage",
        damage: |dump| change_u32(dump, TRIAGE + PRCB_OFFSET, |_| 0),
        answer: "does not contain enough information to be debugged",
    },
    Refusal {
        name: "no thread",
        dump: "minidump",
        damage: |dump| drop_stream(dump, THREAD_LIST),
        answer: "[rig] WaitForEvent hr=8000ffff",
    },
];

const VERSION: usize = 4;
const STREAM_COUNT: usize = 8;
const DIRECTORY: usize = 12;
const FLAGS: usize = 24;
const THREAD_LIST: u32 = 3;
const SYSTEM_INFO: u32 = 7;
/// Where TRIAGE_DUMP64 begins, and two of its fields.
const TRIAGE: usize = 0x2000;
const VALID_OFFSET: usize = 8;
const PRCB_OFFSET: usize = 0x1c;

/// Breaks each rule in a copy of a dump that `work` holds, and lets both engines look at it.
pub fn check(rig: &Rig, work: &Path, outcome: &mut Outcome) -> Result<()> {
    for refusal in REFUSALS {
        let mut dump = std::fs::read(work.join(refusal.dump).with_extension("dmp"))?;
        (refusal.damage)(&mut dump).with_context(|| refusal.name)?;
        rules::refused(refusal.name, &dump, outcome);
        let path = work.join("refused.dmp");
        std::fs::write(&path, dump)?;
        for engine in Engine::ALL {
            let session = rig.session(engine, &path, "", &[])?;
            let place = format!("refused, dbgeng {}: {}", engine.version(), refusal.name);
            if session.code != Some(0) && session.opening.contains(refusal.answer) {
                println!("ok      {place}");
                outcome.add_pass();
            } else {
                let (code, opening) = (session.code, session.opening);
                outcome.add_failure(format!("{place}: status {code:?}, and no {:?}\n{opening}", refusal.answer));
            }
        }
    }
    Ok(())
}

fn read_u32(dump: &[u8], at: usize) -> Result<u32> {
    let bytes = dump.get(at..at + 4).with_context(|| format!("the dump ends before {at:#x}"))?;
    Ok(u32::from_le_bytes(bytes.try_into()?))
}

fn change_u32(dump: &mut [u8], at: usize, change: fn(u32) -> u32) -> Result<()> {
    let changed = change(read_u32(dump, at)?);
    dump[at..at + 4].copy_from_slice(&changed.to_le_bytes());
    Ok(())
}

/// Makes a stream one of a type that nobody reads.
fn drop_stream(dump: &mut [u8], kind: u32) -> Result<()> {
    let (count, directory) = (read_u32(dump, STREAM_COUNT)? as usize, read_u32(dump, DIRECTORY)? as usize);
    for entry in (0..count).map(|index| directory + 12 * index) {
        if read_u32(dump, entry)? == kind {
            return change_u32(dump, entry, |_| 0x7fff_0000);
        }
    }
    anyhow::bail!("the dump has no stream {kind}")
}
