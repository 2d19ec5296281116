//! What a trace says about a snapshot of Intel PT data, with names for its process and thread.

use etl_file::Tick;
use ipt_analysis::choose::Facts;
use ipt_analysis::snapshot::Snapshot;
use kernel_snapshot::Reading;

/// What is known about one of a reading's snapshots. Processes and threads are named where the trace names those that
/// had the ids at that time.
pub(crate) fn facts(reading: &Reading<'_>, snapshot: &Snapshot<'_>) -> Facts {
    let named = snapshot.origin.thread.and_then(|thread| u32::try_from(thread).ok());
    let file = snapshot.file.as_ref().map(|path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    });
    let Some(logged) = &snapshot.logged else { return Facts { file, tid: named, ..Facts::default() } };
    // A record of ipt.sys names its thread; the event's fixed part names the one that was running.
    let tid = named.unwrap_or(logged.thread.tid);
    let alive = |started: Option<Tick>, ended: Option<Tick>| {
        let seconds = |tick: Option<Tick>| tick.and_then(|tick| reading.seconds(tick));
        seconds(started).is_none_or(|started| started <= logged.time)
            && seconds(ended).is_none_or(|ended| logged.time <= ended)
    };
    let processes = reading.processes.iter().filter(|process| process.pid == logged.thread.pid);
    let threads = reading.threads.iter().filter(|thread| thread.tid == tid);
    let process = nearest(processes, |process| alive(process.started, process.ended));
    let thread = nearest(threads, |thread| alive(thread.started, thread.ended));
    let hook = |hook| format!("hook {hook:#06x}");
    Facts {
        file,
        time: Some(logged.time),
        cpu: Some(logged.processor),
        pid: Some(logged.thread.pid),
        tid: Some(tid),
        process: process.map(|process| process.name.clone()).filter(|name| !name.is_empty()),
        thread: thread.map(|thread| thread.name.clone()).filter(|name| !name.is_empty()),
        trigger: logged.trigger.map(str::to_owned).or_else(|| logged.hook.map(hook)),
    }
}

/// The one that was alive, else the last that had the id.
fn nearest<'a, T>(
    mut all: impl DoubleEndedIterator<Item = &'a T> + Clone,
    alive: impl Fn(&T) -> bool,
) -> Option<&'a T> {
    all.clone().find(|one| alive(one)).or_else(|| all.next_back())
}
