//! Dumps of each kind that the program reads.

use anyhow::Result;
use mkdump::dump::Dump;
use testkit::dump::kernel::Machine;
use testkit::dump::user::Recipe;

use super::Sample;

pub fn samples() -> Vec<Sample> {
    let machine = Machine::sample();
    let sample =
        |name, shows, modules, bytes| Sample { name, shows, answer: format!("{modules} modules"), bytes, found };
    vec![
        sample("dumps/minidump.dmp", "a user minidump with MemoryList", 1, Recipe::good().build()),
        sample("dumps/minidump64.dmp", "a user minidump with Memory64List", 1, Recipe::good64().build()),
        sample("dumps/triage.dmp", "a kernel triage dump: two threads with their stacks", 2, machine.triage()),
        sample("dumps/full.dmp", "a kernel dump of physical memory, in runs of pages", 2, machine.full()),
        sample("dumps/bitmap.dmp", "the same, with a bitmap of pages", 2, machine.bitmap()),
        Sample {
            name: "dumps/sessions.dmp",
            shows: "a kernel dump that holds trace sessions",
            answer: "3 trace sessions, 8 events".to_owned(),
            bytes: testkit::dump::sessions::sample().machine().bitmap(),
            found: sessions,
        },
    ]
}

fn sessions(file: &[u8]) -> Result<String> {
    let dump = Dump::open(file)?;
    let found = dump.sessions(None)?.sessions.sessions;
    let events: u64 = found.iter().map(etw_sessions::Session::events).sum();
    Ok(format!("{} trace sessions, {events} events", found.len()))
}

fn found(file: &[u8]) -> Result<String> {
    Ok(format!("{} modules", Dump::open(file)?.snapshot().modules.len()))
}
