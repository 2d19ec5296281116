//! Counts the events of a trace by kind, or with `--list` prints them in order of time:
//! `cargo run --example events -- trace.etl`.

use etl_file::{Event, EventId, Scratch, Trace};
use std::collections::BTreeMap;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut list, mut path) = (false, None);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--list" => list = true,
            _ => path = Some(argument),
        }
    }
    let path = path.ok_or("usage: events [--list] TRACE.etl")?;
    let data = std::fs::read(&path)?;
    let trace = Trace::parse(&data)?;
    let print = if list { print_in_order } else { print_counts };
    print(&path, &trace);
    Ok(())
}

fn print_in_order(path: &str, trace: &Trace<'_>) {
    let clock = trace.clock();
    let mut events = trace.events_by_time();
    while let Some(event) = events.next_event() {
        match event {
            Ok(event) => {
                let time = event.timestamp.map_or(String::from("-"), |tick| format!("{:.7}", clock.seconds(tick)));
                let id = |id: Option<u32>| id.map_or(String::from("-"), |id| id.to_string());
                let (process, thread) = (id(event.process), id(event.thread));
                let size = event.payload.len();
                println!("{time:>15} cpu {:3} {process:>6} {thread:>6} {size:5} {}", event.processor, name(&event));
            }
            Err(error) => eprintln!("{path}: {error}"),
        }
    }
}

/// What an event is about.
fn name(event: &Event<'_>) -> String {
    match event.id {
        EventId::Hook(hook) => format!("{hook:?} {}", hook.name().unwrap_or("")),
        EventId::Class { guid, opcode, .. } => format!("{{{guid}}} type {opcode}"),
        EventId::Provider(provider) => format!("{{{}}} id {}", provider.provider, provider.id),
        EventId::Message(message) => format!("WPP message {}", message.number),
        _ => "unknown".to_owned(),
    }
}

fn print_counts(path: &str, trace: &Trace<'_>) {
    println!("{:#?}", trace.header());
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut scratch = Scratch::default();
    for buffer in trace.buffers() {
        // Damage is local: it is reported, and the next buffer is read.
        let events = buffer.as_ref().map_err(Clone::clone).and_then(|buffer| buffer.events(&mut scratch));
        let events = match events {
            Ok(events) => events,
            Err(error) => {
                eprintln!("{path}: {error}");
                continue;
            }
        };
        for event in events {
            match event.and_then(|raw| raw.parse()) {
                Ok(event) => *kinds.entry(format!("{:?} {}", event.kind, name(&event))).or_default() += 1,
                Err(error) => eprintln!("{path}: {error}"),
            }
        }
    }
    for (kind, count) in kinds {
        println!("{count:9}  {kind}");
    }
}
