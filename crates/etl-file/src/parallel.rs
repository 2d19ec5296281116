//! A trace's buffers, scanned by all threads at once, with the results taken in file order.
//!
//! Threads never wait for each other except to take buffers and to hand in what they found: where one is held up, by
//! another program or by a buffer that is slow to read, the others go on.

use crate::buffer::{Buffer, Buffers};
use crate::compress::Scratch;
use crate::error::Error;
use crate::trace::{ReadAhead, Trace};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads take this many bytes of events at a time: about 0.1 ms of work, far more than taking them costs.
const BATCH_BYTES: u64 = 1 << 20;
/// And at most this many buffers.
const BATCH_BUFFERS: usize = 1024;

/// Bytes are announced at most this far before they are read.
const FURTHEST: u64 = 16 << 20;

/// Neighbouring buffers, scanned by one thread.
pub(crate) struct Batch<'a> {
    /// Its place in the file, counted in batches.
    number: usize,
    pub buffers: Vec<Buffer<'a>>,
    /// What was lost between them.
    pub damage: Vec<Error>,
    /// File offset of what follows the last.
    pub end: u64,
}

impl Batch<'_> {
    fn is_empty(&self) -> bool {
        self.buffers.is_empty() && self.damage.is_empty()
    }
}

/// Has `scan` look at each batch, on all threads where the crate has its `rayon` feature, and hands the batches and what
/// was found in them to `take` in file order. Returns the exhausted iterator.
pub(crate) fn scan_batches<'a, T: Send>(
    trace: &Trace<'a>,
    scan: impl Fn(&Batch<'a>, &mut Scratch) -> T + Sync,
    take: impl FnMut(Batch<'a>, T) + Send,
) -> Buffers<'a> {
    let source = Mutex::new(Source { buffers: trace.buffers(), taken: 0 });
    let ahead = Ahead { to: trace.ahead(), length: trace.len(), announced: AtomicU64::new(0) };
    let results = Mutex::new(Results { take, taken: 0, waiting: BTreeMap::new() });
    let work = || {
        let mut scratch = Scratch::default();
        let mut read = 0;
        loop {
            ahead.of(read);
            let batch = lock(&source).next_batch();
            read = batch.end;
            if batch.is_empty() {
                return;
            }
            let found = scan(&batch, &mut scratch);
            lock(&results).add(batch, found);
        }
    };
    #[cfg(feature = "rayon")]
    rayon::scope(|scope| (0..rayon::current_num_threads()).for_each(|_| scope.spawn(|_| work())));
    #[cfg(not(feature = "rayon"))]
    work();
    source.into_inner().unwrap_or_else(PoisonError::into_inner).buffers
}

/// Announces the bytes that will be read next. Each thread does so before it takes a batch, so that what is done about them is
/// done on all threads.
struct Ahead<'p> {
    to: Option<&'p dyn ReadAhead>,
    length: u64,
    /// How far it got.
    announced: AtomicU64,
}

impl Ahead<'_> {
    /// Announces the next bytes, unless they are far beyond `read`, which is how far this thread knows the file to be read: a
    /// batch of compressed buffers takes fewer bytes of the file. Goes on until it is past `read`, because a batch of large
    /// buffers takes more.
    fn of(&self, read: u64) {
        let Some(to) = self.to else { return };
        let is_near = |at: u64| (at < self.length && at < read.saturating_add(FURTHEST)).then_some(at + BATCH_BYTES);
        while let Ok(start) = self.announced.fetch_update(Relaxed, Relaxed, is_near) {
            to.read_ahead(start..(start + BATCH_BYTES).min(self.length));
            if start >= read {
                return;
            }
        }
    }
}

/// A thread that panicked ends the whole scan, so a lock that it held does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where threads take buffers from.
struct Source<'a> {
    buffers: Buffers<'a>,
    /// Batches so far.
    taken: usize,
}

impl<'a> Source<'a> {
    fn next_batch(&mut self) -> Batch<'a> {
        let mut batch = Batch { number: self.taken, buffers: Vec::new(), damage: Vec::new(), end: 0 };
        self.taken += 1;
        let mut bytes = 0;
        // Damage counts as a buffer does, so that a file of nothing else comes in batches too.
        while bytes < BATCH_BYTES && batch.buffers.len() + batch.damage.len() < BATCH_BUFFERS {
            match self.buffers.next() {
                Some(Ok(buffer)) => {
                    bytes += u64::from(buffer.header().filled.max(buffer.header().size));
                    batch.buffers.push(buffer);
                }
                Some(Err(error)) => batch.damage.push(error),
                None => break,
            }
        }
        batch.end = self.buffers.offset();
        batch
    }
}

/// Puts results in file order, whatever the order in which the batches were scanned.
struct Results<'a, T, F> {
    take: F,
    /// Batches that were taken.
    taken: usize,
    /// Batches that were scanned before an earlier one.
    waiting: BTreeMap<usize, (Batch<'a>, T)>,
}

impl<'a, T, F: FnMut(Batch<'a>, T)> Results<'a, T, F> {
    fn add(&mut self, batch: Batch<'a>, found: T) {
        self.waiting.insert(batch.number, (batch, found));
        while let Some((batch, found)) = self.waiting.remove(&self.taken) {
            self.taken += 1;
            (self.take)(batch, found);
        }
    }
}
