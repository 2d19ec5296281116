//! The events of real traces: as many of each kind as there are, in order of time, whatever is damaged; and the layouts of
//! live dumps as the provider's manifests have them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use etl_file::{EventId, Guid, Scratch, Trace};
use etw_decode::{Decoder, FieldType, Selection, live_dump};
use xtask::outcome::Outcome;

/// Events by provider and number.
type Counts = BTreeMap<(Option<Guid>, Option<u16>), u64>;

/// Times that each trace is read with a changed byte, and cut.
const DAMAGES: usize = 40;

/// Lists and counts the events of every trace.
pub fn run(data: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut files: Vec<_> = std::fs::read_dir(data.join("etl"))?.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "etl"));
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match check(&name, &std::fs::read(&file)?) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("{name}: {error:#}")),
        }
    }
    let table = data.join("../specs/vectors/livedump-events.tsv");
    match std::fs::read_to_string(&table) {
        Ok(text) => match layouts(&text) {
            Ok(()) => outcome.add_pass(),
            Err(error) => outcome.add_failure(format!("{}: {error:#}", table.display())),
        },
        Err(_) => outcome.add_skip(format!("corpus events: no table of live dumps, {} is missing", table.display())),
    }
    Ok(outcome)
}

fn check(name: &str, data: &[u8]) -> Result<()> {
    let trace = Trace::parse(data)?;
    let (decoder, all) = (Decoder::new(), Selection::default());
    let counts = all.count_kinds(&trace, &decoder);
    let events = trace.survey(&Default::default()).counts.events;
    ensure!(counts.events() + counts.unreadable == events, "{} counted, there are {events}", counts.events());
    let mut ours = Counts::new();
    for kind in &counts.kinds {
        *ours.entry((kind.provider, kind.number.number())).or_default() += kind.events;
    }
    ensure!(ours == plain(&trace)?, "the kinds are counted otherwise: {ours:?}");
    let start = Instant::now();
    let (mut named, mut before, mut unsorted) = (0u64, None, 0u64);
    let list = all.list(&trace, &decoder, None, |event| {
        named += u64::from(!event.decoded.fields.is_empty() || event.decoded.message.is_some());
        unsorted += u64::from(event.tick < before);
        before = event.tick.or(before);
        anyhow::Ok(())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(list.events == counts.events(), "{} listed, {} counted", list.events, counts.events());
    ensure!(unsorted == 0, "{unsorted} events are earlier than the one before");
    println!("{name}: {events} events in {seconds:.2} s, {} kinds, {named} with fields", counts.kinds.len());
    for number in 0..DAMAGES {
        let mut damaged = data.to_vec();
        // Places all over the file, the same in every run.
        let at = (number * 2_654_435_761) % damaged.len();
        if number % 4 == 0 {
            damaged.truncate(at);
        } else {
            damaged[at] ^= 1 << (number % 8);
        }
        let Ok(trace) = Trace::parse(&damaged) else { continue };
        let counted = all.count(&trace, &decoder);
        let listed = all.list(&trace, &decoder, Some(10), |_| anyhow::Ok(()))?.events;
        ensure!(counted == listed, "damaged at {at}: {counted} counted, {listed} listed");
    }
    Ok(())
}

/// Each kind's events counted without the crate under test.
fn plain(trace: &Trace<'_>) -> Result<Counts> {
    let mut counts = Counts::new();
    let mut scratch = Scratch::default();
    for buffer in trace.buffers().flatten() {
        for event in buffer.events(&mut scratch)? {
            let Ok(event) = event.and_then(|raw| raw.parse()) else { continue };
            let number = match (event.hook(), event.id) {
                (Some(hook), _) => Some(hook.0),
                (None, EventId::Class { opcode, .. }) => Some(opcode.into()),
                (None, EventId::Provider(found)) => Some(found.id),
                (None, EventId::Message(message)) => Some(message.number),
                _ => None,
            };
            *counts.entry((event.class(), number)).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The crate's layouts against the table: `id version builds task opcode channel bytes fields`.
fn layouts(table: &str) -> Result<()> {
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("id\t"))
        .map(|line| line.split('\t').collect())
        .collect();
    let ours = live_dump::layouts();
    ensure!(rows.len() == ours.len(), "{} rows, {} layouts", rows.len(), ours.len());
    for (row, layout) in rows.iter().zip(ours) {
        let [id, version, _, task, opcode, _, bytes, fields] = row[..] else {
            anyhow::bail!("a row of other columns: {row:?}")
        };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let field = |(name, kind): &(&str, FieldType)| format!("{name}:{}", kind.name());
        let told: Vec<String> = layout.fields.iter().map(field).collect();
        let told = if told.is_empty() { "-".to_owned() } else { told.join(" ") };
        let found = [
            layout.id.to_string(),
            layout.version.to_string(),
            layout.task.to_string(),
            or_none(layout.opcode.map(|opcode| opcode.to_string())),
            or_none(layout.bytes(8).map(|bytes| bytes.to_string())),
            told,
        ];
        ensure!(found == [id, version, task, opcode, bytes, fields], "{row:?} is {found:?}");
    }
    rows.first().context("an empty table")?;
    Ok(())
}
