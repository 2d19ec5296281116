//! Traces that were saved from a dump, read by the few rules that every reader of them knows.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use xtask::outcome::Outcome;

use session_kernels::truth::{BUFFER_SIZE, HEADER, Session};

/// A saved trace.
#[derive(Debug)]
pub struct Trace {
    /// Its events behind the first buffer, with their processors, in the file's order.
    pub events: Vec<(u16, Vec<u8>)>,
    /// The log-file header's event.
    pub header: Vec<u8>,
}

/// Reads a trace buffer by buffer.
pub fn read(path: &Path) -> Result<Trace> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut trace = Trace { events: Vec::new(), header: Vec::new() };
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let word = |at: usize| -> Result<u32> {
            let field = rest.get(at..at + 4).with_context(|| format!("{} is cut", path.display()))?;
            Ok(u32::from_le_bytes(field.try_into()?))
        };
        let (size, filled) = (word(0)? as usize, word(0x30)? as usize);
        ensure!(size == BUFFER_SIZE as usize, "a buffer of {size:#x} bytes");
        ensure!((HEADER as usize..=size).contains(&filled), "{filled:#x} bytes of a buffer are filled");
        ensure!(word(4)? as usize == filled, "SavedOffset is {:#x}, {filled:#x} bytes are filled", word(4)?);
        let processor = (word(0x28)? & 0xffff) as u16;
        let (buffer, behind) = rest.split_at_checked(size).context("the last buffer is cut")?;
        let is_first = rest.len() == bytes.len();
        for event in records(&buffer[..filled])? {
            if is_first && trace.header.is_empty() {
                trace.header = event.to_vec();
            } else if !is_first {
                trace.events.push((processor, event.to_vec()));
            }
        }
        rest = behind;
    }
    Ok(trace)
}

/// Where the size stands depends on the kind: EVENT_HEADER and the like have it first.
fn records(buffer: &[u8]) -> Result<Vec<&[u8]>> {
    let mut events = Vec::new();
    let mut at = HEADER as usize;
    while at < buffer.len() {
        let kind = buffer.get(at + 2).copied().context("an event is cut")?;
        let place = if matches!(kind, 1..=4 | 16 | 17) { at + 4 } else { at };
        let size = buffer.get(place..place + 2).context("an event is cut")?;
        let size = usize::from(u16::from_le_bytes(size.try_into()?));
        ensure!(size >= 8, "an event of {size} bytes at {at:#x}");
        events.push(buffer.get(at..at + size).with_context(|| format!("an event of {size} bytes at {at:#x}"))?);
        at += size.next_multiple_of(8);
    }
    Ok(events)
}

/// A saved trace must hold exactly the events of its session, and a header with the session's clock.
pub fn judge(place: &str, session: &Session, path: &Path, outcome: &mut Outcome) {
    match compare(session, path) {
        Ok(()) => outcome.add_pass(),
        Err(error) => outcome.add_failure(format!("{place}: {}: {error:#}", path.display())),
    }
}

fn compare(session: &Session, path: &Path) -> Result<()> {
    let trace = read(path)?;
    let mut events = trace.events;
    events.sort();
    let wanted = session.events();
    let missing = wanted.iter().filter(|event| !events.contains(event)).count();
    ensure!(missing == 0, "{missing} events of {} are missing", wanted.len());
    ensure!(events.len() == wanted.len(), "{} events, {} were logged", events.len(), wanted.len());
    // SYSTEM_TRACE_HEADER of 32 bytes, then TRACE_LOGFILE_HEADER: its ReservedFlags at 0x10c of a 64-bit one is the clock.
    let number = |at: usize| -> Result<i64> {
        let field = trace.header.get(at..at + 8).context("the header's event is cut")?;
        Ok(i64::from_le_bytes(field.try_into()?))
    };
    ensure!(number(0x10)? == session.reference().1, "the header's tick is {}", number(0x10)?);
    ensure!(trace.header.get(0x20..0x24) == Some(&BUFFER_SIZE.to_le_bytes()), "another buffer size in the header");
    Ok(())
}
