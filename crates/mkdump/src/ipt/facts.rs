//! What a trace says about a snapshot of Intel PT data, with names for its process and thread.

use etl_file::{Process, Thread};
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
    let tick = reading.tick(logged.time);
    // Data may have been logged after the process ended that it is of: then the last process that had the id.
    let process = tick
        .and_then(|tick| Process::at(&reading.processes, logged.thread.pid, tick))
        .or_else(|| reading.processes.iter().rfind(|process| process.pid == logged.thread.pid));
    let thread = tick
        .and_then(|tick| Thread::at(&reading.threads, tid, tick))
        .or_else(|| reading.threads.iter().rfind(|thread| thread.tid == tid));
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
