//! Processes and threads: start, rundown and end events merged.

use super::{Process, Thread};
use crate::clock::Tick;
use crate::records::{LifeEvent, ProcessRecord, ThreadRecord};

/// Merges events of any order into processes and threads, by id and time. An id may be used again once its owner has
/// ended.
pub(super) fn settle(
    mut processes: Vec<(Tick, ProcessRecord)>,
    mut threads: Vec<(Tick, ThreadRecord)>,
) -> (Vec<Process>, Vec<Thread>) {
    processes.sort_by_key(|(tick, record)| (record.pid, *tick, record.life));
    let mut settled: Vec<Process> = Vec::new();
    for (tick, record) in processes {
        let (started, ended) = ends(record.life, tick);
        match settled.last_mut() {
            Some(known) if known.pid == record.pid && continues(known.ended, ended, started) => {
                known.started = known.started.or(started);
                known.ended = known.ended.or(ended);
                known.directory_table_base = known.directory_table_base.or(record.directory_table_base);
                // Events at a process's end may lack its command line.
                if known.command_line.is_empty() {
                    known.command_line = record.command_line;
                }
                if known.name.is_empty() {
                    known.name = record.name;
                }
            }
            _ => settled.push(Process {
                pid: record.pid,
                parent: record.parent,
                session: record.session,
                name: record.name,
                command_line: record.command_line,
                directory_table_base: record.directory_table_base,
                started,
                ended,
            }),
        }
    }

    threads.sort_by_key(|(tick, record)| (record.tid, record.pid, *tick, record.life));
    let mut settled_threads: Vec<Thread> = Vec::new();
    for (tick, record) in threads {
        let (started, ended) = ends(record.life, tick);
        match settled_threads.last_mut() {
            Some(known)
                if (known.tid, known.pid) == (record.tid, record.pid) && continues(known.ended, ended, started) =>
            {
                known.started = known.started.or(started);
                known.ended = known.ended.or(ended);
                if known.name.is_empty() {
                    known.name = record.name;
                }
            }
            _ => settled_threads.push(Thread { tid: record.tid, pid: record.pid, name: record.name, started, ended }),
        }
    }
    (settled, settled_threads)
}

fn ends(life: LifeEvent, tick: Tick) -> (Option<Tick>, Option<Tick>) {
    ((life == LifeEvent::Start).then_some(tick), (life == LifeEvent::End).then_some(tick))
}

/// True when an event belongs to the bearer of the id that is known, not to a later one.
fn continues(known_end: Option<Tick>, ended: Option<Tick>, started: Option<Tick>) -> bool {
    // A second end at the same tick is the same event twice.
    known_end.is_none() && started.is_none() || known_end.is_some() && known_end == ended
}
