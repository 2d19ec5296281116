//! Processes and threads: start, rundown and end events merged.

use super::{Process, Thread};
use crate::clock::Tick;
use crate::records::{LifeEvent, ProcessRecord, ThreadRecord};
use std::mem::take;

/// Merges events of any order into processes and threads, by id and time. An id may be used again once its owner has
/// ended, at the same tick at the earliest: an end that is stamped like a start is then the earlier owner's.
pub(super) fn settle(
    mut processes: Vec<(Tick, ProcessRecord)>,
    mut threads: Vec<(Tick, ThreadRecord)>,
) -> (Vec<Process>, Vec<Thread>) {
    processes.sort_by_key(|(tick, record)| (record.pid, *tick, record.life));
    let mut settled: Vec<Process> = Vec::new();
    for at_once in processes.chunk_by_mut(|a, b| (a.1.pid, a.0) == (b.1.pid, b.0)) {
        let owner = settled.last().filter(|known| known.pid == at_once[0].1.pid);
        if owner.is_some_and(|known| known.ended.is_none()) {
            at_once.sort_by_key(|(_, record)| record.life != LifeEvent::End);
        }
        for (tick, record) in at_once {
            add_process(&mut settled, *tick, record);
        }
    }

    threads.sort_by_key(|(tick, record)| (record.tid, record.pid, *tick, record.life));
    let mut settled_threads: Vec<Thread> = Vec::new();
    for at_once in threads.chunk_by_mut(|a, b| (a.1.tid, a.1.pid, a.0) == (b.1.tid, b.1.pid, b.0)) {
        let first = &at_once[0].1;
        let owner = settled_threads.last().filter(|known| (known.tid, known.pid) == (first.tid, first.pid));
        if owner.is_some_and(|known| known.ended.is_none()) {
            at_once.sort_by_key(|(_, record)| record.life != LifeEvent::End);
        }
        for (tick, record) in at_once {
            add_thread(&mut settled_threads, *tick, record);
        }
    }
    // A thread id may belong to another process once its owner has ended.
    settled_threads.sort_by_key(|thread| (thread.tid, thread.first_seen));
    (settled, settled_threads)
}

fn add_process(settled: &mut Vec<Process>, tick: Tick, record: &mut ProcessRecord) {
    let (started, ended) = ends(record.life, tick);
    match settled.last_mut() {
        Some(known) if known.pid == record.pid && continues(known.ended, ended, started) => {
            known.started = known.started.or(started);
            known.ended = known.ended.or(ended);
            known.directory_table_base = known.directory_table_base.or(record.directory_table_base);
            // Events at a process's end may lack its command line.
            if known.command_line.is_empty() {
                known.command_line = take(&mut record.command_line);
            }
            if known.name.is_empty() {
                known.name = take(&mut record.name);
            }
        }
        _ => settled.push(Process {
            pid: record.pid,
            parent: record.parent,
            session: record.session,
            name: take(&mut record.name),
            command_line: take(&mut record.command_line),
            directory_table_base: record.directory_table_base,
            first_seen: tick,
            started,
            ended,
        }),
    }
}

fn add_thread(settled: &mut Vec<Thread>, tick: Tick, record: &mut ThreadRecord) {
    let (started, ended) = ends(record.life, tick);
    match settled.last_mut() {
        Some(known) if (known.tid, known.pid) == (record.tid, record.pid) && continues(known.ended, ended, started) => {
            known.started = known.started.or(started);
            known.ended = known.ended.or(ended);
            if known.name.is_empty() {
                known.name = take(&mut record.name);
            }
        }
        _ => settled.push(Thread {
            tid: record.tid,
            pid: record.pid,
            name: take(&mut record.name),
            first_seen: tick,
            started,
            ended,
        }),
    }
}

fn ends(life: LifeEvent, tick: Tick) -> (Option<Tick>, Option<Tick>) {
    ((life == LifeEvent::Start).then_some(tick), (life == LifeEvent::End).then_some(tick))
}

/// True when an event belongs to the known owner of the id, not to a later one.
fn continues(known_end: Option<Tick>, ended: Option<Tick>, started: Option<Tick>) -> bool {
    // A second end at the same tick is the same event twice.
    known_end.is_none() && started.is_none() || known_end.is_some() && known_end == ended
}
