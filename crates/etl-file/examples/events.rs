//! Counts the events of a trace by kind, or with `--list` prints them in order of time:
//! `cargo run --example events -- trace.etl`.

use etl_file::{EventId, Scratch, Trace};
use std::collections::BTreeMap;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().skip(1).find(|argument| argument != "--list").ok_or("usage: events TRACE.etl")?;
    let data = std::fs::read(&path)?;
    let trace = Trace::open(&data)?;
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
                Ok(event) => {
                    let name = match event.id {
                        EventId::Hook(hook) => format!("{hook:?} {}", hook.name().unwrap_or("")),
                        EventId::Class { guid, opcode, .. } => format!("{{{guid}}} type {opcode}"),
                        EventId::Provider(provider) => format!("{{{}}} id {}", provider.provider, provider.id),
                        EventId::Message(message) => format!("WPP message {}", message.number),
                        EventId::Unknown => "unknown".to_owned(),
                    };
                    *kinds.entry(format!("{:?} {name}", event.kind)).or_default() += 1;
                }
                Err(error) => eprintln!("{path}: {error}"),
            }
        }
    }
    for (kind, count) in kinds {
        println!("{count:9}  {kind}");
    }
    Ok(())
}
