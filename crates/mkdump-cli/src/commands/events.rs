//! `mkdump events`: the events of a trace as text.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use etw_decode::{Decoder, Manifest, Selection};
use mkdump::Source;

use super::session::print;
use super::{Outcome, Session};
use crate::args::{EventArgs, EventsCommand};
use crate::show::{event_json, events, width};

/// More than any manifest that is read.
const MOST_MANIFEST: u64 = 64 << 20;

/// Prints the events of a trace, or counts them.
pub fn run(command: &EventsCommand, session: &Session) -> Result<Outcome> {
    let mut decoder = Decoder::new();
    for path in &command.manifest {
        decoder.add(manifest(path)?);
    }
    let source = Source::open_etl(&command.etl).map_err(mkdump::Error::from)?;
    let traces = source.traces().map_err(mkdump::Error::from)?;
    let [trace] = &traces[..] else { bail!("{}: not a trace", command.etl.display()) };
    let name = command.etl.display();
    // One quick look at all of it for what it lacks, as every other command takes it.
    let survey = trace.survey(&Default::default());
    let damaged = survey.warnings.iter().filter(|found| found.damage().is_some());
    let mut warnings: Vec<String> = damaged.map(|found| format!("{name}: {found}")).collect();
    if survey.warnings_dropped > 0 {
        warnings.push(format!("{name}: {} more warnings of the same kinds", survey.warnings_dropped));
    }
    let losses = survey.losses;
    let lost = [
        (u64::from(losses.events), "events could not be logged"),
        (losses.buffers.into(), "buffers could not be written"),
        (losses.overwritten, "buffers of the start were overwritten"),
        (losses.missing, "buffers are missing from the file"),
    ];
    let lost: Vec<String> = lost.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !lost.is_empty() {
        warnings.push(format!("{name}: events are missing: {}", lost.join(", ")));
    }
    session.finish(&warnings);
    let mut selection = selection(&command.choice, &decoder);
    selection.set_seconds(&survey.clock, command.choice.from, command.choice.to);
    let found = if command.count {
        let counts = selection.count_kinds(trace, &decoder);
        let text = match command.json {
            true => counts.kinds.iter().map(event_json::count).collect::<Result<String, _>>()?,
            false => events::counts(&counts, width::stdout()),
        };
        if counts.events() > 0 {
            print(&text)?;
        }
        counts.events()
    } else {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        let list = selection.list(trace, &decoder, command.choice.last, |event| {
            let line = match (command.json, selection.is_about_live_dumps()) {
                (true, _) => event_json::event(event)?,
                (false, true) => events::sentence(event),
                (false, false) => events::line(event),
            };
            out.write_all(line.as_bytes()).map_err(anyhow::Error::new)
        });
        let list = list?;
        out.flush()?;
        for capture in &list.captures {
            session.say(&events::capture(capture));
        }
        list.events
    };
    if found == 0 {
        bail!("{name}: {}", events::nothing(survey.counts.events, selection.is_about_live_dumps()));
    }
    Ok(if command.strict && !warnings.is_empty() { Outcome::Amiss } else { Outcome::Done })
}

/// What was asked for, but for the time.
fn selection(choice: &EventArgs, decoder: &Decoder) -> Selection {
    Selection {
        providers: choice.provider.iter().map(|text| decoder.provider(text)).collect(),
        events: choice.event.clone(),
        processes: choice.process.clone(),
        threads: choice.thread.clone(),
        processors: choice.cpu.clone(),
        ..Selection::default()
    }
}

/// Reads a manifest.
fn manifest(path: &Path) -> Result<Manifest> {
    let name = path.display();
    let mut file = Vec::new();
    let opened = File::open(path).with_context(|| format!("cannot read {name}"))?;
    opened.take(MOST_MANIFEST).read_to_end(&mut file).with_context(|| format!("cannot read {name}"))?;
    Manifest::read(&file).map_err(|error| anyhow::anyhow!("{name}: {error}"))
}
