//! Who had an id, and which module an address, at a moment.

use super::{Process, Survey, Thread};
use crate::clock::Tick;
use crate::timeline::Module;

/// When something was there.
#[derive(Clone, Copy)]
struct Life {
    first_seen: Tick,
    start: Option<Tick>,
    end: Option<Tick>,
}

/// Whether something is still there at the tick at which it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Included,
    Excluded,
}

impl Life {
    fn covers(self, tick: Tick, end: End) -> bool {
        let in_time = |last| if end == End::Included { tick <= last } else { tick < last };
        self.start.is_none_or(|start| start <= tick) && self.end.is_none_or(in_time)
    }
}

/// Of several that may have been there at `tick`, because an end or a start was not logged: the one whose first mention
/// is the last at or before `tick`, else the one whose first mention is the first after it. Of equals, the later one in
/// the list.
fn at<'s, T>(all: impl Iterator<Item = &'s T>, life: fn(&T) -> Life, tick: Tick, end: End) -> Option<&'s T> {
    let alive = all.filter(|one| life(one).covers(tick, end));
    alive.max_by_key(|one| match life(one).first_seen {
        Tick(seen) if seen <= tick.0 => (true, i128::from(seen)),
        Tick(seen) => (false, -i128::from(seen)),
    })
}

/// The part of a list, sorted by `id`, that has this one.
fn with_id<'s, T, I: Ord>(all: &'s [T], wanted: &I, id: impl Fn(&T) -> I) -> &'s [T] {
    let from = all.partition_point(|one| id(one) < *wanted);
    let to = all.partition_point(|one| id(one) <= *wanted);
    &all[from..to]
}

impl Process {
    /// The process that had the id `pid` at `tick`, of a list in the order that [`Survey::processes`] has.
    ///
    /// A process has its id from its start to its end, both included, so that the events which report them find it. When
    /// its id passes to another process at the very tick of its end, the new process is the answer. Where the trace did
    /// not see a start or an end, the process may have been there all the time; of several such, the answer is the one
    /// that was first mentioned last, at or before `tick`, else the one first mentioned after it.
    ///
    /// Takes the time of a binary search and a look at each process that had the id.
    pub fn at(all: &[Self], pid: u32, tick: Tick) -> Option<&Self> {
        let life = |one: &Self| Life { first_seen: one.first_seen, start: one.started, end: one.ended };
        at(with_id(all, &pid, |one| one.pid).iter(), life, tick, End::Included)
    }
}

impl Thread {
    /// The thread that had the id `tid` at `tick`, of a list in the order that [`Survey::threads`] has, by the rules of
    /// [`Process::at`]. At any one time, the ids of all processes' threads differ.
    pub fn at(all: &[Self], tid: u32, tick: Tick) -> Option<&Self> {
        let life = |one: &Self| Life { first_seen: one.first_seen, start: one.started, end: one.ended };
        at(with_id(all, &tid, |one| one.tid).iter(), life, tick, End::Included)
    }
}

/// Process and thread ids are used again, and so are addresses: a lookup needs a time. All three rely on the order that
/// [`Trace::survey`](crate::Trace::survey) gives the lists.
impl Survey<'_> {
    /// The process that had the id `pid` at `tick`; see [`Process::at`] for ends and ties.
    pub fn process_at(&self, pid: u32, tick: Tick) -> Option<&Process> {
        Process::at(&self.processes, pid, tick)
    }

    /// The thread that had the id `tid` at `tick`; see [`Thread::at`] for ends and ties.
    pub fn thread_at(&self, tid: u32, tick: Tick) -> Option<&Thread> {
        Thread::at(&self.threads, tid, tick)
    }

    /// The module that held `address` in the process `pid` at `tick`: a kernel module, whatever `pid` is, or one of the
    /// process. User modules are there only if the survey collected them.
    ///
    /// A module holds its addresses from its load, that tick included, to its unload, that tick excluded, as
    /// [`Module::covers`] says. Of several that may have held the address, because an unload was not logged or a record is
    /// wrong, the answer is the one that was first mentioned last, at or before `tick`, else the one first mentioned after
    /// it.
    ///
    /// Takes the time of a binary search and a look at each module of the process and of the kernel.
    pub fn module_at(&self, pid: u32, address: u64, tick: Tick) -> Option<&Module> {
        let life = |one: &Module| Life { first_seen: one.first_seen, start: one.loaded, end: one.unloaded };
        let kernel = &self.modules[..self.modules.partition_point(|module| module.kernel)];
        let user = with_id(&self.modules[kernel.len()..], &pid, |module| module.process);
        let holding = kernel.iter().chain(user).filter(|module| module.holds(address));
        at(holding, life, tick, End::Excluded)
    }
}
